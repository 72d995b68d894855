//! The dispatcher under random schedules: answers, delays, revocations, losses, kills and restarts from what was
//! committed, held against a model that remembers everything.

use proptest::prelude::*;
use sluicegate::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::adaptive_limit::ConcurrencyBounds;
use sluicegate::relay::dispatcher::{Dispatcher, Next, Outcome, Ticket};
use sluicegate::relay::event::Change;
use sluicegate::relay::offset_runs;
use sluicegate::relay::percent::Percent;
use sluicegate::relay::rate::Rate;
use sluicegate::relay::retry_budget::{FLOOR_A_SECOND, SPAN};
use sluicegate::relay::settings::{Intake, OnRejection, Order, RelaySettings};
use sluicegate::relay::source::Assigned;
use sluicegate::relay::transport::{Answer, SendError, SendErrorKind, Target};
use sluicegate::timing::backoff::Backoff;
use sluicegate::timing::jitter::Jitter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant, SystemTime};

const PARTITIONS: i32 = 3;
const KEYS: u8 = 4;
/// What is under way at the end must be finished within so many more steps, else something is stuck.
const STEPS_TO_FINISH: usize = 20_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A worker asks for a record.
    Send,
    /// The nth request in flight is answered so.
    Answer(usize, Reply),
    /// Time passes.
    Pass(u16),
    /// The dead letters take what is condemned.
    Settle,
    Commit,
    Revoke(i32),
    Lose(i32),
    /// kill -9, and a new process from what was committed.
    Kill,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    RetryAfter(u16, u8),
    NoAnswer(SendErrorKind),
}

fn reply() -> impl Strategy<Value = Reply> {
    use SendErrorKind::{Broken, Connect, Timeout};
    prop_oneof![
        6 => Just(Reply::Status(200)),
        2 => prop::sample::select(vec![500, 408, 429, 503, 404, 301, 422, 400]).prop_map(Reply::Status),
        1 => (prop::sample::select(vec![429, 503, 500]), any::<u8>()).prop_map(|(s, t)| Reply::RetryAfter(s, t)),
        1 => prop::sample::select(vec![Broken, Connect, Timeout]).prop_map(Reply::NoAnswer),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => Just(Step::Send),
        10 => (0..8_usize, reply()).prop_map(|(n, reply)| Step::Answer(n, reply)),
        3 => (0..2_000_u16).prop_map(Step::Pass),
        2 => Just(Step::Settle),
        2 => Just(Step::Commit),
        1 => (0..PARTITIONS).prop_map(Step::Revoke),
        1 => (0..PARTITIONS).prop_map(Step::Lose),
        1 => Just(Step::Kill),
    ]
}

fn settings(
    (intake, order): (Intake, Order),
    concurrency: usize,
    size: usize,
    max_attempts: Option<u32>,
) -> RelaySettings {
    RelaySettings {
        max_concurrency: NonZeroUsize::new(concurrency).unwrap(),
        intake,
        batch_size: NonZeroUsize::new(size).unwrap(),
        window_size: NonZeroUsize::new(size).unwrap(),
        order,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)).unwrap(),
        max_attempts: max_attempts.and_then(NonZeroU32::new),
        on_rejection: OnRejection::DeadLetter,
        ..RelaySettings::default()
    }
}

/// The topic, what is committed, and what the destination and the dead letters have: what outlives a process.
struct World {
    settings: RelaySettings,
    logs: BTreeMap<i32, Vec<i64>>,
    committed: BTreeMap<i32, Checkpoint>,
    /// What a commit ever said to be done, with its metadata: it is never sent again.
    never_again: BTreeSet<(i32, i64)>,
    accepted: BTreeSet<(i32, i64)>,
    letters: BTreeSet<(i32, i64)>,
    seed: u64,
    process: Process,
    now: Instant,
}

/// What a kill takes away.
struct Process {
    dispatcher: Dispatcher,
    /// A batch is under way.
    closed: bool,
    fetched: BTreeMap<i32, i64>,
    in_flight: Vec<Ticket<()>>,
    /// Retry at the earliest, by record.
    not_before: HashMap<(i32, i64), Instant>,
    closed_until: Option<Instant>,
    revoked: BTreeSet<i32>,
    /// When it sent something, and whether that was a retry of a record that did not probe.
    sent: Vec<(Instant, bool)>,
    /// What this process saw done of the partitions that it still has.
    done: BTreeSet<(i32, i64)>,
}

fn partition(number: i32) -> Partition {
    Partition::new("t", number)
}

fn place(record: &Record) -> (i32, i64) {
    (record.partition().number(), record.offset().0)
}

