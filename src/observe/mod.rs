//! What the core tells, made into something a person can read. Observers decide nothing.

pub mod log;
