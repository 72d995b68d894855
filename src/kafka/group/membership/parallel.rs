//! Heartbeats beside a join or a sync that waits at the coordinator.
//!
//! A join waits until all members have joined, and a sync until the leader has assigned: for minutes, if another
//! member takes its time. The coordinator keeps a member whose join or sync waits, but the member itself can't tell
//! one that waits from one that got lost. A heartbeat can: `REBALANCE_IN_PROGRESS` says that this member is known
//! and that nothing has been given to others yet. Brokers answer the requests of one connection in order, so
//! these heartbeats take a connection of their own.

use super::{GroupError, LeaseBasis, Membership, Outstanding, RETRY_MAX, Step};
use crate::kafka::group::exchange::{Answer, Ask, Request, Stamp};
use crate::relay::notice::Severity;
use std::time::{Duration, Instant};

impl Membership {
    /// What to do while `waiting_until` a request may wait for its answer.
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

    /// No answer to it came in time.
    pub(super) fn give_up_parallel(&mut self) {
        if self.parallel.as_ref().is_some_and(|beat| beat.deadline <= self.now) {
            self.parallel = None;
        }
    }

    /// What came of a heartbeat beside a request that waits.
    pub(super) fn answered_parallel(&mut self, beat: Outstanding, answer: Answer) {
        let Request::Heartbeat { stamp } = beat.request else { return };
        if self.stamp() != Some(stamp) {
            // It speaks of who we were.
            return;
        }
        let joins = self.joins();
        match answer {
            Answer::Done => {
                self.beaten(beat.asked);
                if joins {
                    // A group at rest has not heard of the join.
                    self.expect_answer_soon();
                }
            }
            Answer::Refused { error: GroupError::RebalanceInProgress, .. } => {
                // Before Kafka 2.7 it is also said to a member that waits for its assignment, and then does not
                // prolong its session.
                if joins {
                    self.heard(beat.asked);
                }
            }
            Answer::Refused { error, .. } => {
                if matches!(error, GroupError::UnknownMemberId | GroupError::FencedInstanceId) {
                    self.lose_all();
                }
                // The request that waits gets the same answer, or the group has gone on and its answer is under way.
                self.expect_answer_soon();
            }
            _ => self.next_beat = self.now + RETRY_MAX.min(self.settings.heartbeat_interval),
        }
    }

    /// The coordinator has heard a request of ours of the present generation: what we hold was given in it, or claimed
    /// in the join that led to it.
    pub(super) fn heard(&mut self, asked: Instant) {
        if let Some(basis) = &mut self.lease_basis {
            basis.heard = basis.heard.max(asked);
        }
        self.trust_lease();
    }

    /// A heartbeat was answered without an error. Asked within the lease, it prolongs the lease. Asked later, it proves
    /// nothing: a coordinator that still reads the group's state says the same to everybody.
    pub(super) fn beaten(&mut self, asked: Instant) {
        if self.lease_end().is_some_and(|end| asked < end) {
            self.heard_at_rest(asked);
        }
    }

    /// It has, and no rebalance had begun.
    pub(super) fn heard_at_rest(&mut self, asked: Instant) {
        let later = |known: Instant| known.max(asked);
        let known = self.lease_basis.unwrap_or(LeaseBasis { heard: asked, at_rest: asked });
        self.lease_basis = Some(LeaseBasis { heard: later(known.heard), at_rest: later(known.at_rest) });
    }

    /// Whether a join is under way.
    pub(super) fn joins(&self) -> bool {
        matches!(&self.outstanding, Some(Outstanding { request: Request::Join { .. }, .. }))
    }

    /// The request under way has nothing to wait for any more.
    fn expect_answer_soon(&mut self) {
        let soon = self.now + self.settings.prompt();
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.deadline = outstanding.deadline.min(soon);
        }
    }

    /// A join was not answered within the time in which this member alone could be to blame. While the coordinator
    /// answers beside it, others are: the join is sent once more, in case it got lost.
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
