//! The right to send, which a member of a group has to renew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

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

/// Read one after the other, so a reader may see one of them before a renewal: the lease then ends by that one.
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
