//! Members, the model coordinator and the network between them, in virtual time: requests and answers are late or
//! lost, processes die, pause and restart. Whatever happens, it is checked that nobody acts on what another has.

use super::slow::Slow;
use crate::support::coordinator::{Coordinator, JoinRequest, NOBODY, Token};
use sluicegate::kafka::group::assignor::{Assignor, Subscription, TopicSizes};
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::{Answer, Request, RequestId, Stamp};
use sluicegate::kafka::group::membership::{Event, Membership, MembershipSettings, Step};
use sluicegate::record::Partition;
use sluicegate::timing::jitter::Jitter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SESSION: u64 = 10_000;
pub const HEARTBEAT: u64 = 3_000;
pub const NODES: usize = 3;
/// How much may happen at the same instant before something is taken for spinning.
const EVENTS_AT_ONCE: usize = 2_000;

/// What a schedule is about.
#[derive(Clone, Debug)]
pub struct Plan {
    pub assignors: Vec<Assignor>,
    pub rebalance: u64,
    pub initial_delay: u64,
    /// Which members are static ones.
    pub statics: Vec<bool>,
    pub sizes: Vec<i32>,
    pub seed: u64,
}

/// Under way, to happen at a certain time.
pub enum Packet {
    Request { conn: u64, id: RequestId, request: Request },
    Answer { conn: u64, id: RequestId, answer: Answer },
    Commit { stamp: Stamp, partition: Partition },
    Committed { stamp: Stamp, result: Result<(), GroupError> },
    Release { partitions: Vec<(Partition, u64)> },
    Sizes,
}

pub struct Post {
    pub at: u64,
    pub slot: usize,
    pub incarnation: u64,
    pub packet: Packet,
}

/// A process that is a member.
pub struct Process {
    pub machine: Membership,
    pub conn: u64,
    pub node: usize,
    pub wake: u64,
    /// What its consumer believes it holds: since which event, and whether it is to give it up.
    pub held: BTreeMap<Partition, (u64, bool)>,
    pub outstanding: Option<RequestId>,
    /// What is asked beside it.
    pub parallel: Option<RequestId>,
    pub commits: usize,
    pub over: bool,
    pub fatal: Option<GroupError>,
}

#[derive(Default)]
pub struct Place {
    pub process: Option<Process>,
    pub incarnation: u64,
    pub cut_until: u64,
    pub paused_until: u64,
    /// It sleeps, and its clock stands still, since when and until when.
    pub sleep: Option<(u64, u64)>,
    /// How much its clock is behind by that.
    pub behind: u64,
    pub slow_release: Option<u64>,
    pub lost_requests: u8,
    pub lost_answers: u8,
    /// How late answers are, at most.
    pub lateness: u64,
}

pub struct World {
    pub plan: Plan,
    pub base: Instant,
    pub now: u64,
    pub coordinator: Coordinator,
    pub home: usize,
    pub places: Vec<Place>,
    pub posts: Vec<Post>,
    pub waiting: HashMap<Token, (usize, u64, u64, RequestId)>,
    pub tokens: u64,
    pub conns: u64,
    pub marks: u64,
    pub sizes: TopicSizes,
    pub topics: Vec<BTreeSet<Arc<str>>>,
    /// Who was given a partition last: slot and incarnation.
    pub givings: HashMap<Partition, (usize, u64)>,
    pub jitter: Jitter,
    pub joins: Vec<usize>,
    pub commits_accepted: usize,
    pub lost: usize,
    pub slow: Option<Slow>,
}

