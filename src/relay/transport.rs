//! The seam towards the destination: one record out, one answer back.

use super::record::Record;
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

/// Which stage a request failed at; it decides whether the failure speaks of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// No connection: name not found, refused, unreachable, TLS failed. Nothing was sent.
    Connect,
    /// Connected, but no complete answer in time.
    Timeout,
    /// The connection broke or brought no proper HTTP after the request was sent.
    Broken,
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

/// Sends records to the destination. Called by several threads at once, never by more than the concurrency
/// allowed.
pub trait Transport: Sync {
    /// Sends one record and waits for the answer, for a bounded time. `attempt` counts from 1.
    fn send(&self, record: &Record, attempt: u32) -> Result<Answer, SendError>;
}
