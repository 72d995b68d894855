//! The `client.properties` that people already have, read into our own settings.
