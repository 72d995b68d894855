//! This member's part of the limit that all members of the group share: carries its [claims and
//! grants](crate::kafka::group::limit_shares) between the program and the group protocol.

use super::{ConsumerError, ConsumerNotice};
use crate::kafka::config::GroupLimit;
use crate::kafka::group::limit_shares::GroupShare;
use crate::kafka::group::membership::Membership;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The member thread's side of the limit.
pub(super) struct MemberLimit {
    limit: Option<(GroupLimit, Arc<dyn GroupShare>)>,
    /// The claim sent with the last join.
    claimed: u32,
    /// The claim that the next join will send.
    claim: u32,
}

impl MemberLimit {
    pub(super) fn new(limit: Option<(GroupLimit, Arc<dyn GroupShare>)>) -> Self {
        Self { limit, claimed: 0, claim: 0 }
    }

    /// What to split as the leader.
    pub(super) fn most(&self) -> Option<u32> {
        self.limit.as_ref().map(|(limit, _)| limit.most.get())
    }

    /// The claim to send with the next join. Has the member rejoin once it needs less than it claimed. To be called
    /// before [`Membership::poll`].
    pub(super) fn before_asking(&mut self, membership: &mut Membership, is_cooperative: bool) -> Option<u32> {
        let (_, share) = self.limit.as_ref()?;
        if membership.is_settled() && share.has_let_go(self.claimed) {
            membership.join_again();
        }
        self.claim = share.claim(is_cooperative);
        Some(self.claim)
    }

    /// A join with the present claim was sent.
    pub(super) fn joins(&mut self) {
        self.claimed = self.claim;
    }

    /// The error if nobody splits the limit, because the coordinator assigns.
    pub(super) fn cannot_be_split(&self, membership: &Membership, group: &str) -> Option<ConsumerError> {
        self.limit.as_ref()?;
        let is_split_by_nobody = membership.is_assigned_by_coordinator();
        is_split_by_nobody.then(|| ConsumerError::LimitNotSplit { group: group.to_owned() })
    }

    /// Applies the grant of a new assignment, if there is one. Returns a notice if nothing may be sent.
    pub(super) fn granted(&self, granted: Option<u32>) -> Option<ConsumerNotice> {
        let (_, share) = self.limit.as_ref()?;
        share.grant(granted.unwrap_or(0));
        match granted {
            Some(0) => Some(ConsumerNotice::NoPartOfLimit),
            Some(_) => None,
            None => Some(ConsumerNotice::LeaderIgnoresLimit),
        }
    }

    /// Shortens a wait while other members may be waiting for what this one gives back.
    pub(super) fn look_again(&self, until: Instant) -> Instant {
        /// The interval of checks whether what is used beyond a smaller grant has ended.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let owes = |share: &Arc<dyn GroupShare>| self.claimed > share.granted_and_used().0;
        if self.limit.as_ref().is_some_and(|(_, share)| owes(share)) {
            until.min(Instant::now() + LOOK_AGAIN)
        } else {
            until
        }
    }

    /// Shortens the lease so that what a member that is cut off uses ends before its session does.
    pub(super) fn lease(&self, until: Instant) -> Instant {
        let longest = self.limit.as_ref().map_or(Duration::ZERO, |(limit, _)| limit.longest);
        until.checked_sub(longest).unwrap_or(until)
    }
}
