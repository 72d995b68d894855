//! Why a run ended before its work was done. The text states facts; advice that names flags is added where flags are
//! known.

use super::dead_letter::{DeadLetter, DeadLetterError};
use super::rejection_limit::RejectionLimit;
use super::source::{CommitError, SourceError};
use std::fmt;
use std::time::Duration;

/// Why a run ended before its work was done. What was done until then is committed, and nothing past it.
#[derive(Debug)]
pub enum RunError {
    /// A record was rejected and there are no dead letters to put it into.
    Rejected(Box<DeadLetter>),
    /// More records were rejected than there may be.
    TooManyRejected(Box<DeadLetter>, RejectionLimit),
    /// The destination wants no more.
    Gone(Box<DeadLetter>),
    /// The destination accepted nothing for this long; with the last failure.
    OutOfPatience(Duration, String),
    /// The source reached no broker for this long; with the last failure.
    OutOfPatienceWithSource(Duration, String),
    /// The source failed.
    Source(SourceError),
    /// What was done could not be committed: it will be sent again.
    Commit(CommitError),
    /// These positions could not be committed in time; and why the last commit failed.
    Uncommitted(String, String),
    /// One error, then another.
    Twice(Box<RunError>, Box<RunError>),
    /// No thread can be started.
    Threads(String),
    /// The dead letters can't be written.
    DeadLetters(DeadLetterError),
    /// A worker panicked; its record is not committed.
    Worker(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(letter) => write!(
                f,
                "the destination rejected {}: nothing past this record is committed",
                Described(letter)
            ),
            Self::TooManyRejected(letter, threshold) => write!(
                f,
                "more records were rejected than the limit allows ({threshold}), the last of them {}: it is not in the \
                 dead letters, and nothing past it is committed",
                Described(letter)
            ),
            Self::Gone(letter) => {
                write!(f, "the destination wants no more events: it answered {}", Described(letter))
            }
            Self::OutOfPatience(patience, cause) => write!(
                f,
                "the destination accepted nothing for {patience:?}; the last failure: {cause}. What it accepted before is \
                 committed, the rest stays in the topic"
            ),
            Self::OutOfPatienceWithSource(patience, cause) => {
                write!(f, "the brokers were out of reach for {patience:?}; the last failure: {cause}")
            }
            Self::Uncommitted(positions, cause) => write!(
                f,
                "what was delivered last could not be committed and will be sent again: {positions} ({cause})"
            ),
            Self::Twice(first, second) => write!(f, "{first}; and then {second}"),
            Self::Threads(error) => {
                write!(f, "no thread can be started ({error})")
            }
            Self::Source(error) => write!(f, "{error}"),
            Self::Commit(error) => {
                write!(f, "what was delivered last could not be committed and will be sent again: {error}")
            }
            Self::DeadLetters(error) => write!(f, "{error}"),
            Self::Worker(text) => {
                write!(f, "a worker panicked ({text}): its record is not committed; please report this")
            }
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            Self::Commit(error) => Some(error),
            Self::DeadLetters(error) => Some(error),
            _ => None,
        }
    }
}

/// A rejected record as text: topic, partition, offset, status and the beginning of the answer.
struct Described<'a>(&'a DeadLetter);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeadLetter { record, rejection } = self.0;
        let partition = record.partition();
        write!(f, "topic {} partition {} offset {}", partition.topic(), partition.number(), record.offset())?;
        match rejection.status {
            Some(status) => write!(f, " with status {status}")?,
            None => write!(f, " without an answer")?,
        }
        if !rejection.reason.is_empty() {
            write!(f, " ({})", rejection.reason)?;
        }
        match rejection.attempts {
            1 => Ok(()),
            attempts => write!(f, " after {attempts} attempts"),
        }
    }
}
