//! What is expected of the relay, beside the invariants: how soon, how fairly, and that all is done in the end.

use crate::log::{Entry, Log};
use crate::machine::Sim;
use crate::plan::{Jobs, Plan, Profile};
use crate::process::Process;
use crate::receiver::Reply;
use crate::trace::trace;
use sluicegate::kafka::consumer::cursor::PositionChange;
use sluicegate::record::Record;
use sluicegate::relay::dispatcher::Dispatcher;
use sluicegate::relay::settings::{Intake, OnRejection, Order};
use sluicegate::relay::{RENEW_AFTER, RunError};
use std::collections::HashSet;
use std::time::Duration;

/// Whatever brokers and receivers do, the run ends this long after the request timeout.
const END_WITHIN: Duration = Duration::from_secs(10);
/// News of the source are heard this soon, beside what threads are late by.
const HEARD_WITHIN: Duration = Duration::from_millis(200);
/// Records that are always turned away: few enough to be suspects.
const MOST_POISON: usize = 3;
/// After so many runs that ended with an error it is enough.
const MOST_RUNS: u64 = 8;
/// Beside a record or a partition that never works, others are delivered within this time.
const FLOWS_WITHIN: Duration = Duration::from_secs(90);
/// Positions are committed again this soon after a day in which nothing happened.
const RENEWED_WITHIN: Duration = Duration::from_secs(5);

/// What was done, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub refused: u64,
    pub batches: u64,
    pub kills: u64,
    pub stops: u64,
    /// Positions moved: records were deleted, cut off, the topic was made anew, notes were dropped, or the log
    /// was restored.
    pub deleted: u64,
    pub cut: u64,
    pub anew: u64,
    pub dropped: u64,
    pub diverged: u64,
}

impl Tally {
    pub fn count(&mut self, shift: &PositionChange) {
        match shift {
            PositionChange::Deleted { .. } => self.deleted += 1,
            PositionChange::Truncated { .. } => self.cut += 1,
            PositionChange::TopicRecreated { .. } => self.anew += 1,
            PositionChange::ProgressDropped { .. } => self.dropped += 1,
            PositionChange::Diverged { .. } => self.diverged += 1,
            _ => {}
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.batches += other.batches;
        self.kills += other.kills;
        self.stops += other.stops;
        self.deleted += other.deleted;
        self.cut += other.cut;
        self.anew += other.anew;
        self.dropped += other.dropped;
        self.diverged += other.diverged;
    }
}

#[derive(Debug)]
pub struct Expectations {
    profile: Profile,
    lag: Duration,
    pub suspected: HashSet<(usize, i64)>,
    poison: usize,
    appended: usize,
    poison_at: usize,
    /// Of the one record that is always turned away: when it was refused.
    poison_refused: Option<Duration>,
}

impl Expectations {
    pub fn of(plan: &Plan) -> Self {
        Self {
            profile: plan.profile,
            lag: Duration::from_micros(plan.lag_micros as u64) * 8,
            suspected: HashSet::new(),
            poison: 0,
            appended: 0,
            poison_at: 7,
            poison_refused: None,
        }
    }

    /// News that are there since `since` are heard now.
    pub fn hears(&self, since: Duration, now: Duration) {
        let waited = now - since;
        assert!(waited <= HEARD_WITHIN + self.lag, "news of the source waited {waited:?} to be heard");
    }

    /// What is under way stays within its bounds.
    pub fn fits(&self, dispatcher: &Dispatcher, plan: &Plan, partitions: usize) {
        let settings = &plan.settings;
        if settings.intake == Intake::Batch {
            // Carried records leave a part of each batch to new ones, until their partition is a window ahead. What is in
            // flight of partitions that were lost is there beside it.
            let carried = settings.window_size.get().saturating_mul(partitions);
            let most = settings.batch_size.get() + carried + settings.max_concurrency.get();
            assert!(dispatcher.len() <= most, "invariant 4: {} records in a batch", dispatcher.len());
        }
        let one = plan.largest + 300;
        let most = settings.batch_bytes.get() + one * (partitions + 1);
        assert!(dispatcher.bytes() <= most, "invariant 4: {} bytes of {most}", dispatcher.bytes());
    }

