//! Heartbeats in parallel to a join or a sync that waits at the coordinator.
//!
//! A join waits until all members have joined, and a sync until the leader has assigned, which takes minutes if another
//! member is slow. The coordinator keeps a member whose join or sync waits, but the member can't tell a waiting request
//! from a lost one. A heartbeat can: `REBALANCE_IN_PROGRESS` says that this member is known and that its partitions
//! have not been assigned to others yet. Brokers answer the requests of a connection in order, so these heartbeats need
//! a connection of their own.

use super::{GroupError, LeaseBasis, Membership, Outstanding, RETRY_MAX, Step};
use crate::kafka::group::exchange::{Answer, Ask, Request, Stamp};
use crate::notice::Severity;
use std::time::{Duration, Instant};

impl Membership {
    /// What to do while a request waits for its response, until `waiting_until`.
    pub(super) fn poll_parallel(&mut self, waiting_until: Instant, deadline: Instant) -> Step {
        let until = deadline.min(waiting_until);
        if let Some(beat) = &self.parallel {
            return Step::Wait(until.min(beat.deadline));
        }
        let waits = self.outstanding.as_ref().is_some_and(|outstanding| {
            matches!(outstanding.request, Request::Join { .. } | Request::Sync { .. })
        });
        let Some(stamp) = self.stamp().filter(|_| waits) else { return Step::Wait(until) };
        if self.next_beat > self.now {
            return Step::Wait(until.min(self.next_beat));
        }
        self.next_beat = self.now + self.settings.heartbeat_interval;
        Step::AskInParallel(self.parallel_heartbeat(stamp))
    }

    fn parallel_heartbeat(&mut self, stamp: Stamp) -> Ask {
        self.requests += 1;
        let (id, asked, deadline) =
            (super::RequestId(self.requests), self.now, self.now + self.settings.prompt());
        let request = Request::Heartbeat { stamp };
        self.parallel = Some(Outstanding { id, request: request.clone(), asked, deadline });
        Ask { id, request, deadline }
    }

    /// Abandons a parallel heartbeat whose deadline has passed.
    pub(super) fn give_up_parallel(&mut self) {
        if self.parallel.as_ref().is_some_and(|beat| beat.deadline <= self.now) {
            self.parallel = None;
        }
    }

    /// The outcome of a parallel heartbeat.
    pub(super) fn answered_parallel(&mut self, beat: Outstanding, answer: Answer) {
        let Request::Heartbeat { stamp } = beat.request else { return };
        if self.stamp() != Some(stamp) {
            // It is about a former identity.
            return;
        }
        let joins = self.joins();
        match answer {
            Answer::Done => {
                self.beaten(beat.asked);
                if joins {
                    // A stable group has not received the join.
                    self.expect_answer_soon();
                }
            }
            Answer::Refused { error: GroupError::RebalanceInProgress, .. } => {
                // Before Kafka 2.7 a member that waits for its assignment gets this too, which does not renew its
                // session.
                if joins {
                    self.heard(beat.asked);
                }
            }
            Answer::Refused { error, .. } => {
                if matches!(error, GroupError::UnknownMemberId | GroupError::FencedInstanceId) {
                    self.lose_all();
                }
                // The waiting request gets the same error, or the group has moved on and its response is in flight.
                self.expect_answer_soon();
            }
            _ => self.next_beat = self.now + RETRY_MAX.min(self.settings.heartbeat_interval),
        }
    }

    /// The coordinator has received a request of the present generation, in which the held partitions were assigned or
    /// claimed. It was sent at `asked`.
    pub(super) fn heard(&mut self, asked: Instant) {
        if let Some(basis) = &mut self.lease_basis {
            basis.heard = basis.heard.max(asked);
        }
        self.trust_lease();
    }

    /// A heartbeat succeeded. If it was sent within the lease, it extends the lease. Otherwise it proves nothing: a
    /// coordinator that is still loading the group's state answers alike.
    pub(super) fn beaten(&mut self, asked: Instant) {
        if self.lease_end().is_some_and(|end| asked < end) {
            self.heard_at_rest(asked);
        }
    }

    /// The same, and no rebalance had begun.
    pub(super) fn heard_at_rest(&mut self, asked: Instant) {
        let later = |known: Instant| known.max(asked);
        let known = self.lease_basis.unwrap_or(LeaseBasis { heard: asked, at_rest: asked });
        self.lease_basis = Some(LeaseBasis { heard: later(known.heard), at_rest: later(known.at_rest) });
    }

    /// Whether a join is in flight.
    pub(super) fn joins(&self) -> bool {
        matches!(&self.outstanding, Some(Outstanding { request: Request::Join { .. }, .. }))
    }

    /// The request in flight should be answered without further waiting.
    fn expect_answer_soon(&mut self) {
        let soon = self.now + self.settings.prompt();
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.deadline = outstanding.deadline.min(soon);
        }
    }

    /// The request in flight is overdue. If it is a join and the coordinator still answers heartbeats, another member
    /// is slow: the join is sent again, in case it was lost.
    pub(super) fn overdue(&mut self) {
        let Some(outstanding) = &self.outstanding else { return };
        let heard = self.lease_basis.is_some_and(|basis| basis.heard > outstanding.asked);
        if !self.joins() || !heard {
            return self.request_failed("no answer came in time");
        }
        let since = self.joining_since.unwrap_or(outstanding.asked);
        let waited = Duration::from_secs(self.now.saturating_duration_since(since).as_secs());
        let text = format!(
            "Group {} has been rebalancing for {waited:?}: another member has not joined again yet. What this member \
             kept goes on meanwhile.",
            self.settings.group
        );
        self.notice(Severity::Warning, text);
        self.abandon();
    }
}
