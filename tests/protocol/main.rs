//! The codec: against itself, against broken bytes, against Kafka's schemas and against real brokers.

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod jar;
mod json;
mod mutation;
mod real_broker;
mod round_trip;
mod samples;
mod schema;
