//! The group: our process and up to two others are members by the product's own machine, and a model coordinator
//! shares the partitions out. Requests and answers are late or lost, the coordinator moves or hangs, members come, go
//! and die.

use crate::cluster::BROKERS;
use crate::coordinator::{Coordinator, JoinRequest, NOBODY, Token};
use crate::machine::{Event, Sim};
use crate::trace::trace;
use sluicegate::kafka::group::assignor::TopicSizes;
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Request, RequestId, Stamp};
use sluicegate::kafka::group::membership::{self, Membership, MembershipSettings, Step};
use sluicegate::record::Partition;
use sluicegate::timing::jitter::Jitter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The place of our process among the members.
pub const OURS: usize = 0;
pub const MEMBERS: usize = 3;
const HEARTBEAT: Duration = Duration::from_secs(2);
/// So many steps of a machine at one instant.
const MOST_STEPS: usize = 100;

/// A process that is a member.
pub struct Member {
    pub machine: Membership,
    /// Which of the processes in its place.
    incarnation: u64,
    /// Requests of an earlier connection are not heard any more.
    connection: u64,
    /// The broker that it takes for the coordinator.
    broker: i32,
    /// The wake-up that counts.
    wakes: u64,
}

/// Something on its way.
pub enum Post {
    Request {
        slot: usize,
        incarnation: u64,
        connection: u64,
        id: RequestId,
        request: Request,
    },
    Answer {
        slot: usize,
        connection: u64,
        id: RequestId,
        answer: Answer,
    },
    /// Sizes of topics for a member.
    Sizes {
        slot: usize,
        incarnation: u64,
    },
    /// Another member finishes what it has to give up.
    Releases {
        slot: usize,
        incarnation: u64,
        partitions: Vec<Partition>,
    },
    /// Another member works.
    Works {
        slot: usize,
        incarnation: u64,
    },
}

pub struct Group {
    pub coordinator: Coordinator,
    pub members: [Option<Member>; MEMBERS],
    posts: BTreeMap<u64, Post>,
    waiting: HashMap<Token, (usize, u64, RequestId)>,
    incarnations: u64,
    connections: u64,
    timer: u64,
    /// Who was given a partition last: the place and the incarnation.
    pub givings: HashMap<Partition, (usize, u64)>,
    /// Our connection to the coordinator brings nothing until then.
    pub cut_until: Duration,
}

impl Group {
    pub fn new(initial_delay: u64, beats_while_completing: bool) -> Self {
        let mut coordinator = Coordinator::new(initial_delay);
        coordinator.beats_while_completing = beats_while_completing;
        Self {
            coordinator,
            members: [const { None }; MEMBERS],
            posts: BTreeMap::new(),
            waiting: HashMap::new(),
            incarnations: 0,
            connections: 0,
            timer: 0,
            givings: HashMap::new(),
            cut_until: Duration::ZERO,
        }
    }

