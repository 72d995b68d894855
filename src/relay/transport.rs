//! The interface to the destination: one record out, one answer back.

use crate::record::Record;
use std::fmt;
use std::time::Duration;

/// How many printable characters of an answer's body are kept for people.
pub const EXCERPT_CHARS: usize = 200;

/// What the destination answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The final status code (RFC 9110 §15), never a 1xx.
    pub status: u16,
    /// `Retry-After` as the time to wait from now; malformed values are `None` (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
    /// The first [`EXCERPT_CHARS`] printable characters of the body.
    pub excerpt: String,
}

impl Answer {
    /// `status 503 (busy)`: the status, and the excerpt where there is one.
    pub(crate) fn summary(&self) -> String {
        summary(self.status, &self.excerpt)
    }
}

/// An answer of which only these two are kept, as [`Answer::summary`] has it.
pub(super) fn summary(status: u16, excerpt: &str) -> String {
    match excerpt {
        "" => format!("status {status}"),
        excerpt => format!("status {status} ({excerpt})"),
    }
}

/// The result of an attempt as text: the answer, or why there is none.
pub(crate) fn cause(outcome: &Result<Answer, SendError>) -> String {
    match outcome {
        Ok(answer) => answer.summary(),
        Err(error) => error.text.clone(),
    }
}

/// The stage at which a request failed, which tells whether the failure is about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// No connection: name not found, refused, unreachable, TLS failed. Nothing was sent.
    Connect,
    /// Connected, but no complete answer in time.
    Timeout,
    /// The connection broke or brought no proper HTTP after the request was sent.
    Broken,
    /// A kept connection turned out to be closed while the request was being written: it broke within about a round
    /// trip, before the first byte of an answer. It says nothing of record or destination. Never on a new connection.
    Stale,
    /// No request can be made of the record: it would be larger than servers take. Nothing was sent, and no retry
    /// helps.
    Unsendable,
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// The stage.
    pub kind: SendErrorKind,
    /// What happened, in a sentence without secrets.
    pub text: String,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SendError {}

/// One sending of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1, over all sendings of this record by this process.
    pub number: u32,
    /// Over a new connection: the kept ones may all lead to a failing backend.
    pub new_connection: bool,
}

impl Attempt {
    /// The first sending of a record.
    pub const FIRST: Self = Self { number: 1, new_connection: false };
}

/// Identifies where a record goes: records of one target share its pauses. Two targets with the same number (a hash)
/// share them too, which costs time and loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(pub u64);

impl Target {
    /// The target of every record where the URL has no placeholders.
    pub const ONLY: Self = Self(0);
}

/// Sends records to the destination. Called by several threads at once, never by more than the concurrency
/// allowed.
pub trait Transport: Sync {
    /// Sends one record, once, and waits for the answer, for a bounded time.
    ///
    /// # Errors
    /// Why there is no answer.
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError>;

    /// Where the record goes: always the same for the same record.
    fn target(&self, _record: &Record) -> Target {
        Target::ONLY
    }
}
