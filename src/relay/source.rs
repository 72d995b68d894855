//! The seam towards the topic: where records come from and where positions are committed.
//!
//! A source fetches ahead in threads of its own, bounded in bytes, so that [`Source::poll`] hands over what is
//! already there. Whoever calls it is one thread that polls every [`TICK`](super::TICK) or so, also while
//! records are being sent: that is how revocations come through.

use super::group_limit::GroupPermits;
use crate::notice::Notice;
use crate::record::{Checkpoint, Offset, Partition, Position, Record};
use crate::timing::lease::Lease;
use std::fmt;
use std::time::{Duration, Instant};

/// How much a poll may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollLimit {
    /// At most this many records; 0 asks for partition events only.
    pub records: usize,
    /// At most this many bytes of records by their [weight](Record::weight); a single record may exceed it.
    pub bytes: usize,
}

impl PollLimit {
    /// No records, only partition events.
    pub const NOTHING: Self = Self { records: 0, bytes: 0 };
}

/// What a poll brings.
#[derive(Debug)]
pub enum Polled {
    /// Nothing within the time given.
    Nothing,
    /// The next records, in order within each partition; at least one.
    Records(Vec<Record>),
    /// Offsets before these positions that were not handed over hold no records: transaction markers, or compacted.
    Skipped(Vec<Position>),
    /// These partitions are assigned, each from its position on, with the metadata of its last commit.
    Assigned(Vec<Assigned>),
    /// These partitions are revoked. Their records may finish and be committed until
    /// [`Source::release`] is called, which the source awaits for a bounded time.
    Revoked(Vec<Partition>),
    /// These partitions are lost: another member may own them. Nothing of them may be sent or committed any more.
    Lost(Vec<Partition>),
    /// Something to log.
    Notice(Notice),
    /// Everything that was there when the source was opened has been handed over.
    End,
}

/// An assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Where it begins, with what was committed beside that position.
    pub checkpoint: Checkpoint,
    /// This position was never committed: the core commits it first. After a restart, "latest" would be another one.
    pub uncommitted: bool,
}

impl From<Position> for Assigned {
    fn from(position: Position) -> Self {
        Self { checkpoint: position.into(), uncommitted: false }
    }
}

/// Since when a source has reached no broker, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The first failure since the last success.
    pub since: Instant,
    /// The last failure, in a sentence.
    pub cause: String,
}

/// A source that cannot go on: the run ends with this sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError(pub String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SourceError {}

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// A retry may succeed: the positions stay uncommitted until then.
    Retriable(String),
    /// The positions of some partitions were not committed for now; the others were. A notice says why.
    Partial {
        /// Those that were not committed.
        partitions: Vec<Partition>,
        /// Why, of one of them.
        cause: String,
    },
    /// The partitions are no longer assigned; a [`Polled::Lost`] follows. The positions are dropped.
    Fenced(String),
    /// No retry can succeed: the run ends.
    Fatal(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partial { cause: text, .. }
            | Self::Retriable(text)
            | Self::Fenced(text)
            | Self::Fatal(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CommitError {}

/// Commits positions, from a thread of its own.
pub trait Commit: Send {
    /// Commits positions, bounded in time by the source's own request timeout. A checkpoint of an assignment that
    /// is over is left out.
    ///
    /// # Errors
    /// Why not all of them are committed.
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError>;
}

/// Where records come from.
///
/// A source recovers by itself where it can (reconnects, finds a new leader, backs off) and reports it by
/// [`Polled::Notice`]; an error is final.
pub trait Source {
    /// Returns as soon as there is anything, after `wait` at the latest.
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError>;

    /// Commits for this source; called once, before the first poll.
    fn committer(&mut self) -> Box<dyn Commit>;

    /// Throttles exactly these partitions until the next call; the others go on. Returns whether the source can do
    /// that: where it can't, polls ask for less of all partitions.
    fn hold(&mut self, _partitions: &[Partition]) -> bool {
        false
    }

    /// Releases revoked partitions: their records are done and committed, or left to the next owner.
    fn release(&mut self, _partitions: &[Partition]) {}

    /// The end offsets of the assigned partitions, as far as known, for the lag.
    fn ends(&self) -> Vec<(Partition, Offset)> {
        Vec::new()
    }

    /// The number of partitions that could not be read for long.
    fn stalled(&self) -> usize {
        0
    }

    /// Until when records may be sent without hearing from the group's coordinator.
    fn lease(&self) -> Lease {
        Lease::unlimited()
    }

    /// Its share of the group's concurrency limit; called once, at the start.
    fn share(&self) -> GroupPermits {
        GroupPermits::unlimited()
    }

    /// Since when no broker can be reached, if so.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Leaves the group and closes; nothing is committed after it, and no records are polled. Bounded in time.
    fn close(&mut self) {}
}
