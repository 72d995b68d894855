//! What happens to the lease when the machine was suspended.
//!
//! A monotonic clock stops while its machine is suspended, the coordinator's goes on, so the last response is older
//! than it seems. The driver notices by the wall clock, but that may also have been set, without a suspension. So a
//! member that seems to have slept through its lease doubts it: it sends nothing until a sync has confirmed its
//! assignment, and loses nothing before. A heartbeat would not do: a coordinator that is still loading the group's
//! state answers it without a check.

use super::{Membership, Phase};
use std::time::{Duration, Instant};

impl Membership {
    /// The monotonic clock stood still for `gap` since the last call.
    pub fn slept(&mut self, gap: Duration, now: Instant) {
        self.now = self.now.max(now);
        let before = |at: Instant| at.checked_sub(gap);
        for outstanding in self.outstanding.iter_mut().chain(&mut self.parallel) {
            outstanding.asked = before(outstanding.asked).unwrap_or(outstanding.asked);
        }
        self.joining_since = self.joining_since.and_then(before);
        self.next_beat = self.now;
        let Some(basis) = &mut self.lease_basis else { return };
        if let (Some(heard), Some(at_rest)) = (before(basis.heard), before(basis.at_rest)) {
            (basis.heard, basis.at_rest) = (heard, at_rest);
        }
        if !self.holdings.is_empty() && self.lease_end().is_none_or(|end| end <= self.now) {
            self.doubted_until = Some(self.now + self.settings.session_timeout);
            // Responses to earlier requests tell the state before the suspension.
            self.abandon();
            if matches!(self.phase, Phase::Stable) {
                self.phase = Phase::Syncing { assignments: Vec::new() };
            }
        }
    }

    /// The end of the lease, whether it is doubted or not.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        let basis = self.lease_basis.as_ref()?;
        let session_end = basis.heard + self.settings.session_timeout;
        Some(session_end.min(basis.at_rest + self.settings.coordinator_patience()))
    }

    /// Whether partitions are held beyond the lease.
    pub(super) fn has_outlived_lease(&self) -> bool {
        let end = self.doubted_until.or_else(|| self.lease_end());
        !self.holdings.is_empty() && end.is_none_or(|end| end <= self.now)
    }

    /// Ends the doubt if a response has extended the lease.
    pub(super) fn trust_lease(&mut self) {
        if self.lease_end().is_some_and(|end| end > self.now) {
            self.doubted_until = None;
        }
    }
}