pub fn topic(number: usize) -> Arc<str> {
    Arc::from(format!("t{number}"))
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let sizes: TopicSizes = plan.sizes.iter().enumerate().map(|(i, n)| (topic(i), *n)).collect();
        let slots = plan.statics.len();
        let mut coordinator = Coordinator::new(plan.initial_delay);
        coordinator.beats_while_completing = !plan.seed.is_multiple_of(3);
        Self {
            base: Instant::now(),
            now: 0,
            coordinator,
            home: 0,
            places: (0..slots).map(|_| Place::default()).collect(),
            posts: Vec::new(),
            waiting: HashMap::new(),
            tokens: NOBODY,
            conns: 0,
            marks: 0,
            topics: vec![sizes.keys().cloned().collect(); slots],
            sizes,
            givings: HashMap::new(),
            jitter: Jitter::seeded(plan.seed),
            joins: vec![0; slots],
            commits_accepted: 0,
            lost: 0,
            slow: None,
            plan,
        }
    }

    pub fn instant(&self, ms: u64) -> Instant {
        self.base + Duration::from_millis(ms)
    }

    /// What the clock of a process says.
    pub fn clock(&self, slot: usize) -> Instant {
        self.instant(self.now - self.places[slot].behind)
    }

    pub fn chance(&mut self, limit: u64) -> u64 {
        u64::try_from(self.jitter.up_to(Duration::from_micros(limit)).as_micros()).unwrap()
    }

    pub fn process(&self, slot: usize) -> Option<&Process> {
        self.places[slot].process.as_ref().filter(|process| !process.over)
    }

    pub fn start(&mut self, slot: usize) {
        if self.process(slot).is_some() {
            return;
        }
        let ms = Duration::from_millis;
        let settings = MembershipSettings {
            group: "g".into(),
            instance_id: self.plan.statics[slot].then(|| format!("i{slot}")),
            assignors: self.plan.assignors.clone(),
            session_timeout: ms(SESSION),
            rebalance_timeout: ms(self.plan.rebalance),
            heartbeat_interval: ms(HEARTBEAT),
            request_timeout: ms(5_000),
            rack: None,
        };
        settings.check().unwrap();
        let seed = self.plan.seed ^ (slot as u64) << 32 ^ self.now;
        (self.places[slot].sleep, self.places[slot].behind) = (None, 0);
        let now = self.clock(slot);
        let machine = Membership::new(settings, self.topics[slot].clone(), Jitter::seeded(seed), now);
        let place = &mut self.places[slot];
        place.incarnation += 1;
        place.paused_until = 0;
        place.process = Some(Process {
            machine,
            conn: 0,
            node: 0,
            wake: self.now,
            held: BTreeMap::new(),
            outstanding: None,
            parallel: None,
            commits: 0,
            over: false,
            fatal: None,
        });
        // Nobody consumes without the topics' metadata.
        let after = self.chance(2_000);
        self.post(slot, after, Packet::Sizes);
    }

    /// kill -9.
    pub fn kill(&mut self, slot: usize) {
        self.places[slot].process = None;
    }

    pub fn leave(&mut self, slot: usize) {
        if self.places[slot].sleep.is_some() {
            return;
        }
        let now = self.clock(slot);
        if let Some(process) = &mut self.places[slot].process {
            process.machine.leave(now);
            process.wake = self.now;
        }
    }

    pub fn move_coordinator(&mut self, load: u64) {
        self.home = (self.home + 1) % NODES;
        self.coordinator.move_away(self.now, load);
        self.deliver_replies();
    }

    pub fn cut(&mut self, slot: usize, ms: u64) {
        self.places[slot].cut_until = self.now + ms;
    }

    pub fn pause(&mut self, slot: usize, ms: u64) {
        let place = &mut self.places[slot];
        place.paused_until = place.paused_until.max(self.now + ms);
    }

    /// The machine is suspended.
    pub fn suspend(&mut self, slot: usize, ms: u64) {
        if self.process(slot).is_some() && self.places[slot].sleep.is_none() {
            self.pause(slot, ms);
            self.places[slot].sleep = Some((self.now, self.now + ms));
        }
    }

    /// Its clock stood still, and the process notices first of all. Or its wall clock was set, which looks the same.
    pub fn wake_up(&mut self, slot: usize, gap: u64) {
        let now = self.clock(slot);
        if let Some(process) = &mut self.places[slot].process {
            process.machine.slept(Duration::from_millis(gap), now);
            process.wake = self.now;
            self.hear(slot);
        }
    }

    fn wake_all(&mut self) {
        for slot in 0..self.places.len() {
            let over = self.places[slot].sleep.filter(|(_, until)| *until <= self.now);
            if let Some((since, until)) = over {
                let gap = until - since;
                self.places[slot].sleep = None;
                self.places[slot].behind += gap;
                self.wake_up(slot, gap);
            }
        }
    }

    pub fn lose(&mut self, slot: usize, requests: u8, answers: u8) {
        (self.places[slot].lost_requests, self.places[slot].lost_answers) = (requests, answers);
    }

    pub fn delay(&mut self, slot: usize, ms: u64) {
        self.places[slot].lateness = ms;
    }

    pub fn release_slowly(&mut self, slot: usize, ms: Option<u64>) {
        self.places[slot].slow_release = ms;
    }

    pub fn grow(&mut self, number: usize) {
        let number = number % self.sizes.len();
        *self.sizes.get_mut(&topic(number)).unwrap() += 1;
        for slot in 0..self.places.len() {
            let after = self.chance(500);
            self.post(slot, after, Packet::Sizes);
        }
    }

    pub fn subscribe(&mut self, slot: usize, topics: BTreeSet<Arc<str>>) {
        self.topics[slot].clone_from(&topics);
        if let Some(process) = &mut self.places[slot].process {
            process.machine.subscribe(topics);
            process.wake = self.now;
        }
    }

    /// A member of another kind joins and is never heard of again; perhaps it claims what it doesn't have.
    pub fn ghost(&mut self, claims: bool, joins: bool) {
        let mut subscription =
            Subscription { topics: self.sizes.keys().cloned().collect(), ..Default::default() };
        if claims && self.plan.assignors[0].is_cooperative() {
            subscription.generation = Some(self.coordinator.generation() - 2);
            subscription.owned = vec![Partition::new(topic(0), 0)];
        }
        let request = |member_id: String| JoinRequest {
            member_id,
            instance_id: None,
            session: SESSION,
            rebalance: self.plan.rebalance,
            protocols: self.plan.assignors.iter().map(|a| (*a, subscription.clone())).collect(),
        };
        let (first, second) = (request(String::new()), request(String::new()));
        self.tokens += 1;
        let token = self.tokens;
        self.coordinator.join(token, first, self.now);
        let mine = self.coordinator.replies.iter().find(|(to, _)| *to == token).cloned();
        if let (true, Some((_, Answer::Refused { member_id, .. }))) = (joins, mine)
            && !member_id.is_empty()
        {
            self.coordinator.join(NOBODY, JoinRequest { member_id, ..second }, self.now);
        }
        self.deliver_replies();
    }

    /// Commits something of what a process holds, if it still may.
    pub fn commit(&mut self, slot: usize, which: usize) {
        let Some(process) = self.process(slot) else { return };
        let lives = process.machine.lease_until().is_some_and(|end| end > self.clock(slot));
        let held: Vec<&Partition> = process.held.keys().collect();
        if held.is_empty() || !lives || self.places[slot].paused_until > self.now {
            return;
        }
        let partition = held[which % held.len()].clone();
        let stamp = process.machine.stamp().expect("what is held has a stamp");
        assert!(process.machine.may_commit(&partition));
        self.places[slot].process.as_mut().unwrap().commits += 1;
        let after = self.chance(300);
        self.post(slot, after, Packet::Commit { stamp, partition });
    }

    pub fn post(&mut self, slot: usize, after: u64, packet: Packet) {
        let incarnation = self.places[slot].incarnation;
        self.posts.push(Post { at: self.now + after, slot, incarnation, packet });
    }

    /// All is well from now on.
    pub fn heal(&mut self) {
        self.end_dawdling();
        for place in &mut self.places {
            place.sleep = place.sleep.map(|(since, _)| (since, self.now));
            (place.cut_until, place.paused_until, place.slow_release) = (0, 0, None);
            (place.lost_requests, place.lost_answers, place.lateness) = (0, 0, 0);
            if let Some(process) = &mut place.process {
                process.wake = process.wake.min(self.now + 1);
            }
        }
        // Metadata is looked at now and then.
        for slot in 0..self.places.len() {
            self.post(slot, 1_000, Packet::Sizes);
        }
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut at_once = 0;
        loop {
            let wakes = self.places.iter().filter_map(|place| {
                let process = place.process.as_ref().filter(|process| !process.over)?;
                Some(process.wake.max(place.paused_until))
            });
            let sleeps = self.places.iter().filter_map(|place| Some(place.sleep?.1));
            let posts = self.posts.iter().map(|post| post.at).chain(sleeps);
            let slow = self.slow.as_ref().map(Slow::next);
            let next =
                wakes.chain(posts).chain(slow).chain(self.coordinator.next_timer()).min().unwrap_or(end);
            if next > end {
                break;
            }
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < EVENTS_AT_ONCE, "spins at {} ms", self.now);
            self.now = self.now.max(next);
            self.happen();
            self.assert_exclusive();
            if next >= end && at_once > 0 && self.posts.iter().all(|post| post.at > end) && self.is_idle(end)
            {
                break;
            }
        }
        self.now = end;
        self.assert_exclusive();
    }

    fn is_idle(&self, end: u64) -> bool {
        let awake = |place: &Place| {
            place.process.as_ref().is_some_and(|p| !p.over && p.wake.max(place.paused_until) <= end)
        };
        let dawdles = self.slow.as_ref().is_some_and(|slow| slow.next() <= end);
        !dawdles
            && !self.places.iter().any(awake)
            && self.coordinator.next_timer().is_none_or(|timer| timer > end)
    }

    fn happen(&mut self) {
        self.coordinator.tick(self.now);
        self.deliver_replies();
        self.wake_all();
        while let Some(due) = self.posts.iter().position(|post| post.at <= self.now) {
            let post = self.posts.remove(due);
            self.arrive(post);
            self.deliver_replies();
        }
        self.drive_slow();
        for slot in 0..self.places.len() {
            self.drive(slot);
        }
    }

    /// Lets a process do what it has to do by now.
    fn drive(&mut self, slot: usize) {
        let place = &self.places[slot];
        if place.paused_until > self.now || place.process.as_ref().is_none_or(|p| p.over || p.wake > self.now)
        {
            return;
        }
        let (now, behind) = (self.clock(slot), self.places[slot].behind);
        for _ in 0..100 {
            let Some(process) = &mut self.places[slot].process else { return };
            let step = process.machine.poll(now);
            self.hear(slot);
            let Some(process) = &mut self.places[slot].process else { return };
            match step {
                Step::Ask(ask) => {
                    assert!(ask.deadline > now);
                    self.send(slot, ask.id, ask.request);
                }
                Step::AskInParallel(ask) => {
                    assert!(ask.deadline > now);
                    self.send_beside(slot, ask.id, ask.request);
                }
                Step::Wait(until) => {
                    assert!(until > now, "waits for what is past");
                    let lives = process.machine.lease_until().is_some_and(|end| end > now);
                    // One that doubts its lease has to clear that up within a session.
                    let patience = Duration::from_millis(SESSION);
                    let doubts = process.machine.lease_until().is_none() && until <= now + patience;
                    assert!(
                        lives || doubts || process.held.is_empty(),
                        "no lease: {:?} {:?} {:?}",
                        process.held,
                        process.machine.lease_until().map(|l| l.duration_since(self.base)),
                        (until - self.base, now - self.base)
                    );
                    // The clock is a bit late, as clocks are.
                    let ms = until.duration_since(self.base).as_micros().div_ceil(1_000);
                    process.wake = u64::try_from(ms).unwrap() + behind;
                    return;
                }
                Step::Over => {
                    assert!(process.held.is_empty(), "ended while holding {:?}", process.held);
                    process.over = true;
                    return;
                }
            }
        }
        panic!("asks without end at {} ms", self.now);
    }

    /// The consumer hears what happened.
    pub fn hear(&mut self, slot: usize) {
        let incarnation = self.places[slot].incarnation;
        loop {
            let process = self.places[slot].process.as_mut().unwrap();
            let Some(event) = process.machine.next_event() else { break };
            self.marks += 1;
            let mark = self.marks;
            match event {
                Event::Assigned { added, .. } => {
                    for partition in added {
                        let before = process.held.insert(partition.clone(), (mark, false));
                        assert_eq!(before, None, "{partition} was given twice");
                        self.givings.insert(partition, (slot, incarnation));
                    }
                }
                Event::Revoked(partitions) => {
                    for partition in &partitions {
                        let held = process.held.get_mut(partition).expect("revoked what wasn't held");
                        assert!(!held.1, "{partition} was revoked twice");
                        *held = (mark, true);
                    }
                    let partitions = partitions.into_iter().map(|partition| (partition, mark)).collect();
                    let after = match self.places[slot].slow_release {
                        Some(ms) => ms,
                        None => self.chance(400),
                    };
                    self.post(slot, after, Packet::Release { partitions });
                }
                Event::Lost(partitions) => {
                    self.lost += 1;
                    for partition in partitions {
                        assert!(process.held.remove(&partition).is_some(), "{partition} lost, but not held");
                    }
                }
                Event::NeedSizes(topics) => {
                    assert!(!topics.is_empty());
                    let after = self.chance(800);
                    self.post(slot, after, Packet::Sizes);
                }
                Event::Notice(notice) => assert!(notice.text.ends_with('.'), "{}", notice.text),
                Event::Fatal(error) => process.fatal = Some(error),
            }
        }
        let process = self.places[slot].process.as_ref().unwrap();
        assert!(
            process.machine.held().eq(process.held.keys()),
            "machine and consumer differ in what is held"
        );
    }
}
