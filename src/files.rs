//! Reading files that an operator names: settings, secrets, certificates. Bounded in size and, for pipes and devices,
//! in time, so that a wrong name gives an error instead of full memory or an endless wait.
//!
//! What is [made of files](Watched) is made again when they change. No error shows what a file holds.
//!
//! | room | what is in it |
//! |---|---|
//! | `read` | one file, read once |
//! | `watched` | a value made from files that change |

mod read;
mod watched;

pub use read::{FileError, LARGEST_FILE, not_utf16, read, read_named, read_text, text, without_mark};
pub use watched::{CHECK_INTERVAL, Contents, Reporter, SETTLE_TIME, Watched};
