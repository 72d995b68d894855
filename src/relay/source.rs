//! The seam towards the topic: where records come from and where positions are committed.
//!
//! A source fetches ahead in threads of its own, bounded in bytes, so that [`Source::poll`] hands over what is
//! already there. Whoever calls it is one thread that polls every [`TICK`](super::TICK) or so, also while
//! records are being sent: that is how revocations come through.

use super::record::{Checkpoint, Offset, Partition, Position, Record};
use super::share::Share;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How much a poll may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// At most so many records; 0 asks for news of the partitions only.
    pub records: usize,
    /// At most so many bytes of records by their [weight](Record::weight); one record may exceed it alone.
    pub bytes: usize,
}

impl Want {
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
    Passed(Vec<Position>),
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
    /// Everything that was there when the source was opened has been handed over (`--until-end`).
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

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is wrong that may mend itself.
    Warning,
    /// Something is wrong that needs a person.
    Error,
}

/// A sentence for people from an adapter, which does not log by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// One sentence: what, where, what to do.
    pub text: String,
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
            Self::Partial(refused) => write!(f, "not committed: {refused:?}"),
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
    fn poll(&mut self, want: Want, wait: Duration) -> Result<Polled, SourceError>;

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
    fn share(&self) -> Share {
        Share::unlimited()
    }

    /// Since when nobody can be reached, if that is so: records that lie in the topic wait for it.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Leaves the group and closes; nothing is committed after it, and no records are polled. Bounded in time.
    fn close(&mut self) {}
}

/// The right to send, which a member of a group has to renew: past its deadline another member may already
/// have the partitions. Cheap to ask, from any thread, right before each request.
///
/// It may end by two clocks. The monotonic one stands still while the machine is suspended, and others' don't: after
/// that the wall clock alone tells that the lease is over. A wall clock that is set forward ends it too, until it is
/// renewed.
#[derive(Clone, Debug)]
pub struct Lease {
    base: Instant,
    ends: Arc<Ends>,
}

/// Each is read by itself, so a reader may see one of before a renewal: then the lease ends by that one.
#[derive(Debug)]
struct Ends {
    /// Milliseconds after the lease's base.
    monotonic: AtomicU64,
    /// Milliseconds after 1970.
    wall: AtomicU64,
}

/// An end that never comes.
const NEVER: u64 = u64::MAX;

impl Lease {
    fn new(base: Instant, monotonic: u64) -> Self {
        let (monotonic, wall) = (AtomicU64::new(monotonic), AtomicU64::new(NEVER));
        Self { base, ends: Arc::new(Ends { monotonic, wall }) }
    }

    /// One that never ends: for a source without a group.
    pub fn unlimited() -> Self {
        Self::new(Instant::now(), NEVER)
    }

    /// One that ends at once unless renewed.
    pub fn expired(now: Instant) -> Self {
        Self::new(now, 0)
    }

    /// Renews it until `deadline`. The time before which an answer was *asked* for counts, not when it came.
    pub fn renew(&self, deadline: Instant) {
        self.ends.wall.store(NEVER, Ordering::Release);
        self.renew_monotonic(deadline);
    }

    /// Renews it until `deadline`, also by the wall clock, where both clocks were read together: what is left at `now`
    /// is left at `wall`.
    pub fn renew_by_both(&self, deadline: Instant, now: Instant, wall: SystemTime) {
        let left = deadline.saturating_duration_since(now);
        // A clock before 1970 has yet to be set: it tells nothing.
        let end = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(NEVER, |wall| milliseconds(wall + left));
        self.ends.wall.store(end, Ordering::Release);
        self.renew_monotonic(deadline);
    }

    fn renew_monotonic(&self, deadline: Instant) {
        let end = milliseconds(deadline.saturating_duration_since(self.base));
        self.ends.monotonic.store(end, Ordering::Release);
    }

    /// Ends it now: the membership is known to be gone.
    pub fn end(&self) {
        self.ends.monotonic.store(0, Ordering::Release);
    }

    /// Whether records may be sent at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        self.holds_by_both(now, SystemTime::now())
    }

    /// The same by what both clocks say.
    pub fn holds_by_both(&self, now: Instant, wall: SystemTime) -> bool {
        let Ends { monotonic, wall: wall_end } = &*self.ends;
        let end = monotonic.load(Ordering::Acquire);
        let wall_end = wall_end.load(Ordering::Acquire);
        let is_before = |time: Duration, end: u64| end == NEVER || milliseconds(time) < end;
        is_before(now.saturating_duration_since(self.base), end)
            && is_before(wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(), wall_end)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_over_by_either_clock() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let lease = Lease::expired(now);
        assert!(!lease.holds_by_both(now, wall));
        lease.renew_by_both(now + 10 * SECOND, now, wall);
        assert!(lease.holds_by_both(now + 9 * SECOND, wall + 9 * SECOND));
        assert!(!lease.holds_by_both(now + 10 * SECOND, wall + 9 * SECOND), "by the monotonic clock");
        assert!(!lease.holds_by_both(now + SECOND, wall + 10 * SECOND), "suspended for nine seconds");
        // A clock that is set back changes nothing.
        assert!(lease.holds_by_both(now + 9 * SECOND, wall - 3_600 * SECOND));
        assert!(!lease.holds_by_both(now + 10 * SECOND, wall - 3_600 * SECOND));
    }

    #[test]
    fn a_clock_that_was_set_forward_counts_from_the_next_renewal_on() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let lease = Lease::expired(now);
        lease.renew_by_both(now + 10 * SECOND, now, wall);
        let set = wall + 3_600 * SECOND;
        assert!(!lease.holds_by_both(now + SECOND, set));
        lease.renew_by_both(now + 12 * SECOND, now + 2 * SECOND, set + SECOND);
        assert!(lease.holds_by_both(now + 11 * SECOND, set + 10 * SECOND));
        lease.end();
        assert!(!lease.holds_by_both(now + 2 * SECOND, set));
    }

    #[test]
    fn without_a_wall_clock_the_monotonic_one_counts_alone() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let lease = Lease::expired(now);
        lease.renew(now + 10 * SECOND);
        assert!(lease.holds_by_both(now + 9 * SECOND, wall + 3_600 * SECOND));
        let before = SystemTime::UNIX_EPOCH - SECOND;
        lease.renew_by_both(now + 10 * SECOND, now, before);
        assert!(lease.holds_by_both(now + 9 * SECOND, wall));
        assert!(Lease::unlimited().holds_by_both(now + 3_600 * SECOND, wall));
    }
}
