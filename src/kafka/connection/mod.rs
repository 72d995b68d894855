//! One socket to one broker: connect, TLS, SASL, ApiVersions, then requests and responses with deadlines.
