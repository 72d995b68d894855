//! What one schedule is made of, drawn from its seed: settings, records, and what goes wrong until the world is calm.

use crate::brokers::{Brokers, Membership};
use crate::dice::Dice;
use crate::known;
use crate::receiver::{Fault, Kind, Reply};
use sluicegate::relay::adaptive_limit::ConcurrencyBounds;
use sluicegate::relay::percent::Percent;
use sluicegate::relay::rate::Rate;
use sluicegate::relay::rejection_limit::{RejectionBound, RejectionLimit};
use sluicegate::relay::settings::{Intake, OnRejection, Order, RelaySettings};
use sluicegate::timing::backoff::Backoff;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// What is expected of a schedule beside the invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Anything goes wrong.
    Chaos,
    /// The destination turns everybody away alike, and nothing else is wrong: no record may pay for it.
    Alike,
    /// One record is always turned away: it ends in the dead letters while others flow.
    Poison,
    /// One partition or one target never works: the others flow.
    Fair,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub enum Act {
    Append {
        partition: usize,
        records: usize,
    },
    /// Another member joins the group, dies, or leaves.
    Joins(usize),
    Dies(usize),
    Parts(usize),
    /// Another broker coordinates the group, and loads it for so many milliseconds.
    MoveCoordinator(u64),
    /// The coordinator is not heard for a time.
    CutOff(Duration),
    /// Another leader; after an unclean election it lacks the end of the log.
    Elect {
        partition: usize,
        is_unclean: bool,
    },
    Leaderless(usize),
    /// The first records are deleted.
    Retention(usize),
    /// The cluster is restored from a backup: the epochs of the leaders go back, and the log, too.
    Restore(usize),
    /// The topic is deleted and made anew: other logs of the same name.
    Recreate(usize),
    /// The topic gets one more partition.
    Grow(usize),
    /// A broker answers nothing for a time.
    Hang {
        broker: usize,
        time: Duration,
    },
    Stop,
    Kill,
    /// The group grants this many permits.
    Grant(usize),
    /// No broker answers, or they do again.
    Outage(bool),
    /// The lease ends, or is renewed.
    Lease(bool),
    /// The wall clock jumps back by an hour.
    WallJumps,
}

/// How commits and letters fare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jobs {
    /// Percent that fail and may work later.
    pub retriable: usize,
    /// Percent that hang, and for how long at most in milliseconds.
    pub hangs: usize,
    pub hang_millis: usize,
    /// Of a thousand that fail for good.
    pub fatal: usize,
    /// All fail until the world is calm.
    pub always: bool,
}

#[derive(Debug)]
pub struct Plan {
    pub profile: Profile,
    pub settings: RelaySettings,
    pub brokers: Brokers,
    pub group: Membership,
    pub partitions: usize,
    pub keys: usize,
    /// Targets in the URL; 0: none.
    pub targets: u64,
    pub until_end: bool,
    pub can_throttle: bool,
    pub one_partition_a_poll: bool,
    pub request_timeout: Duration,
    pub latency: (usize, usize),
    /// How late a thread may wake up, in microseconds.
    pub lag_micros: usize,
    /// From here on nothing fails but what never works.
    pub calm_at: Duration,
    pub faults: Vec<Fault>,
    pub acts: Vec<(Duration, Act)>,
    pub commits: Jobs,
    pub letters: Jobs,
    /// The replies of records that are never accepted, and of how many records in a thousand.
    pub poison: Option<(Reply, usize)>,
    pub largest: usize,
    pub holes: bool,
    pub release_millis: usize,
    pub most_records: usize,
    /// Tombstones are left out.
    pub filters: bool,
    /// The source brings records again.
    pub repeats: bool,
    /// More threads can't be started.
    pub most_threads: usize,
}

const MAX_RETRY_AFTER: [u64; 4] = [5, 30, 60, 600];

