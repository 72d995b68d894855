//! The thin thread around [`Membership`]: it sends what the membership asks for, on a connection of its own to the
//! coordinator, and carries words between it and the other threads. It decides nothing.
//!
//! A heartbeat thus never waits for a fetch, a commit or a webhook.

use super::quota::Quota;
use super::state::Shared;
use crate::kafka::cluster::{ClusterError, Links, Target};
use crate::kafka::group::assignor::{Subscriber, TopicSizes};
use crate::kafka::group::exchange::{Answer, Ask, Joined, Request};
use crate::kafka::group::membership::{Event, Membership, Settings, Step};
use crate::kafka::group::refusal::Refusal;
use crate::kafka::protocol::ErrorCode;
use crate::kafka::protocol::consumer_protocol::{
    decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::kafka::protocol::heartbeat::HeartbeatRequest;
use crate::kafka::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::kafka::protocol::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember};
use crate::kafka::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::relay::backoff::Jitter;
use crate::relay::record::Partition;
use crate::relay::source::{Lease, Notice, Polled, Severity};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What consumers call their kind of group.
const PROTOCOL_TYPE: &str = "consumer";
/// How soon sizes of topics are asked for again when that failed.
const SIZES_AGAIN: Duration = Duration::from_millis(500);

/// The thread's own.
pub(super) struct Member {
    links: Links,
    shared: Arc<Shared>,
    settings: Settings,
    lease: Lease,
    coordinator: Option<i32>,
    /// The assignor of the generation that was joined last.
    protocol: String,
    /// Topics whose sizes the membership lacks, and when to ask for them.
    needed: Option<(BTreeSet<Arc<str>>, Instant)>,
    subscribed: Option<(BTreeSet<Arc<str>>, TopicSizes)>,
    leaving: bool,
    quota: Quota,
}

impl Member {
    pub(super) fn new(
        links: Links,
        shared: Arc<Shared>,
        settings: Settings,
        lease: Lease,
        quota: Quota,
    ) -> Self {
        let (coordinator, protocol, needed, subscribed, leaving) = (None, String::new(), None, None, false);
        Self { links, shared, settings, lease, coordinator, protocol, needed, subscribed, leaving, quota }
    }

    /// Runs until the group is left.
    pub(super) fn run(mut self) {
        if let Some(topics) = self.await_topics() {
            let membership = Membership::new(self.settings.clone(), topics, Jitter::new(), Instant::now());
            self.drive(membership);
        }
        self.lease.end();
        let mut state = self.shared.lock();
        (state.is_member, state.stamp, state.settled) = (false, None, false);
        drop(state);
        self.shared.wake();
    }

