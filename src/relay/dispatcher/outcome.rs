//! What became of a record after an attempt.

use crate::record::Record;
use crate::relay::dead_letter::Rejection;
use crate::relay::transport::{Answer, SendError, SendErrorKind};
use std::time::Duration;

/// What became of a record after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted: done.
    Delivered,
    /// To be sent again after this time.
    Retrying(Duration),
    /// To be sent again once the destination is back, or at once.
    Ready,
    /// Rejected, and on its way to the dead letters: not done before it is [kept](Dispatcher::kept).
    PendingDeadLetter,
    /// Rejected and dropped by explicit wish: done.
    Dropped(Rejection),
    /// It ends the run.
    Stopped,
    /// Its partition is no longer ours: forgotten.
    Forgotten,
}

/// A record and what became of it.
#[derive(Debug)]
pub struct Answered {
    /// The record that was sent.
    pub record: Record,
    /// What became of it.
    pub outcome: Outcome,
}

/// What an attempt came to: the answer's status and the reason in words.
pub(super) type Reason = (Option<u16>, String);

pub(super) fn reason(outcome: &Result<Answer, SendError>) -> Reason {
    match outcome {
        Ok(answer) => (Some(answer.status), answer.excerpt.clone()),
        Err(error) => (None, error.text.clone()),
    }
}

/// Whether the destination has seen the record: where no request could be made, it has nothing to do with it.
pub(super) fn was_sent(outcome: &Result<Answer, SendError>) -> bool {
    !matches!(outcome, Err(SendError { kind: SendErrorKind::Unsendable, .. }))
}

/// The same in a sentence for people.
pub(in crate::relay) fn cause(reason: &Reason) -> String {
    match reason {
        (Some(status), text) if text.is_empty() => format!("status {status}"),
        (Some(status), text) => format!("status {status} ({text})"),
        (None, text) => text.clone(),
    }
}
