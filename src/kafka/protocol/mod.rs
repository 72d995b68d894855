//! The bytes of Kafka's requests and responses: a codec over borrowed slices. Knows neither sockets nor time.
