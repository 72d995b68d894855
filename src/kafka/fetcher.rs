//! Records from one broker, fetched ahead, bounded in bytes.