pub fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("sizes are drawn from 1 on")
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Self {
        let profile = match dice.below(10) {
            0..=4 => Profile::Chaos,
            5..=6 => Profile::Alike,
            7..=8 => Profile::Poison,
            _ => Profile::Fair,
        };
        let mut plan = Self {
            profile,
            settings: RelaySettings::default(),
            brokers: Brokers::draw(dice, profile),
            group: Membership::draw(dice),
            partitions: dice.between(1, 5),
            keys: dice.between(1, 6),
            targets: if dice.chance(30) { dice.between(2, 4) as u64 } else { 0 },
            until_end: profile == Profile::Chaos && dice.chance(25),
            can_throttle: dice.chance(80),
            one_partition_a_poll: dice.chance(50),
            request_timeout: Duration::from_millis(dice.one(&[500, 2_000, 5_000, 15_000])),
            latency: dice.one(&[(1, 2), (5, 20), (1, 200), (50, 60)]),
            lag_micros: dice.one(&[0, 0, 0, 200, 20_000]),
            calm_at: Duration::from_secs(dice.one(&[2, 5, 10, 30])),
            faults: Vec::new(),
            acts: Vec::new(),
            commits: Jobs::default(),
            letters: Jobs::default(),
            poison: None,
            largest: dice.one(&[20, 200, 4_000]),
            holes: dice.chance(30),
            release_millis: dice.one(&[500, 5_000, 30_000]),
            most_records: 0,
            filters: dice.chance(20),
            repeats: dice.chance(15),
            most_threads: if dice.chance(10) { dice.between(1, 2) } else { usize::MAX },
        };
        plan.settings = settings(dice, plan.largest);
        plan.settings.filter.skip_tombstones(plan.filters);
        if matches!(profile, Profile::Poison | Profile::Fair) && known::WITHOUT_THROTTLING_BYTES_STARVE {
            plan.can_throttle = true;
        }
        plan.appends(dice);
        match profile {
            Profile::Chaos => plan.chaos(dice),
            Profile::Alike => plan.alike(dice),
            Profile::Poison => plan.with_poison(dice),
            Profile::Fair => plan.fair(dice),
        }
        plan
    }

    fn appends(&mut self, dice: &mut Dice) {
        let bursts = dice.between(1, 6);
        for _ in 0..bursts {
            let at = dice.millis(0, self.calm_at.as_millis() as usize);
            let records = dice.one(&[1, 3, 10, 40]);
            self.append(at, dice.below(self.partitions), records);
        }
        self.append(Duration::ZERO, 0, dice.between(1, 10));
    }

    pub fn append(&mut self, at: Duration, partition: usize, records: usize) {
        self.most_records += records;
        self.acts.push((at, Act::Append { partition, records }));
    }

    pub fn when(&self, dice: &mut Dice) -> Duration {
        dice.millis(0, self.calm_at.as_millis() as usize)
    }

    fn span(&self, dice: &mut Dice) -> (Duration, Duration) {
        let (a, b) = (self.when(dice), self.when(dice));
        (a.min(b), a.max(b))
    }

    /// A target alone, or all of them.
    fn of_target(&self, dice: &mut Dice) -> Option<u64> {
        (self.targets > 0 && dice.chance(60)).then(|| 1 + dice.below(self.targets as usize) as u64)
    }

    fn chaos(&mut self, dice: &mut Dice) {
        for _ in 0..dice.below(4) {
            let (from, until) = self.span(dice);
            let (target, kind) = (self.of_target(dice), any_kind(dice));
            self.faults.push(Fault { kind, from, until: Some(until), target, partition: None });
        }
        if dice.chance(40) {
            let status = dice.one(&[422, 400, 500, 403, 404, 503, 429, 502, 301]);
            let after = dice.chance(30).then(|| Duration::from_secs(dice.one(&[1, 20, 3_600])));
            self.poison = Some((Reply::Status(status, after), dice.one(&[5, 30])));
        }
        if !self.until_end {
            self.trouble_group(dice);
        }
        self.trouble_brokers(dice);
        for (percent, act) in [(20, Act::Stop), (20, Act::Kill), (10, Act::WallJumps)] {
            if dice.chance(percent) {
                self.acts.push((self.when(dice), act));
            }
        }
        if dice.chance(20) {
            let (from, until) = self.span(dice);
            let [on, off] =
                if dice.chance(50) { [true, false].map(Act::Outage) } else { [false, true].map(Act::Lease) };
            self.acts.extend([(from, on), (until, off)]);
        }
        if dice.chance(20) {
            for _ in 0..dice.between(1, 3) {
                let granted = dice.below(self.settings.max_concurrency.get() + 2);
                self.acts.push((self.when(dice), Act::Grant(granted)));
            }
            self.acts.push((self.calm_at, Act::Grant(usize::MAX)));
        }
        if dice.chance(5) {
            let most = RejectionBound::Count(dice.below(3) as u32);
            self.settings.max_rejected = Some(RejectionLimit { most, span: Duration::from_secs(60) });
        }
        self.commits = jobs(dice);
        self.letters = jobs(dice);
    }

    /// Overload, a rate limit, a short absence: no record is to blame.
    fn alike(&mut self, dice: &mut Dice) {
        self.settings.on_rejection = OnRejection::DeadLetter;
        self.calm_at = self.calm_at.max(Duration::from_secs(10));
        self.steady(dice, 20);
        for _ in 0..dice.between(1, 2) {
            let (kind, target) = (kind_alike(dice), self.of_target(dice));
            let until = Some(self.calm_at);
            self.faults.push(Fault { kind, from: Duration::ZERO, until, target, partition: None });
        }
        let is_bucket = |fault: &Fault| matches!(fault.kind, Kind::Bucket { .. });
        if known::A_SLOW_BUCKET_CONVICTS && self.faults.iter().any(is_bucket) {
            (self.settings.max_attempts, self.settings.max_age) = (None, None);
            return;
        }
        let attempts = if known::ONE_COUNT_MAY_BE_UNFAIR { 3 } else { dice.one(&[1, 3]) };
        self.settings.max_attempts = NonZeroU32::new(attempts);
        self.settings.max_age = self.settings.max_age.filter(|_| !known::ONE_COUNT_MAY_BE_UNFAIR);
    }

    /// Records come in all partitions in turn, so that there is always another to compare with.
    fn steady(&mut self, dice: &mut Dice, seconds: usize) {
        let every = dice.one(&[100, 300, 1_000]);
        for n in 0..(seconds * 1_000 / every).min(80) {
            self.append(Duration::from_millis((n * every) as u64), n % self.partitions, 1);
        }
    }

    fn with_poison(&mut self, dice: &mut Dice) {
        let settings = &mut self.settings;
        settings.max_attempts = NonZeroU32::new(3);
        settings.on_rejection = OnRejection::DeadLetter;
        (settings.max_age, settings.max_rate, settings.retry_budget) = (None, None, None);
        settings.patience = None;
        settings.batch_interval = settings.batch_interval.min(Duration::from_millis(300));
        settings.backoff =
            Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).expect("in order");
        // A batch of few has little room beside what is carried.
        settings.batch_size = settings.batch_size.max(size(8));
        // Those behind it in its lane wait in the window.
        settings.window_size = size(1_000);
        self.keys = 6;
        if settings.order == Order::Key || known::A_PAUSE_STOPS_A_SMALL_INTAKE {
            settings.batch_bytes = size(1 << 20);
        }
        self.partitions = self.partitions.max(2);
        self.targets = 0;
        let status = dice.one(&[403, 401, 404, 301, 502, 503, 429, 500, 422, 504, 405]);
        let after = dice.chance(20).then(|| Duration::from_secs(dice.one(&[1, 5])));
        self.poison = Some((Reply::Status(status, after), 0));
        self.calm_at = Duration::from_secs(60);
        self.acts.clear();
        self.most_records = 0;
        let every = dice.one(&[200, 500, 1_000]);
        for n in 0..60_000 / every {
            self.append(Duration::from_millis((n * every) as u64), n % self.partitions, 1);
        }
    }

    fn fair(&mut self, dice: &mut Dice) {
        self.partitions = self.partitions.max(2);
        let settings = &mut self.settings;
        (settings.max_attempts, settings.max_age, settings.patience) = (None, None, None);
        (settings.max_rate, settings.retry_budget) = (None, None);
        if settings.intake == Intake::Batch {
            // The interval is the operator's wish, and a batch of few has little room beside what is carried.
            (settings.batch_interval, settings.batch_bytes) = (Duration::ZERO, size(1 << 20));
            settings.batch_size = settings.batch_size.max(size(16));
        }
        settings.order = dice.one(&[Order::None, Order::Partition]);
        if known::THE_SAME_FAILURES_PAUSE_ALL {
            settings.backoff =
                Backoff::new(Duration::from_millis(200), Duration::from_secs(1)).expect("in order");
            (settings.window_size, settings.pause_after) = (size(8), const { NonZeroU32::new(10).unwrap() });
            // Nor do retries leave workers to others.
            (settings.max_concurrency, settings.auto_concurrency, self.latency) = (size(8), None, (1, 20));
        }
        settings.batch_size = settings.batch_size.max(size(4));
        let never =
            |kind, target, partition| Fault { kind, from: Duration::ZERO, until: None, target, partition };
        let status = dice.one(&[500, 500, 501, 403, 503]);
        let kind = Kind::Random { percent: 100, reply: Reply::Status(status, None) };
        // Suspects are few, so what looks like the destination's trouble is tried with a target of its own.
        let fault = match status {
            403 | 503 => {
                self.targets = 3;
                never(kind, Some(1), Some(0))
            }
            _ => {
                self.targets = 0;
                never(kind, None, Some(0))
            }
        };
        self.faults.push(fault);
        self.append(Duration::ZERO, 0, dice.one(&[1, 10, 100]));
        self.steady(dice, 10);
    }
}

