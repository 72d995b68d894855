//! A small Kafka broker in this process: topics in memory, real TCP, faults on demand.
