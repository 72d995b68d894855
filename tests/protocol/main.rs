//! The codec: against itself, against broken bytes, against Kafka's schemas and against a real broker's answers.

mod round_trip;
mod samples;