    /// The topics that are wanted, once the first metadata tells; `None` once closed.
    fn await_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        /// How long it is waited at once; the wait is then taken up again.
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        let mut state = self.shared.lock();
        while !state.closed {
            if let Some((topics, _)) = &state.subscribed {
                return Some(topics.clone());
            }
            state = self.shared.wait_for_chores(state, Instant::now() + LOOK_AGAIN);
        }
        None
    }

    fn drive(&mut self, mut membership: Membership) {
        let is_cooperative = self.settings.assignors.iter().all(|assignor| assignor.is_cooperative());
        self.quota.attach(&mut membership);
        loop {
            self.take_words(&mut membership);
            while let Some(event) = membership.next_event() {
                self.pass_on(&mut membership, event);
            }
            self.find_sizes(&mut membership);
            self.quota.before_asking(&mut membership, is_cooperative);
            let step = membership.poll(Instant::now());
            // What time alone has brought is told before a request that may wait for long.
            while let Some(event) = membership.next_event() {
                self.pass_on(&mut membership, event);
            }
            self.publish(&membership);
            match step {
                Step::Ask(ask) => {
                    if matches!(ask.request, Request::Join { .. }) {
                        self.quota.joins();
                    }
                    let answer = self.ask(&ask);
                    membership.answered(ask.id, answer, Instant::now());
                }
                Step::AskBeside(ask) => {
                    let answer = self.ask(&ask);
                    membership.answered(ask.id, answer, Instant::now());
                }
                Step::Wait(until) => self.await_words(until),
                Step::Over => return,
            }
        }
    }

    // ---- words -------------------------------------------------------------------------------------------

    /// What others have to say to the membership.
    fn take_words(&mut self, membership: &mut Membership) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let released = std::mem::take(&mut state.released);
        let refused = std::mem::take(&mut state.commit_errors);
        let subscribed = state.subscribed.clone().filter(|new| self.subscribed.as_ref() != Some(new));
        let closed = state.closed;
        drop(state);
        if !released.is_empty() {
            membership.released(&released, now);
        }
        for (stamp, code) in refused {
            if let Some(refusal) = Refusal::from_code(code.0) {
                // What becomes of the partitions comes as an event.
                let _ = membership.commit_refused(&stamp, refusal, now);
            }
        }
        if let Some((topics, sizes)) = subscribed {
            membership.subscribe(topics.clone());
            let known = |topic: Arc<str>| (Arc::clone(&topic), sizes.get(&topic).copied().unwrap_or(0));
            membership.sizes(topics.iter().cloned().map(known).collect(), now);
            self.subscribed = Some((topics, sizes));
        }
        if closed && !self.leaving {
            self.leaving = true;
            membership.leave(now);
        }
    }

    /// Waits until somebody has something to say, or until then.
    fn await_words(&self, until: Instant) {
        let until = self.quota.look_again(self.needed.as_ref().map_or(until, |(_, at)| until.min(*at)));
        let mut state = self.shared.lock();
        loop {
            let news = !state.released.is_empty()
                || !state.commit_errors.is_empty()
                || (state.closed && !self.leaving)
                || state.subscribed != self.subscribed;
            if news || Instant::now() >= until {
                return;
            }
            state = self.shared.wait_for_chores(state, until);
        }
    }

    /// What the membership has to say to others.
    fn pass_on(&mut self, membership: &mut Membership, event: Event) {
        let mut state = self.shared.lock();
        match event {
            Event::Assigned { added, user_data } => {
                // First how much may be sent, then what.
                if let Some(text) = self.quota.granted(&user_data) {
                    state.news.push_back(Polled::Notice(Notice { severity: Severity::Warning, text }));
                }
                added.into_iter().for_each(|partition| state.add(partition));
            }
            Event::Revoked(partitions) => {
                let closed = state.closed;
                // Whoever polls has to finish what it knows of; after the end nobody polls.
                let (known, unknown): (Vec<Partition>, Vec<Partition>) =
                    partitions.into_iter().partition(|partition| state.revoke(partition) && !closed);
                if !known.is_empty() {
                    state.news.push_back(Polled::Revoked(known));
                }
                if !unknown.is_empty() {
                    unknown.iter().for_each(|partition| {
                        state.remove(partition);
                    });
                    membership.released(&unknown, Instant::now());
                }
            }
            Event::Lost(partitions) => {
                let known: Vec<Partition> =
                    partitions.into_iter().filter(|partition| state.remove(partition)).collect();
                if !known.is_empty() {
                    state.news.push_back(Polled::Lost(known));
                }
            }
            Event::NeedSizes(topics) => self.needed = Some((topics, Instant::now())),
            Event::Notice(notice) => state.news.push_back(Polled::Notice(notice)),
            Event::Fatal(text) => {
                drop(state);
                return self.shared.fail(text);
            }
        }
        drop(state);
        self.shared.wake();
    }

    /// Until when sending is allowed, what commits carry, and whether all is at rest.
    fn publish(&self, membership: &Membership) {
        match membership.lease_until() {
            Some(until) => self.lease.renew(self.quota.lease(until)),
            None => self.lease.end(),
        }
        let mut state = self.shared.lock();
        let settled = membership.is_settled();
        let changed = state.settled != settled;
        (state.stamp, state.settled) = (membership.stamp(), settled);
        drop(state);
        if changed {
            self.shared.wake();
        }
    }

    /// Asks for the sizes that the membership lacks to assign.
    fn find_sizes(&mut self, membership: &mut Membership) {
        let Some((topics, _)) = self.needed.take_if(|(_, at)| *at <= Instant::now()) else { return };
        let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        match self.links.refresh(Some(&names)) {
            Ok(_) => {
                let known = self.links.cluster().sizes();
                let size = |topic: &Arc<str>| (Arc::clone(topic), known.get(topic).copied().unwrap_or(0));
                membership.sizes(topics.iter().map(size).collect(), Instant::now());
            }
            Err(_) => self.needed = Some((topics, Instant::now() + SIZES_AGAIN)),
        }
    }

    // ---- requests ----------------------------------------------------------------------------------------

    fn ask(&mut self, ask: &Ask) -> Answer {
        let timeout = ask.deadline.saturating_duration_since(Instant::now());
        let outcome = match &ask.request {
            Request::FindCoordinator => self.find_coordinator(),
            Request::Join { .. } => self.join(&ask.request, timeout),
            Request::Sync { .. } => self.sync(&ask.request, timeout),
            Request::Heartbeat { stamp } => {
                let request = HeartbeatRequest {
                    group_id: &self.settings.group,
                    generation_id: stamp.generation,
                    member_id: &stamp.member_id,
                    group_instance_id: stamp.instance_id.as_deref(),
                };
                let target = coordinator(self.coordinator);
                target.and_then(|to| self.links.call_within(to, &request, timeout, |a| done(a.error_code)))
            }
            Request::Leave { member_id } => self.leave(member_id, timeout),
        };
        match outcome {
            Ok(answer) => answer,
            Err(ClusterError::Fatal(text)) => {
                self.shared.fail(text.clone());
                Answer::Failed(text)
            }
            Err(ClusterError::Retriable(text)) => Answer::Failed(text),
        }
    }

    fn find_coordinator(&mut self) -> Result<Answer, ClusterError> {
        if let Some(id) = self.coordinator.take() {
            self.shared.lock().coordinator = None;
            self.links.reset(Target::Broker(id));
        }
        let id = self.links.coordinator(&self.settings.group)?;
        let canceller = self.links.open(Target::Broker(id))?.canceller();
        self.shared.lock().coordinator = Some(canceller);
        self.coordinator = Some(id);
        Ok(Answer::Coordinator)
    }

    fn join(&mut self, request: &Request, timeout: Duration) -> Result<Answer, ClusterError> {
        let Request::Join { member_id, instance_id, session_timeout, rebalance_timeout, protocols } = request
        else {
            return Err(ClusterError::Retriable("not a join".into()));
        };
        let unwritable =
            |error| ClusterError::Fatal(format!("the group's subscription can't be written: {error}"));
        let encoded = protocols.iter().map(|(assignor, subscription)| {
            Ok((assignor.name(), encode_subscription(subscription).map_err(unwritable)?))
        });
        let encoded: Vec<(&str, Vec<u8>)> = encoded.collect::<Result<_, ClusterError>>()?;
        let protocol = |(name, metadata)| JoinGroupRequestProtocol { name, metadata };
        let request = JoinGroupRequest {
            group_id: &self.settings.group,
            session_timeout_ms: milliseconds(*session_timeout),
            rebalance_timeout_ms: milliseconds(*rebalance_timeout),
            member_id,
            group_instance_id: instance_id.as_deref(),
            protocol_type: PROTOCOL_TYPE,
            protocols: encoded.iter().map(|(name, bytes)| protocol((*name, bytes.as_slice()))).collect(),
            reason: None,
        };
        let target = coordinator(self.coordinator)?;
        {
            let mut state = self.shared.lock();
            if state.closed && !self.leaving {
                return Err(ClusterError::Retriable("closing".into()));
            }
            state.is_joining = true;
        }
        let answer = self.links.call_within(target, &request, timeout, joined);
        self.shared.lock().is_joining = false;
        let answer = answer??;
        if let Answer::Joined(joined) = &answer {
            self.protocol.clone_from(&joined.protocol);
        }
        Ok(answer)
    }

    fn sync(&mut self, request: &Request, timeout: Duration) -> Result<Answer, ClusterError> {
        let Request::Sync { stamp, assignments } = request else {
            return Err(ClusterError::Retriable("not a sync".into()));
        };
        let unwritable =
            |error| ClusterError::Fatal(format!("the group's assignment can't be written: {error}"));
        let encoded = assignments.iter().map(|(member_id, assignment)| {
            Ok((member_id.as_str(), encode_assignment(assignment).map_err(unwritable)?))
        });
        let encoded: Vec<(&str, Vec<u8>)> = encoded.collect::<Result<_, ClusterError>>()?;
        let assignment = |(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment };
        let request = SyncGroupRequest {
            group_id: &self.settings.group,
            generation_id: stamp.generation,
            member_id: &stamp.member_id,
            group_instance_id: stamp.instance_id.as_deref(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(&self.protocol),
            assignments: encoded.iter().map(|(id, bytes)| assignment((*id, bytes.as_slice()))).collect(),
        };
        let target = coordinator(self.coordinator)?;
        self.links.call_within(target, &request, timeout, |answer| {
            match Refusal::from_code(answer.error_code.0) {
                Some(refusal) => Ok(Answer::Refused { refusal, member_id: String::new() }),
                // The coordinator hands on nothing to a member that the leader left out.
                None if answer.assignment.is_empty() => {
                    Ok(Answer::Synced(crate::kafka::group::assignor::Assignment::default()))
                }
                None => decode_assignment(answer.assignment).map(Answer::Synced).map_err(|error| {
                    ClusterError::Retriable(format!("the leader's assignment can't be read: {error}"))
                }),
            }
        })?
    }

    fn leave(&mut self, member_id: &str, timeout: Duration) -> Result<Answer, ClusterError> {
        let members = vec![LeaveGroupRequestMember { member_id, ..Default::default() }];
        let request = LeaveGroupRequest { group_id: &self.settings.group, members, ..Default::default() };
        let target = coordinator(self.coordinator)?;
        self.links.call_within(target, &request, timeout, |answer| {
            let of_member = answer.members.first().map(|member| member.error_code);
            let code = Some(answer.error_code).filter(|code| *code != ErrorCode::NONE).or(of_member);
            done(code.unwrap_or(ErrorCode::NONE))
        })
    }
}

