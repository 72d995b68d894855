//! What the tests share: a real broker, a receiver that counts and misbehaves, and the binary under test.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod admin;
#[cfg(feature = "cli")]
pub mod binary;
pub mod broker;
pub mod bucket;
pub mod certificates;
pub mod cluster;
#[cfg(feature = "kafka")]
pub mod coordinator;
pub mod counter;
pub mod dice;
pub mod folder;
pub mod jvm;
#[cfg(feature = "kafka")]
pub mod leader_epochs;
#[cfg(feature = "cli")]
pub mod members;
pub mod numbered;
pub mod output;
pub mod program;
pub mod proxy;
pub mod receiver;

use std::time::{Duration, Instant};

/// Longer than anything should take, also on a machine that has other things to do.
pub const LONG: Duration = Duration::from_secs(180);

/// Waits until `what` holds, looking often; panics after [`LONG`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(5)); // between two looks
    }
}
