//! One socket to one broker: settings, TLS and SASL against a real broker, and peers that misbehave.

mod properties;