fn coordinator(id: Option<i32>) -> Result<Target, ClusterError> {
    id.map(Target::Broker).ok_or_else(|| ClusterError::Retriable("no coordinator is known".into()))
}

fn done(code: ErrorCode) -> Answer {
    match Refusal::from_code(code.0) {
        Some(refusal) => Answer::Refused { refusal, member_id: String::new() },
        None => Answer::Done,
    }
}

fn joined(answer: JoinGroupResponse<'_>) -> Result<Answer, ClusterError> {
    if let Some(refusal) = Refusal::from_code(answer.error_code.0) {
        return Ok(Answer::Refused { refusal, member_id: answer.member_id.to_owned() });
    }
    let unreadable =
        |error| ClusterError::Retriable(format!("a member's subscription can't be read: {error}"));
    let members = answer.members.iter().map(|member| {
        Ok(Subscriber {
            member_id: member.member_id.to_owned(),
            instance_id: member.group_instance_id.map(str::to_owned),
            subscription: decode_subscription(member.metadata).map_err(unreadable)?,
        })
    });
    Ok(Answer::Joined(Joined {
        generation: answer.generation_id,
        protocol: answer.protocol_name.unwrap_or_default().to_owned(),
        leader: answer.leader.to_owned(),
        member_id: answer.member_id.to_owned(),
        members: members.collect::<Result<_, ClusterError>>()?,
    }))
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
