//! The native client against real brokers, through the binary.

#[path = "../support/mod.rs"]
mod support;

mod harness;
