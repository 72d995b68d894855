//! The native Kafka client: synchronous, pure Rust, without an async runtime.

pub mod group;
