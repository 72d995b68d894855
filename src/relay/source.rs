//! The seam towards the topic: where records come from and where positions are committed.
//!
//! A source fetches ahead in threads of its own, bounded in bytes, so that [`Source::poll`] hands over what is
//! already there. Whoever calls it is one thread that polls every [`TICK`](super::TICK) or so, also while
//! records are being sent: that is how revocations come through.

use super::group_limit::GroupPermits;
use super::lease::Lease;
use super::notice::Notice;
use crate::record::{Checkpoint, Offset, Partition, Position, Record};
use std::fmt;
use std::time::{Duration, Instant};

/// How much a poll may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollLimit {
    /// At most so many records; 0 asks for news of the partitions only.
    pub records: usize,
    /// At most so many bytes of records by their [weight](Record::weight); one record may exceed it alone.
    pub bytes: usize,
}

impl PollLimit {
    /// No records, only news of the partitions.
    pub const NOTHING: Self = Self { records: 0, bytes: 0 };
}

/// What a poll brings.
#[derive(Debug)]
pub enum Polled {
    /// Nothing within the time given.
    Nothing,
    /// The next records, in order within each partition; never none.
    Records(Vec<Record>),
    /// Before these positions there are no more records than were handed over: what lies between is a transaction's
    /// marker, or was compacted away.
    Skipped(Vec<Position>),
    /// These partitions are ours from now on, each from the position named, with the metadata that was committed
    /// beside it.
    Assigned(Vec<Assigned>),
    /// These partitions have to be given up. Their records may finish and be committed until
    /// [`Source::release`] is called, which the source awaits for a bounded time.
    Revoked(Vec<Partition>),
    /// These partitions are somebody else's already: nothing of them may be sent or committed any more.
    Lost(Vec<Partition>),
    /// Something a person should know.
    Notice(Notice),
    /// Everything that was there when the source was opened has been handed over.
    End,
}

/// A partition that is ours from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Where it begins, with what was committed beside that position.
    pub checkpoint: Checkpoint,
    /// Nobody has committed this position: the core does, before anything else of the partition. After a restart,
    /// "the latest" would be another one.
    pub uncommitted: bool,
}

impl From<Position> for Assigned {
    fn from(position: Position) -> Self {
        Self { checkpoint: position.into(), uncommitted: false }
    }
}

/// Since when a source has reached nobody, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The first failure with no success since.
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
    /// It may work when tried again: the positions stay uncommitted until then.
    Retriable(String),
    /// These partitions' positions were not taken, for now; those of the others are committed. The source tells why.
    Partial(Vec<Partition>),
    /// The partitions are no longer ours; a [`Polled::Lost`] says so too. The positions are given up.
    Fenced(String),
    /// It will never work: the run ends.
    Fatal(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partial(rejected) => write!(f, "not committed: {rejected:?}"),
            Self::Retriable(text) | Self::Fenced(text) | Self::Fatal(text) => f.write_str(text),
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
/// A source mends what can be mended by itself (reconnects, finds a new leader, backs off) and tells of it by
/// [`Polled::Notice`]; an error is final.
pub trait Source {
    /// Brings what is there, waiting up to `wait` for it. Returns as soon as there is anything.
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError>;

    /// What commits for this source; asked for once, before the first poll.
    fn committer(&mut self) -> Box<dyn Commit>;

    /// Of exactly these partitions no records are wanted until it is called again, while the others go on. Says
    /// whether the source can do that; of one that can't, all partitions are asked for less.
    fn hold(&mut self, _partitions: &[Partition]) -> bool {
        false
    }

    /// All that was under way of these revoked partitions is done and committed, or given up.
    fn release(&mut self, _partitions: &[Partition]) {}

    /// Where the logs of the assigned partitions end, as far as known: what lag is counted against.
    fn ends(&self) -> Vec<(Partition, Offset)> {
        Vec::new()
    }

    /// Of how many partitions nothing could be read for long, though it was wanted.
    fn stalled(&self) -> usize {
        0
    }

    /// Until when records may be sent without further word from the group's coordinator.
    fn lease(&self) -> Lease {
        Lease::unlimited()
    }

    /// How much of the limit of its group it may use; asked for once, at the start.
    fn share(&self) -> GroupPermits {
        GroupPermits::unlimited()
    }

    /// Since when nobody can be reached, if that is so: records that lie in the topic wait for it.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Leaves the group and closes; nothing is committed after it, and no records are polled. Bounded in time.
    fn close(&mut self) {}
}
