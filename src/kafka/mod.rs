//! Where records come from: Kafka clients behind the [`Source`](crate::relay::source::Source) seam.

#[cfg(feature = "kafka")]
pub mod group;
#[cfg(feature = "kafka-crate")]
pub mod kafka_crate;
