//! What things cost. A test run takes few records, to see that it works; `tests/bench/run` gives figures.

#[path = "../support/mod.rs"]
mod support;

mod consumption;
mod delivery;
mod measured;
mod options;
mod plot;
