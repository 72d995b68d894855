//! Sends the events of a Kafka topic to a webhook, no faster than the webhook can take.
//!
//! ```text
//!             kafka/                        relay/ (std only)                        webhook/
//!   topic ──► consumer ──records──► window ──► worker ─permit─► request ──HTTP──► destination
//!               ▲                     │  ▲        (semaphore, pace)      │
//!               └──── commit ◄── done │  └──── accepted / retry at t / refused
//!                                     └──► dead letter
//! ```
//!
//! Arrows point inwards: adapters import [`relay`], never the other way.

#[cfg(any(feature = "kafka", feature = "kafka-crate"))]
pub mod kafka;
pub mod relay;
#[cfg(feature = "minreq")]
pub mod webhook;
