//! The simulator: one thread, virtual time. Takes the steps of the loop as the shell does, lets workers and helpers
//! act in any order that threads might, and lets the world go wrong as planned.

use crate::cluster::Cluster;
use crate::consumer::Consumer;
use crate::dice::Dice;
use crate::group::{Group, OURS};
use crate::log::number;
use crate::network::Pending;
use crate::plan::Plan;
use crate::process::{Loop, Process};
use crate::receiver::{Receiver, Reply};
use crate::trace::trace;
use crate::truth::Truth;
use crate::world::{Expectations, Tally};
use sluicegate::record::{Partition, Record};
use sluicegate::relay::control::{Control, Report, Step, TICK};
use sluicegate::relay::event::Change;
use sluicegate::relay::source::{Outage, PollLimit, Polled};
use sluicegate::relay::transport::Target;
use sluicegate::timing::jitter::Jitter;
use sluicegate::timing::lease::Lease;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant, SystemTime};

/// So much may happen at one instant; more is a loop that makes no progress.
const MOST_AT_ONCE: usize = 5_000;
/// So many turns and looks in a second in which nothing else happens are a loop that spins.
const MOST_IN_AN_IDLE_SECOND: usize = 1_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Loop(u64),
    Worker(usize, u64),
    Answer(u64),
    CallArrives(u64),
    CallAnswered(u64),
    CallFails(u64),
    ConsumerLooks(u64),
    CommitArrives(u64),
    CommitAnswered(u64),
    LettersPut(u64),
    Act(usize),
    Post(u64),
    MemberWakes(usize, u64),
    GroupTimer(u64),
    Start,
    Second,
}

/// A request in flight, whether or not its process is still there.
pub struct Request {
    pub worker: usize,
    pub process: u64,
    pub record: Record,
    pub assignment: u64,
    pub reply: Reply,
}