fn key_of(offset: i64) -> Option<[u8; 1]> {
    // Some records have no key.
    (offset % 5 != 4).then_some([(offset % i64::from(KEYS)) as u8])
}

impl World {
    fn new(settings: RelaySettings, logs: BTreeMap<i32, Vec<i64>>, seed: u64) -> Self {
        let now = Instant::now();
        let start =
            |number: &i32| (*number, Position { partition: partition(*number), next: Offset(0) }.into());
        let committed = logs.keys().map(start).collect();
        let process = Process::new(&settings, &committed, seed);
        let (never_again, accepted, letters) = Default::default();
        Self { settings, logs, committed, never_again, accepted, letters, seed, process, now }
    }

    fn is_done(&self, place: &(i32, i64)) -> bool {
        self.accepted.contains(place) || self.letters.contains(place)
    }

    fn fill(&mut self) {
        let sliding = self.settings.intake == Intake::Sliding;
        let dispatcher = &mut self.process.dispatcher;
        if !sliding && self.process.closed && !dispatcher.is_idle() {
            return;
        }
        dispatcher.open();
        dispatcher.has_due(self.now);
        let held = dispatcher.full();
        dispatcher.throttle(&held);
        let mut want = dispatcher.room().records;
        for (number, log) in &self.logs {
            if self.process.revoked.contains(number) || held.contains(&partition(*number)) {
                continue;
            }
            let fetched = self.process.fetched.get_mut(number).unwrap();
            let next: Vec<i64> =
                log.iter().copied().filter(|offset| *offset >= *fetched).take(want).collect();
            for offset in next {
                let key = key_of(offset);
                let key = key.as_ref().map(<[u8; 1]>::as_slice);
                let record = Record::new(partition(*number), Offset(offset), 0, key, Some(b"v"));
                dispatcher.admit(record, Target::ONLY, self.now);
                *fetched = offset + 1;
                want -= 1;
            }
        }
        if !sliding {
            dispatcher.close();
            self.process.closed = true;
        }
        let bound = self.settings.window_size.get();
        for (at, watermark) in dispatcher.watermarks() {
            let (log, fetched) = (&self.logs[&at.number()], self.process.fetched[&at.number()]);
            let ahead = log.iter().filter(|offset| **offset >= watermark.0 && **offset < fetched).count();
            assert!(ahead <= bound, "{ahead} records of {at} are in a window of {bound}");
        }
    }

    fn send(&mut self) {
        if self.process.in_flight.len() >= self.process.dispatcher.limit() {
            return;
        }
        self.fill();
        let Next::Send(ticket) = self.process.dispatcher.next((), self.now, SystemTime::UNIX_EPOCH) else {
            return;
        };
        let at = place(ticket.record());
        assert!(!self.never_again.contains(&at), "sent {at:?}, which a commit said to be done");
        assert!(!self.process.revoked.contains(&at.0), "sent {at:?} of a partition that was given up");
        assert!(self.process.not_before.get(&at).is_none_or(|t| *t <= self.now), "sent {at:?} too early");
        if let Some(until) = self.process.closed_until {
            assert!(ticket.is_probe() && until <= self.now, "sent {at:?} through a closed gate");
        }
        assert!(!ticket.is_probe() || self.process.in_flight.iter().all(|other| !other.is_probe()));
        self.assert_order(&ticket);
        self.process.sent.push((self.now, ticket.attempt().number > 1 && !ticket.is_probe()));
        self.assert_rate();
        self.assert_budget();
        self.process.in_flight.push(ticket);
        assert!(self.process.in_flight.len() <= self.settings.max_concurrency.get());
        assert_eq!(self.process.in_flight.len(), self.process.dispatcher.in_flight());
        self.process.dispatcher.check();
    }

    fn assert_rate(&self) {
        let Some(rate) = self.settings.max_rate else { return };
        for (count, (from, _)) in self.process.sent.iter().rev().take(100).enumerate() {
            let earned = (self.now - *from).as_nanos() / rate.interval().as_nanos();
            assert!((count as u128) < u128::from(rate.burst()) + earned, "{} were sent too fast", count + 1);
        }
    }

    fn assert_budget(&self) {
        let (Some(share), Some((_, true))) = (self.settings.retry_budget, self.process.sent.last()) else {
            return;
        };
        let within = |span: Duration, retry: bool| {
            self.process.sent.iter().filter(|(at, is)| *is == retry && self.now - *at < span).count() as u64
        };
        let (others, retries) = (within(SPAN, false), within(SPAN - Duration::from_secs(1), true));
        let beyond_the_floor = retries.saturating_sub(FLOOR_A_SECOND * SPAN.as_secs());
        assert!(
            !share.is_exceeded_by(beyond_the_floor, others + beyond_the_floor),
            "{retries} beside {others}"
        );
    }