    /// A record is refused for good.
    pub fn rejected(&mut self, record: &Record, entry: &Entry, now: Duration) {
        match self.profile {
            Profile::Chaos => {}
            Profile::Alike => {
                panic!("{record:?} is refused, and the destination turned everybody away alike")
            }
            Profile::Fair => panic!("{record:?} is refused, and attempts have no limit"),
            Profile::Poison => {
                assert!(entry.poison.is_some(), "{record:?} is refused, and only another one is turned away");
                self.poison_refused.get_or_insert(now);
                let place = (entry.log, record.offset().0);
                let Some(Reply::Status(status, _)) = entry.poison else { return };
                let pauses = !matches!(status, 500 | 422);
                assert!(
                    !pauses || self.suspected.contains(&place),
                    "{record:?} is refused without a word before"
                );
            }
        }
    }

    fn draws_poison(&mut self, plan: &Plan, dice: &mut crate::dice::Dice) -> Option<Reply> {
        self.appended += 1;
        let (reply, in_thousand) = plan.poison?;
        let is_it = match plan.profile {
            Profile::Poison => self.appended == self.poison_at,
            _ => self.poison < MOST_POISON && dice.below(1_000) < in_thousand,
        };
        self.poison += usize::from(is_it);
        is_it.then_some(reply)
    }
}

impl Sim {
    pub fn append(&mut self, partition: usize, records: usize) {
        for _ in 0..records {
            let poison = self.expectations.draws_poison(&self.plan, &mut self.dice);
            let key = match (self.plan.profile, self.plan.targets, partition) {
                // Of the target that never works are the records of the first partition, and no others.
                (Profile::Fair, 1.., 0) => Some(0),
                (Profile::Fair, 1.., _) => Some(1 + self.dice.below(2) as u8),
                _ => (!self.dice.chance(10)).then(|| self.dice.below(self.plan.keys) as u8),
            };
            let is_tombstone = self.dice.chance(10) && poison.is_none();
            let entry = Entry {
                log: 0,
                offset: 0,
                epoch: 0,
                is_gone: false,
                is_tombstone,
                key,
                size: self.dice.below(self.plan.largest),
                poison,
                appended: self.now,
                // What the filter leaves out is done, and is never to be sent.
                is_done: is_tombstone && self.plan.filters,
                done_at: Duration::ZERO,
            };
            let hole = if self.plan.holes && self.dice.chance(20) { self.dice.below(5) as i64 } else { 0 };
            self.cluster.append(partition, entry, hole);
        }
        if self.plan.holes && self.dice.chance(30) {
            self.cluster.marker(partition);
        }
        self.logs_changed();
    }

    // ---- the end -------------------------------------------------------------------------------------------

    /// A run has ended: whether that is the end of the schedule.
    pub fn ended(&mut self, process: &mut Process, failure: Option<&RunError>) -> bool {
        let uncommitted = process.control.dispatcher.uncommitted();
        let Some(failure) = failure else {
            assert!(uncommitted.is_empty(), "it ended well, and {uncommitted:?} are not committed");
            if process.stop_at.is_none() {
                assert!(self.cluster.is_ending, "it ended, and nobody asked for it");
                let open = self.open(false);
                assert!(open.is_empty(), "it ended well, and these are not done or not committed: {open:?}");
            }
            return process.stop_at.is_none();
        };
        let jobs_fail = |jobs: Jobs| jobs.always || jobs.retriable + jobs.hangs + jobs.fatal > 0;
        match failure {
            RunError::Rejected(letter) => {
                assert_eq!(self.plan.settings.on_rejection, OnRejection::Stop);
                self.truth.is_fair(&letter.record, letter.rejection.attempts, &self.plan);
                assert!(
                    !matches!(self.plan.profile, Profile::Alike | Profile::Fair),
                    "it ended with {failure}"
                );
                return true;
            }
            RunError::OutOfPatience(patience, _) => {
                let quiet = process.quiet_at_drain;
                assert!(quiet >= *patience, "out of patience {quiet:?} after the last acceptance");
            }
            RunError::OutOfPatienceWithSource(..) => {}
            RunError::TooManyRejected(letter, _) => {
                self.truth.is_fair(&letter.record, letter.rejection.attempts, &self.plan);
                return true;
            }
            RunError::Gone(_) => {}
            RunError::Commit(_) | RunError::Uncommitted(..) => {
                let is_refused = self.plan.brokers.commits_refused > 0;
                assert!(is_refused || jobs_fail(self.plan.commits), "{failure}");
            }
            RunError::DeadLetters(_) => assert!(jobs_fail(self.plan.letters), "{failure}"),
            RunError::Twice(..) => {}
            other => panic!("it ended with {other}"),
        }
        self.number >= MOST_RUNS || self.now > self.plan.calm_at + Duration::from_secs(600)
    }

