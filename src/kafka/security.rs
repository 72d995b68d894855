//! How brokers are to be trusted, and how we prove who we are: TLS and SASL, as settings.
