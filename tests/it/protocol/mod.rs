//! The codec: against itself, against broken bytes, against Kafka's schemas and against real brokers.

mod golden;
mod jar;
mod json;
mod messages;
mod mutation;
mod real_broker;
mod round_trip;
mod schema;
mod schemas;