pub struct Sim {
    pub plan: Plan,
    pub dice: Dice,
    /// What the relay's clock counts from; a day may pass on it in a moment.
    pub base: Instant,
    /// What all others' clocks count from.
    pub start: Instant,
    pub now: Duration,
    pub wall_back: Duration,
    pub events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    pub next_token: u64,
    pub cluster: Cluster,
    pub consumer: Consumer,
    pub group: Group,
    /// What was asked of brokers.
    pub calls: BTreeMap<u64, Pending>,
    pub lease: Lease,
    pub receiver: Receiver,
    pub requests: BTreeMap<u64, Request>,
    pub process: Option<Process>,
    pub number: u64,
    pub truth: Truth,
    pub tally: Tally,
    pub expectations: Expectations,
    pub granted: usize,
    pub at_once: (Duration, usize),
    pub idle_turns: usize,
    pub busy: usize,
    /// When a day passed in a moment.
    pub day_passed: Option<Duration>,
    /// The run is through, or ended with what it may end with.
    pub is_over: bool,
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let plan = Plan::draw(&mut dice);
        let (topics, has_ids) = (plan.brokers.topics, plan.brokers.has_ids);
        let cluster = Cluster::new(plan.partitions, topics, has_ids, &mut dice);
        let start = Instant::now();
        let receiver = Receiver::new(plan.faults.clone(), plan.latency, plan.request_timeout);
        let expectations = Expectations::of(&plan);
        trace!(Duration::ZERO, "{plan:#?}");
        let mut sim = Self {
            dice,
            base: start,
            start,
            now: Duration::ZERO,
            wall_back: Duration::ZERO,
            events: BinaryHeap::new(),
            next_token: 1,
            cluster,
            consumer: Consumer::default(),
            group: Group::new(plan.group.initial_delay, plan.group.beats_while_completing),
            calls: BTreeMap::new(),
            lease: Lease::unlimited(),
            receiver,
            requests: BTreeMap::new(),
            process: None,
            number: 0,
            truth: Truth::default(),
            tally: Tally::default(),
            expectations,
            granted: usize::MAX,
            at_once: (Duration::ZERO, 0),
            idle_turns: 0,
            busy: 0,
            day_passed: None,
            is_over: false,
            plan,
        };
        for (at, (time, _)) in sim.plan.acts.clone().into_iter().enumerate() {
            sim.push(time, Event::Act(at));
        }
        sim.push(Duration::ZERO, Event::Start);
        sim.push(Duration::from_secs(1), Event::Second);
        sim
    }

    pub fn run(&mut self) {
        while !self.is_over {
            let Some(Reverse((time, _, event))) = self.events.pop() else { break };
            debug_assert!(time >= self.now, "time goes on");
            self.now = time;
            self.at_once = if self.at_once.0 == time { (time, self.at_once.1 + 1) } else { (time, 0) };
            assert!(self.at_once.1 < MOST_AT_ONCE, "no end of steps at one instant, {time:?}");
            self.happens(event);
        }
    }

    pub fn happens(&mut self, event: Event) {
        // That brokers are asked for records time and again gives the loop nothing to do.
        let is_idle = matches!(
            event,
            Event::Loop(_)
                | Event::Worker(..)
                | Event::Second
                | Event::CallArrives(_)
                | Event::CallAnswered(_)
                | Event::CallFails(_)
                | Event::ConsumerLooks(_)
                | Event::Post(_)
                | Event::MemberWakes(..)
                | Event::GroupTimer(_)
        );
        self.busy += usize::from(!is_idle);
        match event {
            Event::Loop(token) => self.loop_runs(token),
            Event::Worker(number, token) => self.worker_runs(number, token),
            Event::Answer(request) => self.answer(request),
            Event::CallArrives(token) => self.call_arrives(token),
            Event::CallAnswered(token) => self.call_answered(token),
            Event::CallFails(token) => self.call_fails(token),
            Event::ConsumerLooks(token) => self.looks_again(token),
            Event::CommitArrives(token) => self.commit_arrives(token),
            Event::CommitAnswered(token) => self.commit_answered(token),
            Event::LettersPut(token) => self.letters_put(token),
            Event::Act(at) => self.act(at),
            Event::Post(token) => self.post_arrives(token),
            Event::MemberWakes(slot, token) => self.member_wakes(slot, token),
            Event::GroupTimer(token) => self.group_timer(token),
            Event::Start => self.start(),
            Event::Second => self.second(),
        }
    }

    // ---- time ----------------------------------------------------------------------------------------------

    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    pub fn since_base(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.base)
    }

    pub fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.now - self.wall_back
    }

    pub fn push(&mut self, at: Duration, event: Event) {
        // What happens at the same instant happens in any order.
        let order = self.dice.next();
        self.events.push(Reverse((at.max(self.now), order, event)));
    }

    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub fn lag(&mut self) -> Duration {
        Duration::from_micros(self.dice.below(self.plan.lag_micros + 1) as u64)
    }

    pub fn wake_loop_at(&mut self, at: Duration) {
        let token = self.token();
        let at = at.max(self.now) + self.lag();
        if let Some(process) = &mut self.process {
            process.loop_token = token;
            self.push(at, Event::Loop(token));
        }
    }

    pub fn wake_worker_at(&mut self, number: usize, at: Duration) {
        let token = self.token();
        let at = at.max(self.now) + self.lag();
        if let Some(worker) = self.process.as_mut().and_then(|process| process.workers.get_mut(&number)) {
            worker.1 = token;
            self.push(at, Event::Worker(number, token));
        }
    }

    /// Something for the loop to look at.
    pub fn news(&mut self) {
        let Some(process) = &mut self.process else { return };
        if !std::mem::replace(&mut process.has_news, true) && matches!(process.state, Loop::Waits(_)) {
            self.wake_loop_at(self.now);
        }
    }

    /// The source has something.
    pub fn source_has_something(&mut self) {
        if self.process.as_ref().is_some_and(|process| matches!(process.state, Loop::Polls(..))) {
            self.wake_loop_at(self.now);
        }
    }

    pub fn notify_workers(&mut self, most: usize) {
        for _ in 0..most {
            let Some(process) = &mut self.process else { return };
            if process.sleepers.is_empty() {
                return;
            }
            let at = self.dice.below(process.sleepers.len());
            let number = process.sleepers.swap_remove(at);
            self.wake_worker_at(number, self.now);
        }
    }

    // ---- the process ---------------------------------------------------------------------------------------

    pub fn start(&mut self) {
        self.number += 1;
        let jitter = Jitter::seeded(self.dice.next());
        let control = Control::new(self.plan.settings.clone(), jitter, self.instant());
        self.process = Some(Process::new(control));
        self.truth = Truth::default();
        self.truth.last_accepted = self.now;
        trace!(self.now, "process {} starts", self.number);
        self.consumer = Consumer {
            buffer: self.plan.brokers.buffer,
            one_partition_a_poll: self.plan.one_partition_a_poll,
            repeats: self.plan.repeats,
            ..Consumer::default()
        };
        self.consumer_looks();
        self.wake_loop_at(self.now);
    }

    pub fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        trace!(self.now, "process {} is killed", self.number);
        let Process { commit, commit_job, .. } = process;
        if commit.is_some() && self.dice.chance(50) {
            let _ = self.store(&commit_job);
        }
        self.dies(OURS);
        self.leave();
        self.tally.kills += 1;
        let at = self.now + self.dice.millis(0, 3_000);
        self.push(at, Event::Start);
    }

    pub fn loop_runs(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.loop_token == token) else {
            return;
        };
        match process.state {
            Loop::Runs => self.turn(),
            Loop::Waits(_) => {
                (process.has_news, process.finished) = (false, 0);
                process.state = Loop::Runs;
                self.turn();
            }
            Loop::Polls(want, until) => self.poll(want, until),
            Loop::Joins => {
                let now = self.base + self.now;
                process.control.joined(now);
                (process.is_delivering, process.state) = (false, Loop::Runs);
                self.tally.batches += 1;
                self.turn();
            }
        }
    }

    /// As `Run::turn`, with `Run::deliver` around it.
    pub fn turn(&mut self) {
        self.idle_turns += 1;
        self.take_results();
        self.register_missing();
        let (now, base) = (self.instant(), self.base);
        let Some(process) = &mut self.process else { return };
        let was_draining = process.control.is_draining();
        let step = process.control.step(now, process.stop_at.is_some());
        #[cfg(debug_assertions)]
        if self.idle_turns.is_multiple_of(8) {
            process.control.dispatcher.check();
        }
        let drains = process.control.is_draining() && !was_draining;
        if drains {
            process.draining_at = Some(self.now);
            process.quiet_at_drain = self.now.saturating_sub(self.truth.last_accepted);
            self.drain();
        }
        if !matches!(
            step,
            Step::Wait(_) | Step::Poll { want: PollLimit::NOTHING, .. } | Step::Report(Report::Snapshot)
        ) {
            trace!(self.now, "loop: {step:?}");
        }
        let Some(process) = &mut self.process else { return };
        match step {
            Step::Poll { want, wait } => {
                let until = self.now + wait;
                process.state = Loop::Polls(want, until);
                return self.poll(want, until);
            }
            Step::Throttle(partitions) => {
                let does = self.plan.can_throttle;
                if does {
                    self.consumer.hold(&partitions, &self.cluster);
                }
                process.control.throttled(partitions, does);
                self.consumer_looks();
            }
            Step::Commit(checkpoints) => self.commit(checkpoints),
            Step::PutDeadLetters(letters) => self.put_letters(letters),
            Step::Release(partitions) => self.release(&partitions),
            Step::Report(report) => self.tell(&report),
            Step::Wait(until) => {
                assert!(until <= now + TICK, "a wait of more than a tick");
                let until = until.saturating_duration_since(base);
                process.state = Loop::Waits(until);
                let until = if process.has_news { self.now } else { until };
                return self.wake_loop_at(until);
            }
            Step::Deliver => process.is_delivering = true,
            Step::Join => {
                process.state = Loop::Joins;
                self.notify_workers(usize::MAX);
                return self.join_if_all_left();
            }
            Step::End => return self.end(),
        }
        self.wake_loop_at(self.now);
    }

    pub fn join_if_all_left(&mut self) {
        let is_joined = |process: &Process| process.state == Loop::Joins && process.workers.is_empty();
        if self.process.as_ref().is_some_and(is_joined) {
            self.wake_loop_at(self.now);
        }
    }

    pub fn poll(&mut self, want: PollLimit, until: Duration) {
        let queued = self.consumer.news.front().map(|(since, _)| *since);
        let polled = self.consumer.poll(want, &self.cluster);
        if matches!(polled, Some(Polled::Records(_))) {
            self.consumer_looks();
        }
        if polled.is_none() && self.now < until {
            return self.wake_loop_at(until);
        }
        if let Some(since) = queued {
            self.expectations.hears(since, self.now);
        }
        let (now, number) = (self.instant(), self.plan.targets);
        let outage = self.consumer.outage_since.map(|since| Outage { since, cause: "away".into() });
        let Some(process) = &mut self.process else { return };
        process.state = Loop::Runs;
        let control = &mut process.control;
        control.set_outage(outage);
        let mut woken = usize::MAX;
        match polled {
            None => {
                control.polled_nothing(want, now);
                woken = 0;
            }
            Some(Polled::Records(records)) => {
                woken = records.len();
                trace!(self.now, "source: {records:?}");
                self.truth.handed(&records, &self.cluster);
                let with_target = records.into_iter().map(|record| {
                    let target = target(&record, number);
                    (record, target)
                });
                control.records(with_target, now);
                self.expectations.fits(&control.dispatcher, &self.plan, self.cluster.parts.len());
            }
            Some(Polled::End) => control.source_ended(now),
            Some(Polled::Skipped(positions)) => control.passed(&positions, now),
            Some(Polled::Assigned(assigned)) => {
                self.truth.assigned(&assigned, &self.consumer, &self.cluster, self.now);
                control.assigned(&assigned, now);
            }
            Some(Polled::Revoked(partitions)) => {
                self.truth.revoked(&partitions);
                control.revoked(&partitions, now);
            }
            Some(Polled::Lost(partitions)) => {
                self.truth.lost(&partitions);
                control.lost_by(&partitions, now);
            }
            Some(Polled::Notice(_) | Polled::Nothing) => control.noticed(now),
        }
        self.notify_workers(woken);
        self.wake_loop_at(self.now);
    }

    pub fn release(&mut self, partitions: &[Partition]) {
        let Some(process) = &mut self.process else { return };
        for partition in partitions {
            let mark = process.control.dispatcher.watermarks().find(|(name, _)| *name == partition);
            self.truth.releases(partition, mark.map(|(_, mark)| mark.0), &self.cluster, &self.consumer);
        }
        process.control.released(partitions);
        let is_its = |partition: &&Partition| self.consumer.release(self.cluster.at(partition));
        let released: Vec<Partition> = partitions.iter().filter(is_its).cloned().collect();
        self.released(OURS, &released);
    }

    pub fn tell(&mut self, report: &Report) {
        if let Report::Change(change) = report {
            match change {
                Change::Suspected { partition, offset, .. } => {
                    let log = self.cluster.parts[self.cluster.at(partition)].log;
                    self.expectations.suspected.insert((log, offset.0));
                }
                Change::Dropped { record, rejection } => {
                    self.truth.is_fair(record, rejection.attempts, &self.plan);
                    self.rejected(&record.clone());
                }
                _ => {}
            }
        }
    }

    pub fn rejected(&mut self, record: &Record) {
        self.cluster.logs.done(number(record), self.now);
        self.tally.refused += 1;
        self.expectations.rejected(record, &self.cluster.logs.entries[number(record)], self.now);
    }

    pub fn drain(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.is_closed = true;
        let queue = std::mem::take(&mut process.queue);
        for number in queue {
            self.wake_worker_at(number, self.now);
        }
        self.notify_workers(usize::MAX);
    }

    pub fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let failure = process.control.take_failure();
        trace!(self.now, "process {} ends: {failure:?}", self.number);
        assert!(process.workers.is_empty(), "it ends with workers running");
        self.is_over = self.ended(&mut process, failure.as_ref());
        self.closes();
        self.leave();
        if !self.is_over {
            let at = self.now + self.dice.millis(0, 2_000);
            self.push(at, Event::Start);
        }
    }

    pub fn second(&mut self) {
        if self.busy == 0 {
            assert!(self.idle_turns < MOST_IN_AN_IDLE_SECOND, "{} turns in an idle second", self.idle_turns);
        }
        (self.busy, self.idle_turns) = (0, 0);
        self.ends_in_time();
        self.is_over |= self.is_settled();
        self.push(self.now + Duration::from_secs(1), Event::Second);
    }
}

/// Where a record goes: by its key.
pub fn target(record: &Record, targets: u64) -> Target {
    match targets {
        0 => Target::ONLY,
        targets => Target(1 + record.key().map_or(0, |key| u64::from(key[0])) % targets),
    }
}
