//! The lease: until when a member holds its partitions without hearing from the coordinator.
//!
//! The lease ends before the coordinator could have assigned a partition to another member, whatever messages got lost.
//! The coordinator removes a member (1) after the session timeout without a request of it, and (2) after a rebalance
//! has waited for it for the rebalance timeout. So the lease ends at the earlier of
//!
//! 1. the time when the last request that is known to have arrived was *sent*, plus the session timeout, and
//! 2. the time when the last request was sent whose response showed a stable group, plus the rebalance timeout that the
//!    coordinator was told: a rebalance that this member has not heard of yet began after that.
//!
//! A join in flight may not have arrived, so it does not extend the lease; heartbeats in parallel to it extend the
//! session alone. If its response brings a new generation, the session was renewed after the join was sent, and the
//! partitions claimed in it are safe in that generation. Partitions that are held beyond the lease are lost at once, in
//! any phase.
//!
//! A heartbeat sent after the end of the lease does not extend it: a coordinator that is still loading the group's
//! state answers it without a check. A late assignment, or a suspended machine ([`Membership::slept`]), is resolved by
//! a sync.
//!
//! So a rebalance may take as long as the coordinator was told to wait, and nothing is lost. That is longer than this
//! member takes for itself ([`COORDINATOR_PATIENCE`](super::COORDINATOR_PATIENCE)), since other members take their own
//! time.
//!
//! All this assumes that a request arrives before its connection is closed, or never. So an abandoned connection has to
//! be reset (see [`FindCoordinator`](crate::kafka::group::exchange::Request::FindCoordinator)): a join that arrives
//! after a later one would claim partitions that this member held long ago.
//!
//! # Suspended machines
//!
//! A monotonic clock stops while its machine is suspended, the coordinator's goes on, so the last response is older
//! than it seems. The driver notices by the wall clock, but that may also have been set, without a suspension. So a
//! member that seems to have slept through its lease doubts it: it sends nothing until a sync has confirmed its
//! assignment, and loses nothing before. A heartbeat would not do: a coordinator that is still loading the group's
//! state answers it without a check.

use super::{Membership, Phase};
use std::time::{Duration, Instant};

/// The requests that the lease counts from.
#[derive(Clone, Copy)]
pub(super) struct LeaseBasis {
    /// When the last request was sent that is known to have renewed the session.
    pub(super) heard: Instant,
    /// When the last request was sent whose response showed a stable group.
    pub(super) at_rest: Instant,
}

impl Membership {
    /// Until when records of the held partitions may be sent without hearing from the coordinator; `None` for not at
    /// all.
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease_end().filter(|_| self.doubted_until.is_none())
    }

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
