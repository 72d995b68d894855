//! Where records come from: Kafka clients behind the [`Source`](crate::relay::source::Source) seam.
//!
//! The native client, bottom up; each layer knows only those above it in this table:
//!
//! | room | what it is |
//! |---|---|
//! | [protocol] | bytes: requests and responses |
//! | [record_batch] | bytes: records, checksums, compression |
//! | [security], [properties] | settings |
//! | [connection] | one socket to one broker |
//! | [cluster] | brokers, leaders, coordinators |
//! | [group] | membership in a consumer group, a state machine |
//! | [consumer] | records, ahead of their delivery: all of it as a source |
//! | [producer], [dead_letters] | the way back into a topic, and what goes there |
//! | [probe] | a look at a cluster, without touching it |
//! | [sandbox] | a broker to try it all on |
//!
//! [kafka_crate] is another client, for brokers up to 3.9.

#[cfg(feature = "kafka")]
pub mod cluster;
#[cfg(any(feature = "kafka", feature = "kafka-crate"))]
pub mod config;
#[cfg(feature = "kafka")]
pub mod connection;
#[cfg(feature = "kafka")]
pub mod consumer;
#[cfg(feature = "kafka")]
pub mod dead_letters;
#[cfg(feature = "kafka")]
pub mod group;
#[cfg(feature = "kafka-crate")]
pub mod kafka_crate;
#[cfg(feature = "kafka")]
pub mod probe;
#[cfg(feature = "kafka")]
pub mod producer;
#[cfg(feature = "kafka")]
pub mod properties;
#[cfg(feature = "kafka")]
pub mod protocol;
#[cfg(feature = "kafka")]
pub mod record_batch;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "kafka")]
pub mod security;