    fn assert_order(&self, ticket: &Ticket<()>) {
        let (number, offset) = place(ticket.record());
        let key = key_of(offset);
        let same_lane = |other: i64| match self.settings.order {
            Order::None => false,
            Order::Partition => true,
            Order::Key => key.is_some() && key_of(other) == key,
        };
        for other in self.logs[&number].iter().filter(|other| **other < offset && same_lane(**other)) {
            assert!(self.is_done(&(number, *other)), "{offset} went before {other} of its lane was done");
        }
    }

    fn answer(&mut self, which: usize, reply: Reply) {
        if self.process.in_flight.is_empty() {
            return;
        }
        let in_flight = self.process.in_flight.len();
        let ticket = self.process.in_flight.swap_remove(which % self.process.in_flight.len());
        let at = place(ticket.record());
        let retry_after =
            if let Reply::RetryAfter(_, s) = reply { Some(Duration::from_secs(s.into())) } else { None };
        let outcome = match reply {
            Reply::Status(status) | Reply::RetryAfter(status, _) => {
                Ok(Answer { status, retry_after, excerpt: String::new() })
            }
            Reply::NoAnswer(kind) => Err(SendError { kind, text: String::new() }),
        };
        if matches!(reply, Reply::Status(200)) {
            self.accepted.insert(at);
        }
        let answered =
            self.process.dispatcher.answered(ticket, &outcome, in_flight, self.now, SystemTime::UNIX_EPOCH);
        if answered.outcome == Outcome::Delivered {
            self.process.done.insert(at);
        }
        if let Outcome::Retrying(delay) = answered.outcome {
            assert!(retry_after.is_none_or(|wish| delay >= wish.min(self.settings.max_retry_after)));
            self.process.not_before.insert(at, self.now + delay);
        }
        while let Some(change) = self.process.dispatcher.take_change() {
            match change {
                Change::Paused { delay, .. } => self.process.closed_until = Some(self.now + delay),
                Change::Reopened { .. } => self.process.closed_until = None,
                _ => {}
            }
        }
        self.process.dispatcher.check();
    }

    fn settle(&mut self) {
        let letters = self.process.dispatcher.take_dead_letters();
        for one in &letters {
            self.letters.insert(place(&one.letter.record));
            self.process.done.insert(place(&one.letter.record));
        }
        self.process.dispatcher.kept(&letters);
    }

    fn commit(&mut self) {
        let checkpoints = self.process.dispatcher.uncommitted();
        for checkpoint in &checkpoints {
            let number = checkpoint.position.partition.number();
            let before = self.committed.insert(number, checkpoint.clone()).unwrap();
            assert!(checkpoint.position.next >= before.position.next && *checkpoint != before, "nothing new");
            for offset in self.said_done(number) {
                let is_done = self.is_done(&(number, offset));
                assert!(is_done, "committed {offset} of {number}, which is not done");
                self.never_again.insert((number, offset));
            }
        }
        self.process.dispatcher.committed(&checkpoints, self.now);
        let held: Vec<i32> = self.process.dispatcher.watermarks().map(|(p, _)| p.number()).collect();
        for number in held {
            let said: BTreeSet<i64> = self.said_done(number).into_iter().collect();
            let mut done = self.process.done.range((number, 0)..(number + 1, 0));
            let forgotten = done.find(|(_, offset)| !said.contains(offset));
            assert_eq!(forgotten, None, "a kill would send more again than what was in flight");
        }
    }

