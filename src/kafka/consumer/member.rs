//! The thin thread that drives [`Membership`]: it has its requests sent, and passes inputs and events between it and
//! the other threads. It decides nothing and never waits for a response: a request thread (`request_thread`) sends the
//! requests, and another one the heartbeats in parallel to a join or a sync.
//!
//! So a heartbeat never waits for a fetch, a commit, a webhook or another member of the group.
//!
//! | room | what it is |
//! |---|---|
//! | `request_thread` | sends requests, one at a time |
//! | `requests` | converts requests and responses |
//! | `clock` | notices that the machine was suspended |

mod clock;
mod request_thread;
mod requests;

use super::ConsumerError;
use super::event::ConsumerEvent;
use super::group_destination::DestinationCheck;
use super::group_limit::MemberLimit;
use super::leader_data;
use super::state::Shared;
use crate::kafka::cluster::{Cluster, ClusterError, Connections};
use crate::kafka::group::assignor::TopicSizes;
use crate::kafka::group::error::GroupError;
use crate::kafka::group::exchange::{Answer, Ask, Request};
use crate::kafka::group::membership::{Event, Membership, MembershipSettings, Step};
use crate::kafka::group::user_data::UserData;
use crate::record::Partition;
use crate::timing::jitter::Jitter;
use crate::timing::lease::Lease;
use clock::{Clock, Reading};
use request_thread::{Inbox, Job, Reply, RequestThread};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pause before partition counts are requested again after a failure.
const SIZES_AGAIN: Duration = Duration::from_millis(500);

/// The state of the thread.
pub(super) struct Member {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: MembershipSettings,
    lease: Lease,
    inbox: Arc<Inbox>,
    /// Sends requests in parallel to one that waits; started when it is first needed.
    parallel: Option<RequestThread>,
    coordinator: Option<i32>,
    /// The name of the assignor of the last joined generation.
    protocol: String,
    /// Topics whose partition counts the membership needs, and when to request them.
    needed: Option<(BTreeSet<Arc<str>>, Instant)>,
    subscribed: Option<(BTreeSet<Arc<str>>, TopicSizes)>,
    leaving: bool,
    limit: MemberLimit,
    destination: DestinationCheck,
}

impl Member {
    pub(super) fn new(
        connections: Connections,
        shared: Arc<Shared>,
        settings: MembershipSettings,
        lease: Lease,
        limit: MemberLimit,
        destination: DestinationCheck,
    ) -> Self {
        Self {
            cluster: Arc::clone(connections.cluster()),
            shared,
            settings,
            lease,
            inbox: Arc::default(),
            parallel: None,
            coordinator: None,
            protocol: String::new(),
            needed: None,
            subscribed: None,
            leaving: false,
            limit,
            destination,
        }
    }

    /// Runs until the member has left the group.
    pub(super) fn run(mut self) {
        if let Some(topics) = self.await_topics() {
            let membership = Membership::new(self.settings.clone(), topics, Jitter::new(), Instant::now());
            match self.start_thread("member-requests", None) {
                Ok(thread) => self.drive(membership, thread),
                Err(error) => self.shared.fail(ConsumerError::Thread(error)),
            }
        }
        self.lease.end();
        let mut state = self.shared.lock();
        (state.is_member, state.stamp, state.settled) = (false, None, false);
        drop(state);
        self.shared.wake();
    }

