//! Reading files that people name: settings, secrets, certificates. Bounded in size and, where the path leads to a
//! pipe or a device, in time, so that a wrong name gives an error and neither fills memory nor waits for ever.
//!
//! What is [made of files](Watched) is made again when they change. No error shows what a file holds.

mod read;
mod watched;

pub use read::{FileError, LARGEST_FILE, not_utf16, read, read_named, read_text, text, without_mark};
pub use watched::{CHECK_INTERVAL, Contents, Reporter, SETTLE_TIME, Watched};
