//! The core against doubles: thousands of random schedules of the window, and the loop with real threads.

mod bench;
mod blame;
mod double;
mod filter;
mod finish;
#[cfg(feature = "kafka")]
mod group_limit;
mod idle;
mod invariants;
mod keys;
mod limit;
mod renewal;
mod run;
mod schedule;
mod sliding;
