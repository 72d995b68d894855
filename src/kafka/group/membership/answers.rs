//! The coordinator's responses and errors.

use super::leader::Role;
use super::{CommitFate, Event, GroupError, Membership, Phase, RETRY_FLOOR};
use crate::kafka::group::assignor::{Assignment, Assignor};
use crate::kafka::group::exchange::{Answer, Joined, Request, RequestId, Stamp};
use crate::notice::Severity;
use std::collections::BTreeSet;
use std::time::Instant;

impl Membership {
    /// The outcome of the request `id`. Ignored if the request is obsolete.
    pub fn answered(&mut self, id: RequestId, answer: Answer, now: Instant) {
        self.step_to(now);
        if let Some(beat) = self.parallel.take_if(|beat| beat.id == id) {
            return self.answered_parallel(beat, answer);
        }
        let Some(outstanding) = self.outstanding.take_if(|outstanding| outstanding.id == id) else { return };
        let asked = outstanding.asked;
        self.parallel = None;
        match (outstanding.request, answer) {
            (request, Answer::Failed(reason)) => self.request_failed_of(&request, &reason),
            (request, Answer::Refused { error, member_id }) => {
                self.refused(&request, error, member_id, asked)
            }
            (Request::FindCoordinator, Answer::Coordinator) => self.coordinator_known = true,
            (Request::Join { .. }, Answer::Joined(joined)) => self.joined(joined),
            (Request::Sync { .. }, Answer::Synced(assignment)) => self.synced(assignment, asked),
            (Request::Heartbeat { stamp }, Answer::Done) => self.beat(&stamp, asked),
            (Request::Leave { .. }, Answer::Done) => self.phase = Phase::Over,
            (request, _) => self.request_failed_of(&request, "the answer was to another question"),
        }
    }

    /// The connection to the coordinator is lost, or another broker coordinates the group.
    pub fn coordinator_lost(&mut self, reason: &str, now: Instant) {
        self.step_to(now);
        match self.outstanding {
            Some(_) => self.request_failed(reason),
            None => self.coordinator_known = false,
        }
    }

    /// A commit that carried `stamp` was refused.
    pub fn commit_refused(&mut self, stamp: &Stamp, error: GroupError, now: Instant) -> CommitFate {
        self.step_to(now);
        let is_current = self.stamp().as_ref() == Some(stamp);
        match error {
            _ if matches!(self.phase, Phase::Over) => CommitFate::Over,
            GroupError::FencedInstanceId | GroupError::GroupAuthorizationFailed if is_current => {
                self.end(error);
                CommitFate::Over
            }
            GroupError::UnknownMemberId if is_current => {
                self.fall(error);
                CommitFate::Fenced
            }
            // While joining, the group may have the generation that the response in flight will bring.
            GroupError::IllegalGeneration if is_current && !matches!(self.phase, Phase::Joining) => {
                self.fall(error);
                CommitFate::Fenced
            }
            GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable => {
                if self.outstanding.is_none() {
                    self.coordinator_known = false;
                }
                CommitFate::Retry
            }
            _ => CommitFate::Retry,
        }
    }

    pub(super) fn request_failed(&mut self, reason: &str) {
        self.parallel = None;
        if let Some(outstanding) = self.outstanding.take() {
            self.request_failed_of(&outstanding.request, reason);
        }
    }

    fn request_failed_of(&mut self, request: &Request, reason: &str) {
        if matches!(self.phase, Phase::Parting { .. }) {
            self.leave_failed(reason);
        // Consecutive failures are logged ever more rarely, but not only once: the reason may change.
        } else if self.failures.saturating_add(1).is_power_of_two() {
            let group = &self.settings.group;
            let text =
                format!("The coordinator of group {group} did not answer: {reason}. Looking for it again.");
            self.notice(Severity::Warning, text);
        }
        self.coordinator_known = false;
        self.retry(request);
    }