    /// Invariant 11.
    pub fn ends_in_time(&self) {
        let Some(process) = &self.process else { return };
        let since = process.stop_at.or(process.draining_at);
        let within = self.plan.request_timeout + END_WITHIN;
        assert!(
            since.is_none_or(|since| self.now <= since + within + Duration::from_secs(1)),
            "invariant 11: stopped at {since:?}, it has not ended"
        );
    }

    /// Whether all is done and committed that can be, once the world is calm.
    pub fn is_settled(&mut self) -> bool {
        if self.now < self.plan.calm_at {
            return false;
        }
        self.cluster.is_ending = self.plan.until_end;
        if self.process.is_none() {
            return false;
        }
        let open = self.open(true);
        if open.is_empty() {
            if !self.plan.until_end {
                self.flowed();
                return self.has_renewed();
            }
            // The records that never work keep it from its end.
            if self.has_endless() {
                return true;
            }
        }
        let bound = self.bound();
        assert!(
            self.now < self.plan.calm_at + bound,
            "invariant 9: calm since {:?}, and after {bound:?} still open: {open:?}",
            self.plan.calm_at
        );
        false
    }

    /// Lets a day pass in which nothing happens: says whether all positions were committed again after it.
    fn has_renewed(&mut self) -> bool {
        let Some(process) = &self.process else { return true };
        if process.control.is_draining() || !process.control.dispatcher.is_empty() {
            return true;
        }
        // It may not know yet what is assigned to it, and makes one commit at a time.
        if self.day_passed.is_none() && (!self.consumer.news.is_empty() || process.commit.is_some()) {
            return false;
        }
        let Some(since) = self.day_passed else {
            trace!(self.now, "a day passes");
            self.base += RENEW_AFTER;
            self.day_passed = Some(self.now);
            return false;
        };
        let held = self.truth.held_since(since).into_iter();
        let mut kept = held.map(|partition| &self.cluster.parts[self.cluster.at(partition)]);
        let late = kept.find(|part| part.committed_at <= since);
        assert!(
            late.is_none() || self.now < since + RENEWED_WITHIN,
            "a day after its last commit {late:?} was not committed again"
        );
        late.is_none()
    }

    /// How long everything may take once the world is calm.
    fn bound(&self) -> Duration {
        let settings = &self.plan.settings;
        let records = self.plan.most_records as u32;
        let each = self.plan.request_timeout.min(Duration::from_millis(self.plan.latency.1 as u64 * 2))
            + settings.batch_interval
            + settings.max_rate.map_or(Duration::ZERO, |rate| rate.interval())
            + if settings.retry_budget.is_some() { Duration::from_secs(1) } else { Duration::ZERO };
        let attempts = settings.max_attempts.map_or(1, |most| most.get()) + 3;
        let backoff = settings.backoff.ceiling(u32::MAX);
        Duration::from_secs(300)
            + settings.max_retry_after * (4 + 3 * attempts)
            + backoff * attempts * 4
            + each * records * 2
    }

    /// Whether the record will never be done.
    fn is_endless(&self, entry: &Entry, partition: usize) -> bool {
        let settings = &self.plan.settings;
        let has_limit = settings.max_attempts.is_some() || settings.max_age.is_some();
        let never = |reply: Reply| match reply {
            Reply::Status(400 | 422, _) => false,
            Reply::Status(500, _) => !has_limit,
            // In the profile that says so it must be refused; elsewhere there may be nobody to compare with.
            _ => self.plan.profile != Profile::Poison,
        };
        let target = 1 + entry.key.map_or(0, u64::from) % self.plan.targets.max(1);
        let is_of = |fault: &crate::receiver::Fault| {
            fault.until.is_none()
                && fault.partition.is_none_or(|at| at == partition)
                && fault.target.is_none_or(|at| at == target)
        };
        entry.poison.is_some_and(never) || self.plan.faults.iter().any(is_of)
    }

    /// The records that the partition's log has now.
    fn entries(&self, log: &Log) -> impl Iterator<Item = &Entry> {
        log.records.iter().map(|number| &self.cluster.logs.entries[*number])
    }