fn settings(dice: &mut Dice, largest: usize) -> RelaySettings {
    let max_concurrency = size(dice.one(&[1, 2, 3, 8]));
    let backoff_max = dice.one(&[1, 5, 20]);
    let auto = dice.chance(20).then(|| ConcurrencyBounds::new(size(1), max_concurrency)).flatten();
    let rate = |count| Rate::new(NonZeroU32::new(count).expect("not 0"), Duration::from_secs(1));
    RelaySettings {
        max_concurrency,
        auto_concurrency: auto,
        intake: dice.one(&[Intake::Batch, Intake::Sliding]),
        batch_size: size(dice.one(&[1, 2, 4, 10, 50])),
        batch_bytes: size(dice.one(&[1, largest * 3, largest * 10 + 1_000, 1 << 20])),
        window_size: size(dice.one(&[1, 2, 8, 50, 200])),
        batch_interval: Duration::from_millis(dice.one(&[0, 0, 10, 300, 2_000])),
        max_rate: if dice.chance(15) { rate(dice.one(&[2, 20, 200])) } else { None },
        retry_budget: if dice.chance(15) { Percent::new(dice.one(&[1, 20, 90])) } else { None },
        order: dice.one(&[Order::None, Order::Partition, Order::Key]),
        backoff: Backoff::new(Duration::from_millis(dice.one(&[10, 200])), Duration::from_secs(backoff_max))
            .expect("in order"),
        max_attempts: if dice.chance(50) { NonZeroU32::new(dice.one(&[1, 3, 6])) } else { None },
        max_age: dice.chance(10).then(|| Duration::from_secs(dice.one(&[1, 20]))),
        pause_after: NonZeroU32::new(dice.one(&[1, 3, 10])).expect("not 0"),
        max_retry_after: Duration::from_secs(dice.one(&MAX_RETRY_AFTER[..3])),
        patience: dice.chance(5).then(|| Duration::from_secs(dice.one(&[5, 30]))),
        on_rejection: dice.one(&[
            OnRejection::DeadLetter,
            OnRejection::DeadLetter,
            OnRejection::DeadLetter,
            OnRejection::Drop,
            OnRejection::Stop,
        ]),
        ..RelaySettings::default()
    }
}

