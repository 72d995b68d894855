//! What the core reports to its observer: it prints and logs nothing itself.

use super::dead_letter::Rejection;
use super::settings::OnRejection;
use super::verdict::SetupFault;
use crate::notice::Notice;
use crate::record::{Checkpoint, Offset, Partition, Record};
use std::time::Duration;

/// Observes a run. Called from several threads, never with a lock held; must return quickly.
pub trait Observer: Sync {
    /// Something happened.
    fn on(&self, event: &Event<'_>);
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn on(&self, _event: &Event<'_>) {}
}

/// Why an attempt was not accepted: `status 503 (busy)`.
pub(crate) type Cause<'a> = &'a str;

/// An event of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run began.
    Started,
    /// Partitions were assigned, from these positions on.
    Assigned(&'a [Checkpoint]),
    /// Partitions are revoked.
    Revoked(&'a [Partition]),
    /// Partitions were lost without notice.
    Lost(&'a [Partition]),
    /// A notice of the source.
    Notice(&'a Notice),
    /// A worker wants a permit.
    WorkerWaiting(usize),
    /// A worker has its permit and a record.
    WorkerRunning(usize),
    /// A worker gave its permit back.
    WorkerReleased(usize),
    /// All workers of the batch were joined.
    BatchJoined,
    /// The pause after a batch begins.
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
        /// The time until the next attempt.
        delay: Duration,
        /// Why it failed.
        cause: Cause<'a>,
    },
    /// One record is sent to probe a paused destination.
    Probing {
        /// The record.
        record: &'a Record,
    },
    /// A change of state.
    Change(&'a Change),
    /// A record was rejected.
    Rejected {
        /// The record.
        record: &'a Record,
        /// Why, and after what.
        rejection: &'a Rejection,
        /// What was done with it.
        action: OnRejection,
    },
    /// The dead letters could not be written; they are retried.
    DeadLettersUnavailable {
        /// When, from now.
        delay: Duration,
        /// What went wrong.
        error: &'a str,
    },
    /// Positions were committed.
    Committed(&'a [Checkpoint]),
    /// A commit failed; it is retried.
    CommitFailed {
        /// What went wrong.
        error: &'a str,
    },
    /// The figures of the moment, every [`SNAPSHOT_INTERVAL`](super::SNAPSHOT_INTERVAL).
    Snapshot(&'a Snapshot),
    /// Not all worker threads can be started: the run goes on with fewer.
    FewerThreads {
        /// How many there are.
        running: usize,
        /// How many there should be.
        wanted: usize,
        /// Why the next one can't be started.
        error: &'a str,
    },
    /// Nothing new is sent: a signal or an error ends the run once requests in flight have finished.
    Draining,
    /// The run is over.
    Ended(&'a Totals),
}

/// A change of state, and what caused it.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sending pauses.
    Paused {
        /// The record that was turned away.
        record: Record,
        /// The time until the first probe.
        delay: Duration,
        /// What the record was answered.
        cause: String,
        /// What is wrong with credentials or address, where a person is needed.
        fault: Option<SetupFault>,
        /// Whether all sending is paused, not that to one target alone.
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
    /// Others were accepted while this record was turned away: it pauses nothing from now on.
    Suspected {
        /// Its partition.
        partition: Partition,
        /// Its offset.
        offset: Offset,
        /// What it was answered.
        cause: String,
    },
    /// The partition is not read further until this record is done.
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
    /// An earlier failure turned out to count: the record was rejected and dropped, as configured.
    Dropped {
        /// The record.
        record: Record,
        /// Why, and after what.
        rejection: Rejection,
    },
}

/// The figures of the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts since the start.
    pub(crate) totals: Totals,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// The concurrency limit of the moment.
    pub(crate) limit: usize,
    /// Records waiting for their next attempt.
    pub(crate) retrying: usize,
    /// Records admitted and not done.
    pub(crate) under_way: usize,
    /// Records of the assigned partitions that are not done, where the source knows the end offsets.
    pub(crate) lag: Option<u64>,
    /// Assigned partitions that can't be read.
    pub(crate) stalled: usize,
    /// The age of the oldest record under way, since it was admitted.
    pub(crate) oldest: Option<Duration>,
    /// Whether all sending is paused.
    pub(crate) paused: bool,
}

/// Counts over a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records accepted.
    pub delivered: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Records dead-lettered.
    pub dead_lettered: u64,
    /// Records rejected and dropped, as configured.
    pub dropped: u64,
    /// Records that the filter excluded; they count as done.
    pub filtered: u64,
    /// Records done before the last restart or takeover, by the commit's metadata, and not sent again.
    pub remembered: u64,
    /// Pauses of all sending.
    pub pauses: u64,
    /// The most requests in flight at once.
    pub most_in_flight: usize,
    /// How long the run took.
    pub elapsed: Duration,
}
