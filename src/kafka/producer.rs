//! Records to a topic, acknowledged by all replicas in sync.
