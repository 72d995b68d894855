//! What became of a record after an attempt.

use crate::record::Record;
use crate::relay::dead_letter::Rejection;
use crate::relay::transport::{Answer, SendError, SendErrorKind, summary};
use std::time::Duration;

/// What became of a record after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted: done.
    Delivered,
    /// Retried after this time.
    Retrying(Duration),
    /// Retried once the destination is back, or at once.
    Ready,
    /// Rejected, and on its way to the dead letters: not done until it is [kept](super::Dispatcher::kept).
    PendingDeadLetter,
    /// Rejected and dropped by explicit wish: done.
    Dropped(Rejection),
    /// It ends the run.
    Stopped,
    /// Its partition was revoked or lost: left to the next owner.
    Forgotten,
}

/// A record and what became of it.
#[derive(Debug)]
pub struct Answered<P> {
    /// The record that was sent.
    pub record: Record,
    /// What became of it.
    pub outcome: Outcome,
    /// The permit that it was sent with.
    pub permit: P,
}

/// The result of an attempt: the status of its answer, and the excerpt or error text.
pub(super) type Reason = (Option<u16>, String);

pub(super) fn reason(outcome: &Result<Answer, SendError>) -> Reason {
    match outcome {
        Ok(answer) => (Some(answer.status), answer.excerpt.clone()),
        Err(error) => (None, error.text.clone()),
    }
}

/// Whether a request was made at all.
pub(super) fn was_sent(outcome: &Result<Answer, SendError>) -> bool {
    !matches!(outcome, Err(SendError { kind: SendErrorKind::Unsendable, .. }))
}

/// The same as text, as [`cause`](crate::relay::transport::cause) has it.
pub(super) fn words(reason: &Reason) -> String {
    match reason {
        (Some(status), text) => summary(*status, text),
        (None, text) => text.clone(),
    }
}
