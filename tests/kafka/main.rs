//! The native client against real brokers of three versions, through the binary.

#[path = "../support/mod.rs"]
mod support;

mod harness;
