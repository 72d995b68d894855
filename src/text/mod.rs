//! Small formats without I/O, for every room. std only.

pub mod base64;
pub mod json;
pub mod terminal;
pub mod time;
