//! This member's part of the limit that all members of the group share: carries its [claims and
//! grants](crate::relay::group_limit) between the relay and the group protocol.

use super::{ConsumerError, ConsumerNotice};
use crate::kafka::config::GroupLimit;
use crate::kafka::group::membership::Membership;
use crate::relay::group_limit::GroupPermits;
use std::time::{Duration, Instant};

/// The member thread's side of the limit.
pub(super) struct MemberLimit {
    limit: Option<GroupLimit>,
    share: GroupPermits,
    /// The claim sent with the last join.
    claimed: u32,
    /// The claim that the next join will send.
    claim: u32,
}

impl MemberLimit {
    pub(super) fn new(limit: Option<GroupLimit>, share: GroupPermits) -> Self {
        Self { limit, share, claimed: 0, claim: 0 }
    }

    /// What to split as the leader.
    pub(super) fn most(&self) -> Option<u32> {
        self.limit.map(|limit| limit.most.get())
    }

    /// The claim to send with the next join. Has the member rejoin once it needs less than it claimed. To be called
    /// before [`Membership::poll`].
    pub(super) fn before_asking(&mut self, membership: &mut Membership, is_cooperative: bool) -> Option<u32> {
        self.limit?;
        if membership.is_settled() && self.share.has_let_go(self.claimed) {
            membership.join_again();
        }
        self.claim = self.share.claim(is_cooperative);
        Some(self.claim)
    }

    /// A join with the present claim was sent.
    pub(super) fn joins(&mut self) {
        self.claimed = self.claim;
    }

    /// The error if nobody splits the limit, because the coordinator assigns.
    pub(super) fn cannot_be_split(&self, membership: &Membership, group: &str) -> Option<ConsumerError> {
        self.limit?;
        let is_split_by_nobody = membership.is_assigned_by_coordinator();
        is_split_by_nobody.then(|| ConsumerError::LimitNotSplit { group: group.to_owned() })
    }

    /// Applies the grant of a new assignment, if there is one. Returns a notice if nothing may be sent.
    pub(super) fn granted(&self, granted: Option<u32>) -> Option<ConsumerNotice> {
        self.limit?;
        self.share.grant(granted.unwrap_or(0));
        match granted {
            Some(0) => Some(ConsumerNotice::NoPartOfLimit),
            Some(_) => None,
            None => Some(ConsumerNotice::LeaderIgnoresLimit),
        }
    }

    /// Shortens a wait while other members may be waiting for what this one gives back.
    pub(super) fn look_again(&self, until: Instant) -> Instant {
        /// The interval of checks whether the requests above a smaller grant have ended.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let owes = self.limit.is_some() && self.claimed > self.share.granted();
        if owes { until.min(Instant::now() + LOOK_AGAIN) } else { until }
    }

    /// Shortens the lease so that the requests of a member that is cut off end before its session does.
    pub(super) fn lease(&self, until: Instant) -> Instant {
        let longest = self.limit.map_or(Duration::ZERO, |limit| limit.longest);
        until.checked_sub(longest).unwrap_or(until)
    }
}