    /// Whether a member other than this one holds the partition, as far as it knows.
    fn held_by(&self, partition: &Partition) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.members.iter().enumerate();
        let members = members.filter_map(|(slot, member)| Some((slot, member.as_ref()?)));
        members.filter(move |(_, member)| member.machine.held().any(|held| held == partition))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Sim {
    fn sizes(&self) -> TopicSizes {
        let mut sizes = TopicSizes::new();
        for part in &self.cluster.parts {
            *sizes.entry(Arc::from(part.name.topic())).or_default() += 1;
        }
        sizes
    }

    // ---- members -------------------------------------------------------------------------------------------

    pub fn joins(&mut self, slot: usize) {
        if self.group.members[slot].is_some() {
            return;
        }
        let group = &self.plan.group;
        let is_static = slot == OURS && group.is_static;
        let settings = MembershipSettings {
            group: "g".into(),
            instance_id: is_static.then(|| "ours".into()),
            assignors: vec![group.assignor],
            session_timeout: group.session,
            rebalance_timeout: Duration::from_millis(self.plan.release_millis as u64),
            heartbeat_interval: HEARTBEAT,
            request_timeout: self.plan.brokers.timeout,
            rack: None,
        };
        let topics: BTreeSet<Arc<str>> = self.sizes().into_keys().collect();
        let jitter = Jitter::seeded(self.dice.next());
        let machine = Membership::new(settings, topics, jitter, self.clock());
        self.group.incarnations += 1;
        let incarnation = self.group.incarnations;
        let member = Member { machine, incarnation, connection: 0, broker: 0, wakes: 0 };
        self.group.members[slot] = Some(member);
        let later = self.dice.millis(0, 500);
        match slot {
            // It joins once it knows its topics.
            OURS => self.learn_sizes(OURS, self.consumer.catalog.sizes()),
            _ => self.post(later, Post::Sizes { slot, incarnation }),
        }
        trace!(self.now, "member {slot} joins");
        self.drive(slot);
    }

    /// kill -9.
    pub fn dies(&mut self, slot: usize) {
        self.group.members[slot] = None;
    }

    /// A member leaves as it should: what it holds is finished, and the coordinator is told.
    pub fn parts(&mut self, slot: usize) {
        let clock = self.clock();
        if let Some(member) = &mut self.group.members[slot] {
            member.machine.leave(clock);
            self.drive(slot);
        }
    }

    /// The process has come to its end: nobody polls any more, so what is held is released at once.
    pub fn closes(&mut self) {
        let clock = self.clock();
        let Some(mut member) = self.group.members[OURS].take() else { return };
        member.machine.leave(clock);
        let held: Vec<Partition> = member.machine.held().cloned().collect();
        member.machine.released(&held, clock);
        let Step::Ask(ask) = member.machine.poll(clock) else { return };
        if let Request::Leave { .. } = ask.request {
            let (low, high) = self.plan.brokers.latency;
            let (later, connection) = (self.dice.millis(low, high), member.connection);
            let incarnation = member.incarnation;
            self.post(
                later,
                Post::Request { slot: OURS, incarnation, connection, id: ask.id, request: ask.request },
            );
        }
    }

    /// What a commit of ours carries now.
    pub fn stamp(&self) -> Option<(Stamp, u64)> {
        let member = self.group.members[OURS].as_ref()?;
        Some((member.machine.stamp()?, member.incarnation))
    }

    /// A commit of ours was refused.
    pub fn hears_refusal(&mut self, stamp: &Stamp, refusal: GroupError) {
        let clock = self.clock();
        if let Some(member) = &mut self.group.members[OURS] {
            let _ = member.machine.commit_refused(stamp, refusal, clock);
            self.drive(OURS);
        }
    }

    /// Whether our process may send by its lease.
    pub fn lease_holds(&self) -> bool {
        let member = self.group.members[OURS].as_ref();
        let until = member.and_then(|member| member.machine.lease_until());
        self.lease.holds(self.instant()) && until.is_some_and(|until| until > self.clock())
    }

    /// Invariant 6: nobody else has the partition under a living lease.
    pub fn is_exclusive(&self, partition: &Partition, of: usize) {
        for (slot, member) in self.group.held_by(partition) {
            let lives = member.machine.lease_until().is_some_and(|until| until > self.clock());
            assert!(slot == of || !lives, "invariant 6: {partition} is used by {of}, and {slot} has it");
        }
    }

    /// The metadata told of topics.
    pub fn learn_sizes(&mut self, slot: usize, sizes: TopicSizes) {
        let clock = self.clock();
        let Some(member) = &mut self.group.members[slot] else { return };
        let wanted = member.machine.interest();
        let known = wanted.into_iter().map(|topic| (topic.clone(), sizes.get(&topic).copied().unwrap_or(0)));
        member.machine.sizes(known.collect(), clock);
        self.drive(slot);
    }

    /// Partitions were finished.
    pub fn released(&mut self, slot: usize, partitions: &[Partition]) {
        let clock = self.clock();
        if let Some(member) = &mut self.group.members[slot] {
            member.machine.released(partitions, clock);
            self.drive(slot);
        }
    }

    /// Lets a member do what it has to do by now.
    pub fn drive(&mut self, slot: usize) {
        let clock = self.clock();
        for _ in 0..MOST_STEPS {
            self.hear(slot);
            let Some(member) = &mut self.group.members[slot] else { return };
            let step = member.machine.poll(clock);
            self.hear(slot);
            match step {
                Step::Ask(ask) => self.send_to_group(slot, ask.id, ask.request, false),
                Step::AskInParallel(ask) => self.send_to_group(slot, ask.id, ask.request, true),
                Step::Wait(until) => {
                    let at = until.saturating_duration_since(self.start);
                    let token = self.token();
                    if let Some(member) = &mut self.group.members[slot] {
                        member.wakes = token;
                        self.push(
                            at.max(self.now + Duration::from_micros(1)),
                            Event::MemberWakes(slot, token),
                        );
                    }
                    return self.tend_group();
                }
                Step::Over => {
                    self.group.members[slot] = None;
                    return;
                }
            }
        }
        panic!("member {slot} asks without end");
    }

    pub fn member_wakes(&mut self, slot: usize, token: u64) {
        if self.group.members[slot].as_ref().is_some_and(|member| member.wakes == token) {
            self.drive(slot);
        }
    }

    /// What happened to a member's partitions.
    fn hear(&mut self, slot: usize) {
        while let Some(member) = &mut self.group.members[slot] {
            let incarnation = member.incarnation;
            let Some(event) = member.machine.next_event() else { return };
            trace!(self.now, "member {slot}: {event:?}");
            match event {
                membership::Event::Assigned { added, .. } => {
                    for partition in &added {
                        self.group.givings.insert(partition.clone(), (slot, incarnation));
                    }
                    self.given(slot, incarnation, &added);
                }
                membership::Event::Revoked(partitions) => self.revoked(slot, incarnation, partitions),
                membership::Event::Lost(partitions) if slot == OURS => {
                    for partition in &partitions {
                        let at = self.cluster.at(partition);
                        self.consumer.lose(at, &self.cluster, self.now);
                    }
                    self.source_has_something();
                }
                membership::Event::NeedSizes(_) => {
                    let later = self.dice.millis(1, 500);
                    self.post(later, Post::Sizes { slot, incarnation });
                }
                membership::Event::Fatal(sentence) => panic!("member {slot} ends: {sentence}"),
                membership::Event::Lost(_) | membership::Event::Notice(_) => {}
            }
        }
    }

    fn given(&mut self, slot: usize, incarnation: u64, added: &[Partition]) {
        if slot != OURS {
            let later = self.dice.millis(0, 2_000);
            return self.post(later, Post::Works { slot, incarnation });
        }
        for partition in added {
            self.consumer.add(self.cluster.at(partition));
        }
        self.consumer_looks();
    }

    fn revoked(&mut self, slot: usize, incarnation: u64, partitions: Vec<Partition>) {
        if slot != OURS {
            let later = self.dice.millis(0, 400);
            return self.post(later, Post::Releases { slot, incarnation, partitions });
        }
        let mut unknown = Vec::new();
        for partition in partitions {
            let at = self.cluster.at(&partition);
            if !self.consumer.revoke(at, &self.cluster, self.now) {
                unknown.push(partition);
            }
        }
        let clock = self.clock();
        if let Some(member) = self.group.members[slot].as_mut().filter(|_| !unknown.is_empty()) {
            member.machine.released(&unknown, clock);
        }
        self.source_has_something();
    }

    // ---- the network ---------------------------------------------------------------------------------------

    fn post(&mut self, later: Duration, post: Post) {
        let token = self.token();
        self.group.posts.insert(token, post);
        self.push(self.now + later, Event::Post(token));
    }

    fn send_to_group(&mut self, slot: usize, id: RequestId, request: Request, is_beside: bool) {
        let (low, high) = self.plan.brokers.latency;
        let later = self.dice.millis(low, high);
        if matches!(request, Request::FindCoordinator) && !is_beside {
            self.group.connections += 1;
        }
        let connections = self.group.connections;
        let Some(member) = &mut self.group.members[slot] else { return };
        if matches!(request, Request::FindCoordinator) {
            member.connection = connections;
        }
        let (connection, incarnation) = (member.connection, member.incarnation);
        let is_cut = slot == OURS && self.now < self.group.cut_until;
        if is_cut || (self.now < self.plan.calm_at && self.dice.chance(self.plan.brokers.lost)) {
            // Half of the time the connection breaks, and else there is just silence.
            if self.dice.chance(50) {
                let answer = Answer::Failed("broken pipe".into());
                self.post(later, Post::Answer { slot, connection, id, answer });
            }
            return;
        }
        self.post(later, Post::Request { slot, incarnation, connection, id, request });
    }

    pub fn post_arrives(&mut self, token: u64) {
        let Some(post) = self.group.posts.remove(&token) else { return };
        let is_of = |sim: &Self, slot: usize, of: u64| {
            sim.group.members[slot].as_ref().is_some_and(|member| member.incarnation == of)
        };
        match post {
            Post::Request { slot, incarnation, connection, id, request } => {
                self.request_arrives(slot, incarnation, connection, id, request);
            }
            Post::Answer { slot, connection, id, answer } => {
                self.answer_arrives(slot, connection, id, answer)
            }
            Post::Sizes { slot, incarnation } if is_of(self, slot, incarnation) => {
                self.learn_sizes(slot, self.sizes());
            }
            Post::Releases { slot, incarnation, partitions } if is_of(self, slot, incarnation) => {
                self.released(slot, &partitions);
            }
            Post::Works { slot, incarnation } if is_of(self, slot, incarnation) => self.other_works(slot),
            _ => {}
        }
    }

    fn request_arrives(
        &mut self,
        slot: usize,
        incarnation: u64,
        connection: u64,
        id: RequestId,
        request: Request,
    ) {
        let (hangs, home) = (&self.cluster.hangs, self.cluster.coordinator);
        let is_found = matches!(request, Request::FindCoordinator);
        if !is_found && hangs[home as usize] > self.now {
            // It is heard once the broker goes on, unless the connection is gone by then.
            let later = hangs[home as usize] - self.now;
            return self.post(later, Post::Request { slot, incarnation, connection, id, request });
        }
        let is_stale = self.now < self.plan.calm_at && self.dice.chance(8);
        let member = self.group.members[slot].as_mut();
        let member =
            member.filter(|member| member.incarnation == incarnation && member.connection == connection);
        let Some(member) = member else {
            // What a process has written before it ended still arrives.
            if let Request::Leave { member_id } = &request {
                let _ = self.group.coordinator.leave(member_id, milliseconds(self.now));
                self.tend_group();
            }
            return;
        };
        if is_found {
            member.broker = if is_stale { (home + 1) % BROKERS } else { home };
        }
        let is_home = member.broker == home;
        let token = self.token();
        self.group.waiting.insert(token, (slot, connection, id));
        self.ask_coordinator(token, request, is_home);
        self.tend_group();
    }

    fn ask_coordinator(&mut self, token: Token, request: Request, is_home: bool) {
        let (now, coordinator) = (milliseconds(self.now), &mut self.group.coordinator);
        debug_assert!(token != NOBODY, "tokens are drawn");
        match request {
            Request::FindCoordinator => coordinator.replies.push((token, Answer::Coordinator)),
            _ if !is_home => {
                let answer = Answer::Refused { error: GroupError::NotCoordinator, member_id: String::new() };
                coordinator.replies.push((token, answer));
            }
            Request::Join { member_id, instance_id, session_timeout, rebalance_timeout, protocols } => {
                let (session, rebalance) = (milliseconds(session_timeout), milliseconds(rebalance_timeout));
                let request = JoinRequest { member_id, instance_id, session, rebalance, protocols };
                coordinator.join(token, request, now);
            }
            Request::Sync { stamp, assignments } => coordinator.sync(token, &stamp, &assignments, now),
            Request::Heartbeat { stamp } => {
                let answer = coordinator.heartbeat(&stamp, now);
                coordinator.replies.push((token, answer));
            }
            Request::Leave { member_id } => {
                let answer = coordinator.leave(&member_id, now);
                coordinator.replies.push((token, answer));
            }
        }
    }

    fn answer_arrives(&mut self, slot: usize, connection: u64, id: RequestId, answer: Answer) {
        let clock = self.clock();
        let is_cut = slot == OURS && self.now < self.group.cut_until;
        let is_lost = self.now < self.plan.calm_at && self.dice.chance(self.plan.brokers.lost);
        let is_local = matches!(answer, Answer::Failed(_));
        let member = self.group.members[slot].as_mut().filter(|member| member.connection == connection);
        let Some(member) = member.filter(|_| is_local || !(is_cut || is_lost)) else { return };
        member.machine.answered(id, answer, clock);
        self.drive(slot);
    }

    /// Sends the coordinator's answers on their way, and looks when its next timer runs out.
    fn tend_group(&mut self) {
        let (low, high) = self.plan.brokers.latency;
        for (token, answer) in std::mem::take(&mut self.group.coordinator.replies) {
            let Some((slot, connection, id)) = self.group.waiting.remove(&token) else { continue };
            let later = self.dice.millis(low, high);
            self.post(later, Post::Answer { slot, connection, id, answer });
        }
        if let Some(at) = self.group.coordinator.next_timer() {
            let at = Duration::from_millis(at).max(self.now + Duration::from_micros(1));
            self.group.timer = self.token();
            self.push(at, Event::GroupTimer(self.group.timer));
        }
    }

    pub fn group_timer(&mut self, token: u64) {
        if self.group.timer == token {
            self.group.coordinator.tick(milliseconds(self.now));
            self.tend_group();
        }
    }

    /// Another broker coordinates, and reads for some milliseconds what was stored.
    pub fn move_coordinator(&mut self, load: u64) {
        self.cluster.coordinator = (self.cluster.coordinator + 1) % BROKERS;
        self.group.coordinator.move_away(milliseconds(self.now), load);
        self.tend_group();
    }

    /// Another member delivers something of what it has, and commits it.
    fn other_works(&mut self, slot: usize) {
        let (clock, notes) = (self.clock(), self.plan.brokers.others_write_notes);
        let Some(member) = &self.group.members[slot] else { return };
        let incarnation = member.incarnation;
        let lives = member.machine.lease_until().is_some_and(|until| until > clock);
        let held: Vec<Partition> = member.machine.held().cloned().collect();
        let stamp = member.machine.stamp();
        for partition in held.iter().filter(|_| lives) {
            self.is_exclusive(partition, slot);
            let stamp = stamp.as_ref().filter(|_| self.dice.chance(60));
            let taken = stamp
                .is_some_and(|stamp| self.group.coordinator.commit(stamp, milliseconds(self.now)).is_ok());
            if taken {
                let at = self.cluster.at(partition);
                self.cluster.other_works(at, notes, self.now, &mut self.dice);
            }
        }
        self.tend_group();
        let later = self.dice.millis(200, 3_000);
        self.post(later, Post::Works { slot, incarnation });
    }
}
