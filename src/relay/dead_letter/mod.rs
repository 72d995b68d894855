//! Where rejected records go, and the formats in which they are kept there.
//!
//! | room | what is in it |
//! |---|---|
//! | `file`, `line` | dead letters in a file, and as lines of it |
//! | [private_file] | files that only their owner may read |
//! | [rotation] | the names of full files |
//! | [headers] | a dead letter as a record of a topic |
//! | [replay] | dead letters sent again, each as the record it was |
//! | [file_source] | a file and its rotated ones as a source |
//! | [replay_progress] | how far files were replayed |
//! | `filter` | which dead letters are selected |

pub mod file;
pub mod file_source;
pub mod filter;
pub mod headers;
pub mod line;
pub mod private_file;
pub mod replay;
pub mod replay_progress;
pub mod rotation;

use crate::record::Record;
use std::fmt;
use std::time::SystemTime;

/// Why a record was rejected, and after what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the last answer; `None` where the last attempt got none.
    pub status: Option<u16>,
    /// What the destination said, or why no answer came; at most
    /// [`EXCERPT_CHARS`](super::transport::EXCERPT_CHARS) printable characters.
    pub reason: String,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was first sent.
    pub first_attempt: SystemTime,
    /// When it was last sent.
    pub last_attempt: SystemTime,
}

/// A rejected record with the reason.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The record as it was.
    pub record: Record,
    /// Why it was rejected.
    pub rejection: Rejection,
}

/// Why dead letters could not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterError {
    /// A retry may succeed.
    Retriable(String),
    /// No retry can succeed: the run ends, with nothing committed past the dead letters.
    Fatal(String),
}

impl fmt::Display for DeadLetterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Retriable(text) | Self::Fatal(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for DeadLetterError {}

/// Where rejected records go. Called by one thread, with several letters at once where several came together,
/// so that one write to disk serves them all.
pub trait DeadLetters: Send {
    /// Keeps dead letters, in order. Returns once all of them are durable; after an error none counts as kept, and some
    /// may be kept twice.
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError>;
}

/// Keeps nothing, by the operator's explicit wish; the core counts and reports each one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drop;

impl DeadLetters for Drop {
    fn put(&mut self, _letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        Ok(())
    }
}