fn jobs(dice: &mut Dice) -> Jobs {
    Jobs {
        retriable: if dice.chance(40) { dice.one(&[10, 50, 90]) } else { 0 },
        hangs: if dice.chance(30) { dice.one(&[5, 30]) } else { 0 },
        hang_millis: dice.one(&[500, 5_000, 40_000]),
        fatal: if dice.chance(5) { 30 } else { 0 },
        always: dice.chance(5),
    }
}

fn retry_after(dice: &mut Dice) -> Option<Duration> {
    dice.chance(30).then(|| Duration::from_secs(dice.one(&[0, 1, 3, 20, 3_600])))
}

fn kind_alike(dice: &mut Dice) -> Kind {
    match dice.below(4) {
        0 => Kind::Overloaded { above: dice.between(0, 3), status: dice.one(&[503, 502, 429]) },
        1 => Kind::Bucket {
            rate: dice.one(&[1.0, 5.0, 30.0]),
            burst: dice.one(&[1.0, 5.0]),
            retry_after: retry_after(dice),
        },
        2 => Kind::Down {
            period: Duration::from_secs(20),
            down: Duration::from_millis(dice.one(&[1_000, 5_000])),
            reply: dice.one(&[Reply::Connect, Reply::Status(503, None), Reply::Status(401, None)]),
        },
        _ => Kind::Random { percent: 10, reply: Reply::Stale },
    }
}

fn any_kind(dice: &mut Dice) -> Kind {
    let percent = dice.one(&[2, 20, 80, 100]);
    match dice.below(6) {
        0 => {
            let status = dice.one(&[500, 408, 429, 503, 404, 401, 302, 502, 500, 503, 410]);
            Kind::Random { percent, reply: Reply::Status(status, retry_after(dice)) }
        }
        1 => Kind::Random {
            percent,
            reply: dice.one(&[
                Reply::Timeout(true),
                Reply::Timeout(false),
                Reply::Broken(true),
                Reply::Stale,
                Reply::Connect,
            ]),
        },
        2 => Kind::Slow { millis: dice.one(&[300, 3_000, 40_000]) },
        _ => kind_alike(dice),
    }
}