    /// Waits for the subscribed topics from the first metadata. `None` once closed.
    fn await_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        /// Bounds one wait; the loop then waits again.
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        let mut state = self.shared.lock();
        while !state.closed {
            if let Some((topics, _)) = &state.subscribed {
                return Some(topics.clone());
            }
            state = self.shared.wait_for_work(state, Instant::now() + LOOK_AGAIN);
        }
        None
    }

    fn drive(&mut self, mut membership: Membership, mut thread: RequestThread) {
        let is_cooperative = self.settings.assignors.iter().all(|assignor| assignor.is_cooperative());
        if let Some(attach) = leader_data::attach(self.limit.most(), self.destination.digest()) {
            membership.attach(attach);
        }
        let mut clock = Clock::new(Reading::take());
        loop {
            let reading = Reading::take();
            if let Some(gap) = clock.gap(reading) {
                membership.slept(gap, reading.now);
            }
            self.take_input(&mut membership);
            self.take_replies(&mut membership);
            while let Some(event) = membership.next_event() {
                self.pass_on(&mut membership, event);
            }
            self.find_sizes();
            let share = self.limit.before_asking(&mut membership, is_cooperative);
            let user_data = UserData { share, sender: self.destination.sender(), comparison: None };
            membership.set_user_data(user_data.encode());
            let step = membership.poll(Instant::now());
            while let Some(event) = membership.next_event() {
                self.pass_on(&mut membership, event);
            }
            self.publish(&membership, reading);
            match step {
                Step::Ask(ask) => self.ask(&mut thread, ask),
                Step::AskInParallel(ask) => self.ask_in_parallel(&mut membership, ask),
                Step::Wait(until) => self.await_input(until),
                Step::Over => return,
            }
        }
    }

    // ---- inputs and events -------------------------------------------------------------------------------

    /// Passes the inputs of other threads to the membership.
    fn take_input(&mut self, membership: &mut Membership) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let released = std::mem::take(&mut state.released);
        let refused = std::mem::take(&mut state.commit_errors);
        let subscribed =
            state.subscribed.as_ref().filter(|new| self.subscribed.as_ref() != Some(new)).cloned();
        let closed = state.closed;
        drop(state);
        if !released.is_empty() {
            membership.released(&released, now);
        }
        for (stamp, code) in refused {
            if let Some(error) = GroupError::from_code(code.0) {
                // If partitions are lost, an event says so.
                let _ = membership.commit_refused(&stamp, error, now);
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

    /// Passes responses to the membership.
    fn take_replies(&mut self, membership: &mut Membership) {
        while let Some(reply) = self.inbox.take() {
            match reply {
                Reply::Answer { id, outcome, coordinator } => {
                    self.coordinator = coordinator.or(self.coordinator);
                    let answer = outcome.unwrap_or_else(|error| self.failed(error));
                    if let Answer::Joined(joined) = &answer {
                        self.protocol.clone_from(&joined.protocol);
                    }
                    membership.answered(id, answer, Instant::now());
                }
                Reply::Sizes(topics, Ok(())) => {
                    let known = self.cluster.sizes();
                    let size = |topic: &Arc<str>| (Arc::clone(topic), known.get(topic).copied().unwrap_or(0));
                    membership.sizes(topics.iter().map(size).collect(), Instant::now());
                }
                Reply::Sizes(topics, Err(_)) => self.needed = Some((topics, Instant::now() + SIZES_AGAIN)),
            }
        }
    }

    fn failed(&self, error: ClusterError) -> Answer {
        let answer = Answer::Failed(self.shared.explain(&error));
        if error.is_fatal() {
            self.shared.fail(error);
        }
        answer
    }

    /// Waits until there is input, or until `until`.
    fn await_input(&self, until: Instant) {
        let until = self.limit.look_again(self.needed.as_ref().map_or(until, |(_, at)| until.min(*at)));
        let mut state = self.shared.lock();
        loop {
            let has_input = !state.released.is_empty()
                || !state.commit_errors.is_empty()
                || (state.closed && !self.leaving)
                || state.subscribed != self.subscribed;
            if has_input || !self.inbox.is_empty() || Instant::now() >= until {
                return;
            }
            state = self.shared.wait_for_work(state, until);
        }
    }

    /// Passes an event of the membership to the other threads.
    fn pass_on(&mut self, membership: &mut Membership, event: Event) {
        let mut state = self.shared.lock();
        match event {
            Event::Assigned { added, user_data } => {
                if let Some(error) = self.limit.cannot_be_split(membership, &self.settings.group) {
                    drop(state);
                    return self.shared.fail(error);
                }
                let told = UserData::decode(&user_data);
                let compared = match self.destination.compared(told.comparison, !added.is_empty()) {
                    Ok(notice) => notice,
                    Err(error) => {
                        // Closing gives the partitions back, of which nothing was read.
                        drop(state);
                        return self.shared.fail(error);
                    }
                };
                // The grant goes before the partitions, so that nothing is sent beyond it.
                let granted = self.limit.granted(told.share);
                compared.iter().chain(&granted).for_each(|notice| state.notify(notice));
                added.into_iter().for_each(|partition| state.add(partition));
            }
            Event::Revoked(partitions) => {
                let closed = state.closed;
                // The caller has to release the partitions that it knows; once closed, nobody polls any more.
                let (known, unknown): (Vec<Partition>, Vec<Partition>) =
                    partitions.into_iter().partition(|partition| state.revoke(partition) && !closed);
                if !known.is_empty() {
                    state.events.push_back(ConsumerEvent::Revoked(known));
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
                    state.events.push_back(ConsumerEvent::Lost(known));
                }
            }
            Event::NeedSizes(topics) => self.needed = Some((topics, Instant::now())),
            Event::Notice(notice) => state.events.push_back(ConsumerEvent::Notice(notice)),
            Event::Fatal(error) => {
                drop(state);
                let (group, instance_id) = (self.settings.group.clone(), self.settings.instance_id.clone());
                return self.shared.fail(ConsumerError::Group { group, instance_id, error });
            }
        }
        drop(state);
        self.shared.wake();
    }

    /// Publishes the lease, the identity that commits carry, and whether the group is stable.
    fn publish(&self, membership: &Membership, reading: Reading) {
        match membership.lease_until() {
            Some(until) => {
                self.lease.renew_by_both(self.limit.lease(until), reading.now, reading.wall);
            }
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

    // ---- requests ----------------------------------------------------------------------------------------

    /// Requests the partition counts that the membership needs to assign.
    fn find_sizes(&mut self) {
        let Some((topics, _)) = self.needed.take_if(|(_, at)| *at <= Instant::now()) else { return };
        match self.parallel_thread() {
            Ok(thread) => thread.add(Job::Sizes(topics)),
            Err(_) => self.needed = Some((topics, Instant::now() + SIZES_AGAIN)),
        }
    }

    fn ask(&mut self, thread: &mut RequestThread, ask: Ask) {
        match &ask.request {
            // Requests in flight are obsolete.
            Request::FindCoordinator => {
                thread.give_up();
                self.parallel.iter().for_each(RequestThread::give_up);
                self.coordinator = None;
            }
            Request::Join { .. } => self.limit.joins(),
            _ => {}
        }
        thread.add(Job::Ask { ask, coordinator: None, protocol: self.protocol.clone() });
    }

    fn ask_in_parallel(&mut self, membership: &mut Membership, ask: Ask) {
        let (id, coordinator) = (ask.id, self.coordinator);
        match self.parallel_thread() {
            Ok(thread) => thread.add(Job::Ask { ask, coordinator, protocol: String::new() }),
            Err(error) => membership.answered(id, Answer::Failed(error.to_string()), Instant::now()),
        }
    }

    fn parallel_thread(&mut self) -> io::Result<&mut RequestThread> {
        /// A connection that has been idle for this many heartbeats may be dead, so a new one is opened.
        const HEARTBEATS_TO_IDLE: u32 = 3;
        let thread = match self.parallel.take() {
            Some(thread) => thread,
            None => self.start_thread(
                "member-parallel",
                Some(self.settings.heartbeat_interval * HEARTBEATS_TO_IDLE),
            )?,
        };
        Ok(self.parallel.insert(thread))
    }

    fn start_thread(&self, name: &'static str, idle: Option<Duration>) -> io::Result<RequestThread> {
        // Half of the time, since finding the coordinator takes two connections and a request.
        let connections = Connections::new(Arc::clone(&self.cluster), self.settings.prompt() / 2);
        RequestThread::start(name, connections, &self.settings.group, idle, &self.shared, &self.inbox)
    }
}
