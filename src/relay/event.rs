//! What the core tells those who watch: it prints and logs nothing itself.

use super::dead_letter::Rejection;
use super::notice::Notice;
use super::settings::OnRejection;
use super::verdict::SetupFault;
use crate::record::{Checkpoint, Offset, Partition, Record};
use std::time::Duration;

/// Watches the core. Called from several threads, never with a lock held; must return quickly.
pub trait Observer: Sync {
    /// Something happened.
    fn on(&self, event: &Event<'_>);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn on(&self, _event: &Event<'_>) {}
}

/// What an attempt came to when it was not accepted, in words for people: `503 Service Unavailable: ...`.
pub type Cause<'a> = &'a str;

/// What the core has to tell.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run began.
    Started,
    /// Partitions are ours, from these positions.
    Assigned(&'a [Checkpoint]),
    /// Partitions are being given up.
    Revoked(&'a [Partition]),
    /// Partitions are gone without notice.
    Lost(&'a [Partition]),
    /// An adapter's word.
    Notice(&'a Notice),
    /// A worker wants a permit.
    WorkerWaiting(usize),
    /// A worker has its permit and a record.
    WorkerRunning(usize),
    /// A worker gave its permit back.
    WorkerReleased(usize),
    /// All workers of the batch were joined.
    BatchJoined,
    /// The interval after a batch is waited.
    BatchInterval(Duration),
    /// A record was accepted.
    Delivered {
        /// The record.
        record: &'a Record,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// How long this attempt took.
        took: Duration,
    },
    /// A record will be tried again.
    Retrying {
        /// The record.
        record: &'a Record,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// When it goes again, from now.
        delay: Duration,
        /// What came of the attempt.
        cause: Cause<'a>,
    },
    /// One record goes ahead to see whether the destination is back.
    Probing {
        /// The record.
        record: &'a Record,
    },
    /// Something is otherwise from now on.
    Change(&'a Change),
    /// A record was rejected.
    Rejected {
        /// The record.
        record: &'a Record,
        /// Why, and after what.
        rejection: &'a Rejection,
        /// Where it went.
        action: OnRejection,
    },
    /// The dead letters could not be written; it is tried again.
    DeadLettersUnavailable {
        /// When, from now.
        delay: Duration,
        /// What went wrong.
        error: &'a str,
    },
    /// Positions were committed.
    Committed(&'a [Checkpoint]),
    /// A commit did not happen; it is tried again.
    CommitFailed {
        /// What went wrong.
        error: &'a str,
    },
    /// Some time has passed: how things stand. Comes every [`SNAPSHOT_INTERVAL`](super::SNAPSHOT_INTERVAL).
    Snapshot(&'a Snapshot),
    /// Threads can't be started: it goes on with fewer.
    FewerThreads {
        /// How many there are.
        running: usize,
        /// How many there should be.
        wanted: usize,
        /// Why the next one can't be started.
        error: &'a str,
    },
    /// No new sends: a signal or a fault ends the run once what is in flight has finished.
    Draining,
    /// The run is over.
    Ended(&'a Totals),
}

/// What is otherwise from now on, and how it came about.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sending pauses.
    Paused {
        /// The record that was turned away.
        record: Record,
        /// Until the first probe.
        delay: Duration,
        /// What the record was answered.
        cause: String,
        /// What is wrong with credentials or address, where a person is needed.
        fault: Option<SetupFault>,
        /// All sending, not that to one target alone.
        everything: bool,
    },
    /// All sending is still paused.
    StillPaused {
        /// For how long.
        since: Duration,
        /// What the last probe was answered.
        cause: String,
    },
    /// The destination, or the target that was paused, accepts again.
    Reopened {
        /// How long the pause was.
        after: Duration,
        /// All sending was paused, not that to one target alone.
        everything: bool,
    },
    /// The destination allows fewer requests a second: they are spaced out.
    Paced {
        /// Requests a second, to begin with.
        per_second: f64,
    },
    /// Others are accepted while this record was turned away: from now on it pauses nothing.
    Suspected {
        /// Its partition.
        partition: Partition,
        /// Its offset.
        offset: Offset,
        /// What it was answered.
        cause: String,
    },
    /// Nothing more is read of a partition before this record is done.
    Stuck {
        /// The partition.
        partition: Partition,
        /// The record's offset.
        offset: Offset,
        /// How often it was sent.
        attempts: u32,
        /// What it was answered last, where that is known.
        cause: Option<String>,
    },
    /// A record was rejected, late, and dropped by the operator's wish.
    Dropped {
        /// The record.
        record: Record,
        /// Why, and after what.
        rejection: Rejection,
    },
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What was done since the start.
    pub totals: Totals,
    /// Requests on their way.
    pub in_flight: usize,
    /// How many may be on their way at once.
    pub limit: usize,
    /// Records waiting for their next attempt.
    pub retrying: usize,
    /// Records taken from the source and not done.
    pub under_way: usize,
    /// Records in the assigned partitions that are not done, where the source knows.
    pub lag: Option<u64>,
    /// Assigned partitions of which nothing can be read.
    pub stalled: usize,
    /// How long the oldest record under way has been so.
    pub oldest: Option<Duration>,
    /// Whether all sending is paused.
    pub paused: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records accepted.
    pub delivered: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Records dead-lettered.
    pub dead_lettered: u64,
    /// Records dropped by the operator's wish.
    pub dropped: u64,
    /// Records that the filter left out; they count as done.
    pub filtered: u64,
    /// Records that were done before the last restart or takeover, as the commit said, and were not sent again.
    pub remembered: u64,
    /// Pauses of all sending.
    pub pauses: u64,
    /// The most requests in flight at once.
    pub most_in_flight: usize,
    /// How long the run took.
    pub elapsed: Duration,
}
