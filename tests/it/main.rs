//! The tests of the product, by subject, linked once: `cargo test --all-features --test it -- delivery::` runs those
//! of one subject.
//!
//! Those that need the machine or a process for themselves stand beside this crate: the simulator, the soak, chaos,
//! the benches, and the rules of the source text.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "cli")]
mod cli;
#[cfg(all(feature = "kafka", feature = "tls"))]
mod connection;
#[cfg(feature = "kafka")]
mod cursor;
#[cfg(all(feature = "cli", feature = "kafka"))]
mod delivery;
#[cfg(feature = "kafka")]
mod group;
#[cfg(all(feature = "cli", feature = "kafka"))]
mod kafka;
#[cfg(all(feature = "cli", feature = "kafka", feature = "keep-alive"))]
mod letters;
#[cfg(all(feature = "kafka", feature = "tls"))]
mod net;
#[cfg(all(feature = "cli", feature = "kafka"))]
mod protocol;
#[cfg(feature = "cli")]
mod readme;
#[cfg(feature = "kafka")]
mod record_batch;
mod relay;
#[cfg(all(feature = "cli", feature = "keep-alive", feature = "minreq", feature = "signing"))]
mod requests;
#[cfg(all(feature = "cli", feature = "sandbox"))]
mod sandbox;
#[cfg(all(feature = "cli", feature = "keep-alive", feature = "tls"))]
mod webhook;
