//! Addresses, sockets and TLS: what a broker's connection and a webhook's have in common. Knows neither protocol.