    /// The log that each partition has now.
    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.cluster.parts.iter().map(|part| &self.cluster.logs.logs[part.log])
    }

    /// What never works of a partition: of its log as it is, and what was deleted while it was tried.
    fn endless(&self, partition: usize) -> impl Iterator<Item = &Entry> {
        let log = self.cluster.log(partition);
        let deleted = self.cluster.logs.entries.iter().filter(move |entry| {
            entry.log == self.cluster.parts[partition].log && entry.offset < log.start && !entry.is_done
        });
        self.entries(log).chain(deleted).filter(move |entry| self.is_endless(entry, partition))
    }

    fn has_endless(&self) -> bool {
        (0..self.cluster.parts.len()).any(|partition| self.endless(partition).any(|entry| !entry.is_done))
    }

    /// What is not done or not committed, but for what never will be and may hold back others. What logs have lost, or
    /// went with its topic, is excused, and nothing else.
    fn open(&self, but_endless: bool) -> Vec<String> {
        let settings = &self.plan.settings;
        let mut open = Vec::new();
        // What was kept as a letter without a word of it is tried on.
        let keys = |partition| self.endless(partition).map(|entry| entry.key).collect();
        let all: Vec<Vec<Option<u8>>> = (0..self.cluster.parts.len()).map(keys).collect();
        let stuck: usize = all.iter().map(Vec::len).sum();
        let is_chaos = self.plan.profile == Profile::Chaos;
        if but_endless && is_chaos && stuck > 0 && !self.plan.leaves_room_beside(stuck) {
            return open;
        }
        for ((part, log), stuck) in self.cluster.parts.iter().zip(self.logs()).zip(&all) {
            let has_room =
                settings.order != Order::Partition && log.records.len() < settings.window_size.get() / 2;
            if but_endless && !stuck.is_empty() && !(has_room && is_chaos) {
                continue;
            }
            let is_held = |entry: &Entry| {
                let by_key =
                    settings.order == Order::Key && all.iter().flatten().any(|key| *key == entry.key);
                but_endless && (self.is_endless(entry, log.partition) || by_key)
            };
            let not_done = self.entries(log).filter(|entry| !entry.is_done && !is_held(entry));
            open.extend(not_done.map(|entry| format!("{}@{}", part.name, entry.offset)));
            let next = self.entries(log).last().map_or(log.start, |last| last.offset + 1);
            let committed = part.committed.as_ref().map(|stored| stored.next);
            let is_within = committed.is_some_and(|committed| (next..=log.end).contains(&committed));
            if log.first_open == log.records.len() && !is_within {
                open.push(format!("{} is committed at {committed:?} of {next}..={}", part.name, log.end));
            }
        }
        open
    }

    /// Beside what never works the others went on.
    fn flowed(&self) {
        if !matches!(self.plan.profile, Profile::Poison | Profile::Fair) {
            return;
        }
        let settings = &self.plan.settings;
        for (part, log) in self.cluster.parts.iter().zip(self.logs()) {
            let poison = self.entries(log).find(|entry| entry.poison.is_some());
            for entry in self.entries(log).filter(|entry| entry.is_done && entry.poison.is_none()) {
                let behind = poison.filter(|poison| poison.offset < entry.offset);
                let is_behind = match settings.order {
                    Order::None => false,
                    Order::Partition => behind.is_some(),
                    Order::Key => true,
                };
                let took = entry.done_at.saturating_sub(entry.appended);
                assert!(
                    is_behind || took < FLOWS_WITHIN,
                    "{}@{} took {took:?} beside what never works",
                    part.name,
                    entry.offset
                );
            }
        }
        if self.plan.profile == Profile::Poison {
            assert!(
                self.expectations.poison_refused.is_some(),
                "what is always turned away was never refused"
            );
        }
    }
}

impl Plan {
    /// Whether records that never work leave room for others.
    fn leaves_room_beside(&self, stuck: usize) -> bool {
        let settings = &self.settings;
        let window = settings.window_size.get() > 4 * stuck;
        let batch = match settings.intake {
            Intake::Sliding => true,
            Intake::Batch => settings.batch_size.get() > 2 * stuck,
        };
        // Without an order nobody waits for them.
        window && batch && settings.order == Order::None && settings.batch_bytes.get() >= 1 << 20
    }
}