    /// The coordinator may not know that this member leaves.
    pub(super) fn leave_failed(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.leave_failed, true) {
            let (group, session) = (&self.settings.group, self.settings.session_timeout);
            let text = format!(
                "The coordinator of group {group} may not know that this member leaves: {reason}. Its partitions go to \
                 others at the latest when its session ends, {session:?} after its last heartbeat."
            );
            self.notice(Severity::Warning, text);
        }
    }

    /// Retries after a failure, with backoff.
    fn retry(&mut self, request: &Request) {
        if matches!(request, Request::Heartbeat { .. }) {
            self.next_beat = self.now;
        }
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.now + self.backoff.delay(self.failures, Some(RETRY_FLOOR), &mut self.jitter);
    }

    fn joined(&mut self, joined: Joined) {
        let assignor = Assignor::from_name(&joined.protocol).filter(|a| self.settings.assignors.contains(a));
        let Some(assignor) = assignor else {
            let reason = format!("the group takes the assignor {:?}, which wasn't offered", joined.protocol);
            return self.request_failed_of(&self.join(), &reason);
        };
        let asked_first = self.joining_since.take();
        let came_back = self.settings.instance_id.is_some() && self.member_id.is_empty();
        // The new generation began after the first join was sent, and after the last heartbeat that was answered in the
        // former generation.
        if self.generation != Some(joined.generation)
            && let (Some(asked), Some(basis)) = (asked_first, self.lease_basis)
        {
            self.heard_at_rest(asked.max(basis.heard));
            self.trust_lease();
        }
        let leads = joined.leader == joined.member_id;
        self.assigned_by_coordinator = joined.leader.is_empty();
        self.came_back |= came_back && self.settings.is_cooperative();
        self.id_is_stored &= self.member_id == joined.member_id;
        self.moved = false;
        self.member_id = joined.member_id;
        self.generation = Some(joined.generation);
        // Partition counts that nobody watches any more may be stale.
        let watched = self.interest();
        self.sizes.retain(|topic, _| watched.contains(topic));
        if leads && !joined.members.is_empty() {
            return self.lead(assignor, joined.members);
        }
        self.phase = Phase::Syncing { assignments: Vec::new() };
        self.role = Role::Follower;
        if came_back || leads {
            let known = self.sizes.iter().filter(|(topic, _)| self.topics.contains(*topic));
            self.role = Role::PerhapsLeader(known.map(|(topic, size)| (topic.clone(), *size)).collect());
        }
    }

    fn synced(&mut self, assignment: Assignment, asked: Instant) {
        self.failures = 0;
        if !matches!(self.phase, Phase::Syncing { .. }) {
            return;
        }
        self.heard_at_rest(asked);
        self.trust_lease();
        self.id_is_stored = true;
        if self.lease_until().is_none_or(|end| end <= self.now) {
            // Other members may have had the partitions meanwhile. Another sync confirms the assignment, if it is
            // valid.
            return;
        }
        self.synced = self.generation;
        self.next_beat = asked + self.settings.heartbeat_interval;
        self.phase = Phase::Stable;
        self.adopt(assignment);
    }

    /// The heartbeat found a stable group.
    fn beat(&mut self, stamp: &Stamp, asked: Instant) {
        self.failures = 0;
        if self.stamp().as_ref() == Some(stamp) {
            self.beaten(asked);
        }
    }

    /// Adopts a new assignment.
    fn adopt(&mut self, assignment: Assignment) {
        let given: BTreeSet<_> = assignment.partitions.into_iter().collect();
        self.give_up_all_but(&given);
        self.epoch += 1;
        let added = self.holdings.take(&given, super::Epoch(self.epoch));
        self.events.push_back(Event::Assigned { added, user_data: assignment.user_data });
        let came_back = std::mem::take(&mut self.came_back);
        if came_back || self.claimed.iter().any(|partition| !given.contains(partition)) {
            // The next owner waits for a join without the partitions given up by this process or the one before.
            self.phase = Phase::GivingUp { since: self.now };
            self.go_on_when_released();
        }
    }

    fn refused(&mut self, request: &Request, error: GroupError, member_id: String, asked: Instant) {
        let has_moved = matches!(
            error,
            GroupError::NotCoordinator
                | GroupError::CoordinatorNotAvailable
                | GroupError::CoordinatorLoadInProgress
        );
        if matches!(request, Request::Leave { .. }) && !has_moved {
            // An unknown member has left already.
            if error != GroupError::UnknownMemberId {
                self.leave_failed(&format!("it answered with {error}"));
            }
            self.phase = Phase::Over;
            return;
        }
        if let Request::Heartbeat { stamp } | Request::Sync { stamp, .. } = request
            && self.stamp().as_ref() != Some(stamp)
        {
            // It is about a former identity.
            return self.retry(request);
        }
        match error {
            GroupError::CoordinatorNotAvailable | GroupError::NotCoordinator => {
                self.coordinator_known = false;
                self.retry(request);
            }
            GroupError::CoordinatorLoadInProgress => self.retry(request),
            GroupError::MemberIdRequired => {
                let is_first = self.member_id.is_empty() && !member_id.is_empty();
                self.member_id = member_id;
                if !is_first {
                    self.retry(request);
                }
            }
            GroupError::UnknownMemberId | GroupError::IllegalGeneration => {
                self.retry(request);
                self.fall(error);
            }
            GroupError::RebalanceInProgress => self.rebalance_in_progress(request, asked),
            // The new coordinator knows this instance by its former member id, since a new one is stored only with the
            // first assignment. Once per move, so that two processes with one instance id don't fence each other for
            // ever.
            GroupError::FencedInstanceId
                if self.moved && !self.id_is_stored && !self.member_id.is_empty() =>
            {
                self.retry(request);
                self.fall(GroupError::UnknownMemberId);
            }
            error if error.is_fatal() => self.end(error),
            other => {
                if self.failures == 0 {
                    let group = &self.settings.group;
                    let text =
                        format!("The coordinator of group {group} answered with {other}. Trying again.");
                    self.notice(Severity::Warning, text);
                }
                self.retry(request);
            }
        }
    }

    fn rebalance_in_progress(&mut self, request: &Request, asked: Instant) {
        if matches!(request, Request::Heartbeat { .. }) {
            // It renews the session, but the rebalance timeout runs.
            self.failures = 0;
            self.heard(asked);
        }
        match (&self.phase, request) {
            (Phase::Stable, Request::Heartbeat { .. }) => self.rejoin(),
            (Phase::Syncing { .. }, Request::Sync { .. }) => self.rejoin(),
            (_, Request::Join { .. }) => self.retry(request),
            _ => {}
        }
    }

    /// The generation or the member id is no longer valid: all partitions are lost, and the member rejoins.
    fn fall(&mut self, error: GroupError) {
        let joins = self.joins();
        self.lose_all();
        if joins {
            // The response to the join in flight tells the rest.
            return;
        }
        self.generation = None;
        self.synced = None;
        self.lease_basis = None;
        self.joining_since = None;
        if error == GroupError::UnknownMemberId {
            self.member_id.clear();
        }
        match self.phase {
            Phase::Leaving { .. } | Phase::Parting { .. } => self.go_on_when_released(),
            _ => self.phase = Phase::Joining,
        }
    }

    fn end(&mut self, error: GroupError) {
        self.lose_all();
        self.events.push_back(Event::Fatal(error));
        self.lease_basis = None;
        (self.outstanding, self.parallel) = (None, None);
        self.phase = Phase::Over;
    }
}
