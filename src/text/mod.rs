//! Small formats without I/O, for every room.

pub mod time;
