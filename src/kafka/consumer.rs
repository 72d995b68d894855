//! The native client as a [`Source`](crate::relay::source::Source).