    /// What the last commit says to be done: all of it is in the log, but for holes before the position.
    fn said_done(&self, number: i32) -> Vec<i64> {
        let Checkpoint { position: Position { next, .. }, metadata, .. } = &self.committed[&number];
        let log = &self.logs[&number];
        let beyond: Vec<i64> = offset_runs::decode(*next, metadata).into_iter().flatten().collect();
        assert!(beyond.iter().all(|offset| log.contains(offset)), "{beyond:?} are not all there");
        log.iter().copied().filter(|offset| *offset < next.0).chain(beyond).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send => self.send(),
            Step::Answer(which, reply) => self.answer(which, reply),
            Step::Pass(ms) => self.now += Duration::from_millis(ms.into()),
            Step::Settle => self.settle(),
            Step::Commit => self.commit(),
            Step::Revoke(number) => self.revoke(number),
            Step::Lose(number) => self.lose(number),
            Step::Kill => {
                self.seed = self.seed.wrapping_add(1);
                self.process = Process::new(&self.settings, &self.committed, self.seed);
            }
        }
    }

    /// The partition is given up in good order, and comes back later.
    fn revoke(&mut self, number: i32) {
        self.process.dispatcher.revoke(&partition(number));
        self.process.revoked.insert(number);
    }

    fn lose(&mut self, number: i32) {
        self.process.dispatcher.lose(&partition(number));
        self.process.done.retain(|(of, _)| *of != number);
        self.process.revoked.insert(number);
        let of_it =
            self.process.dispatcher.uncommitted().iter().any(|p| p.position.partition.number() == number);
        assert!(!of_it, "a lost partition would be committed");
    }

    /// Releases what is idle, and gives every partition back that this process does not have.
    fn return_partitions(&mut self) {
        self.commit();
        for released in self.process.dispatcher.releasable() {
            assert!(self.process.in_flight.iter().all(|t| t.record().partition() != &released));
            self.process.dispatcher.lose(&released);
        }
        let held: BTreeSet<i32> = self.process.dispatcher.watermarks().map(|(p, _)| p.number()).collect();
        let gone: Vec<i32> = self.process.revoked.difference(&held).copied().collect();
        for number in gone {
            self.process.revoked.remove(&number);
            // Who gets a partition knows nothing of the waits of its former owner.
            self.process.not_before.retain(|(of, _), _| *of != number);
            self.process.done.retain(|(of, _)| *of != number);
            let committed = &self.committed[&number];
            self.process.fetched.insert(number, committed.position.next.0);
            self.process.dispatcher.assign(&assigned(committed), self.now);
        }
    }

    /// The destination accepts everything from now on: all must be done and committed.
    fn finish(&mut self) {
        for _ in 0..STEPS_TO_FINISH {
            self.send();
            self.answer(0, Reply::Status(200));
            self.settle();
            self.commit();
            self.return_partitions();
            self.now += Duration::from_millis(1_000);
            let all_committed = self.logs.iter().all(|(number, log)| {
                log.last().is_none_or(|last| self.committed[number].position.next.0 == last + 1)
            });
            if all_committed {
                return;
            }
        }
        panic!("not everything was finished: {:?} of {:?}", self.committed, self.logs);
    }
}

fn assigned(checkpoint: &Checkpoint) -> Assigned {
    Assigned { checkpoint: checkpoint.clone(), uncommitted: false }
}

impl Process {
    fn new(settings: &RelaySettings, committed: &BTreeMap<i32, Checkpoint>, seed: u64) -> Self {
        let mut dispatcher = Dispatcher::new(settings.clone(), Jitter::seeded(seed));
        committed.values().for_each(|checkpoint| dispatcher.assign(&assigned(checkpoint), Instant::now()));
        let fetched = committed.iter().map(|(number, c)| (*number, c.position.next.0)).collect();
        Self {
            dispatcher,
            closed: false,
            fetched,
            in_flight: Vec::new(),
            not_before: HashMap::new(),
            closed_until: None,
            revoked: BTreeSet::new(),
            sent: Vec::new(),
            done: BTreeSet::new(),
        }
    }
}

/// So slow that it is felt, or so fast that a few go at once.
fn rate() -> impl Strategy<Value = Rate> {
    let rate = |(count, seconds): (u32, _)| {
        Rate::new(count.try_into().unwrap(), Duration::from_secs(seconds)).unwrap()
    };
    prop_oneof![(20..60_u32, Just(60)), (1..60_u32, Just(1))].prop_map(rate)
}

/// Ascending offsets with holes.
fn log() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(1..4_i64, 0..25).prop_map(|gaps| {
        let mut next = 0;
        let step = |gap: i64| {
            next += gap;
            next
        };
        gaps.into_iter().map(step).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_sent_too_early_or_committed_too_far(
        logs in prop::collection::vec(log(), PARTITIONS as usize),
        intake in prop::sample::select(vec![Intake::Batch, Intake::Sliding]),
        order in prop::sample::select(vec![Order::None, Order::Partition, Order::Key]),
        rate in prop::option::of(rate()),
        percent in prop::option::of(1..100_u8),
        auto in any::<bool>(),
        concurrency in 1..6_usize,
        size in 1..20_usize,
        max_attempts in prop::option::of(1..4_u32),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let logs = (0..PARTITIONS).zip(logs).collect();
        let settings = RelaySettings {
            max_rate: rate,
            auto_concurrency: ConcurrencyBounds::new(NonZeroUsize::MIN, concurrency.try_into().unwrap()).filter(|_| auto),
            retry_budget: percent.and_then(Percent::new),
            ..settings((intake, order), concurrency, size, max_attempts)
        };
        let mut world = World::new(settings, logs, seed);
        for step in steps {
            world.step(step);
        }
        world.finish();
        for (number, log) in &world.logs {
            for offset in log {
                prop_assert!(world.is_done(&(*number, *offset)), "{offset} of {number} was lost");
            }
        }
    }
}
