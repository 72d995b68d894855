//! What a member thinks of time in which its own clock stood still.
//!
//! A monotonic clock stops while its machine is suspended, and the coordinator's goes on. So what was heard before is
//! older than it looks. Whoever drives the membership notices by the wall clock; but that one may also have been set,
//! and then nothing has happened. So a member that seems to have slept through its lease doubts it: nothing is sent
//! until it is told once more what it has been given, and nothing is lost before. A heartbeat would not do: a
//! coordinator that still reads the group's state answers it without looking.

use super::{Membership, Phase};
use std::time::{Duration, Instant};

impl Membership {
    /// The clock behind `now` stood still for `gap` since it was looked at last.
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
            // What was asked before is answered by what was true before, if at all.
            self.abandon();
            if matches!(self.phase, Phase::Stable) {
                self.phase = Phase::Syncing { assignments: Vec::new() };
            }
        }
    }

    /// The lease, whether it is doubted or not.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        let basis = self.lease_basis.as_ref()?;
        let session_end = basis.heard + self.settings.session_timeout;
        Some(session_end.min(basis.at_rest + self.settings.coordinator_patience()))
    }

    /// Whether the time is over in which what is held may be kept.
    pub(super) fn has_outlived_lease(&self) -> bool {
        let end = self.doubted_until.or_else(|| self.lease_end());
        !self.holdings.is_empty() && end.is_none_or(|end| end <= self.now)
    }

    /// Something was heard: that may end the doubt.
    pub(super) fn trust_lease(&mut self) {
        if self.lease_end().is_some_and(|end| end > self.now) {
            self.doubted_until = None;
        }
    }
}
