//! What a poll asks for and returns.

use crate::notice::Notice;
use crate::record::{Checkpoint, Partition, Position, Record};
use std::time::Instant;

/// How much a poll may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPoll {
    /// At most this many records; 0 asks for all other events only.
    pub records: usize,
    /// At most this many bytes of records by their [weight](Record::weight); a single record may exceed it.
    pub bytes: usize,
}

/// What a poll returns.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// The next records, in order within each partition; at least one.
    Records(Vec<Record>),
    /// Offsets before these positions that were not returned hold no records: transaction markers, or compacted.
    Skipped(Vec<Position>),
    /// These partitions are assigned.
    Assigned(Vec<AssignedPartition>),
    /// These partitions are revoked. Their records may be committed until
    /// [`release`](super::Consumer::release) is called, which the group awaits for a bounded time.
    Revoked(Vec<Partition>),
    /// These partitions are lost: another member may own them. Commits of them are left out.
    Lost(Vec<Partition>),
    /// Something to log.
    Notice(Notice),
    /// All records that were there when the consumer was opened have been returned
    /// ([`until_end`](crate::kafka::config::Config::until_end)).
    End,
}

/// An assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Where it begins, with what was committed beside that position.
    pub checkpoint: Checkpoint,
    /// This position was never committed, and nothing is read before it is: after a restart, "latest" would be another
    /// one.
    pub uncommitted: bool,
}

/// Since when no broker can be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The first failure since the last success.
    pub since: Instant,
    /// The last failure, in a sentence.
    pub cause: String,
}
