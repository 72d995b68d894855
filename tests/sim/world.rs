//! What happens around the relay: records are appended, commits and letters fare as they may; and what is expected of
//! it in the end.

use crate::cluster::{Entry, Owner};
use crate::machine::{Event, Sim};
use crate::plan::{Jobs, Plan, Profile};
use crate::process::{Done, Process};
use crate::receiver::Reply;
use crate::trace::trace;
use sluicegate::record::{Checkpoint, Record};
use sluicegate::relay::dead_letter::DeadLetterError;
use sluicegate::relay::dispatcher::{Dispatcher, PendingDeadLetter};
use sluicegate::relay::settings::{Intake, OnRejection, Order};
use sluicegate::relay::source::CommitError;
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
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.batches += other.batches;
        self.kills += other.kills;
        self.stops += other.stops;
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
    pub fn fits(&self, dispatcher: &Dispatcher, plan: &Plan) {
        let settings = &plan.settings;
        if settings.intake == Intake::Batch {
            // Carried records leave a part of each batch to new ones, until their partition is a window ahead. What is in
            // flight of partitions that were lost is there beside it.
            let carried = settings.window_size.get().saturating_mul(plan.partitions);
            let most = settings.batch_size.get() + carried + settings.max_concurrency.get();
            assert!(dispatcher.len() <= most, "invariant 4: {} records in a batch", dispatcher.len());
        }
        let one = plan.largest + 300;
        let most = settings.batch_bytes.get() + one * (plan.partitions + 1);
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
                let place = (record.timestamp() as usize, record.offset().0);
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

/// A commit or letters on their way.
struct Fares {
    /// From now until it is applied, and until the answer comes.
    times: (Duration, Duration),
    applies: bool,
    outcome: Result<(), ()>,
    is_fatal: bool,
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
                offset: 0,
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
    }

    // ---- commits and letters -------------------------------------------------------------------------------

    fn fares(&mut self, jobs: Jobs) -> Fares {
        let is_calm = self.now >= self.plan.calm_at;
        let mut time = self.dice.millis(1, 20);
        if is_calm {
            return Fares { times: (time, time * 2), applies: true, outcome: Ok(()), is_fatal: false };
        }
        if self.dice.chance(jobs.hangs) {
            time += self.dice.millis(0, jobs.hang_millis);
        }
        let fails = jobs.always || self.dice.chance(jobs.retriable);
        let is_fatal = self.dice.below(1_000) < jobs.fatal;
        let outcome = if fails || is_fatal { Err(()) } else { Ok(()) };
        // It may have arrived although the answer says otherwise.
        let applies = outcome.is_ok() || !is_fatal && self.dice.chance(30);
        let answered = time + Duration::from_micros(1) + self.dice.millis(0, 20);
        Fares { times: (time, answered), applies, outcome, is_fatal }
    }

    pub fn commit(&mut self, checkpoints: Vec<Checkpoint>) {
        self.truth.commits(&checkpoints, &self.cluster);
        let fares = self.fares(self.plan.commits);
        let token = self.token();
        let Some(process) = &mut self.process else { return };
        assert!(process.commit.is_none(), "one commit at a time");
        process.commit = Some(checkpoints);
        process.commit_job = (
            token,
            match (fares.outcome, fares.is_fatal) {
                (Ok(()), _) => Ok(()),
                (Err(()), false) => Err(CommitError::Retriable("later".into())),
                (Err(()), true) => Err(CommitError::Fatal("never".into())),
            },
        );
        if fares.applies {
            self.push(self.now + fares.times.0, Event::CommitArrives(token));
        }
        self.push(self.now + fares.times.1, Event::CommitAnswered(token));
    }

    pub fn commit_arrives(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.commit_job.0 == token) else {
            return;
        };
        let Some(checkpoints) = process.commit.clone() else { return };
        let left_out = self.cluster.commit(&checkpoints, self.now);
        if left_out && self.dice.chance(50) {
            // The group has gone on without this member: nothing that the commit names is its own any more.
            for Checkpoint { position, assignment, .. } in &checkpoints {
                let at = position.partition.number() as usize;
                let is_current = self.cluster.parts[at].assignment == *assignment;
                if is_current && self.cluster.lose(at, self.now) {
                    self.leaves_us(at);
                }
            }
            if let Some(process) = &mut self.process {
                process.commit_job.1 = Err(CommitError::Fenced("another generation".into()));
            }
        }
    }

    pub fn commit_answered(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.commit_job.0 == token) else {
            return;
        };
        let Some(checkpoints) = process.commit.take() else { return };
        let outcome = std::mem::replace(&mut process.commit_job.1, Ok(()));
        trace!(self.now, "commit: {outcome:?}");
        process.done.push(Done::Committed(checkpoints, outcome));
        self.news();
    }

    pub fn put_letters(&mut self, letters: Vec<PendingDeadLetter>) {
        self.truth.puts(letters.iter().map(|pending| &pending.letter), &self.plan);
        let fares = self.fares(self.plan.letters);
        let token = self.token();
        let Some(process) = &mut self.process else { return };
        assert!(process.letters.is_none(), "one put at a time");
        process.letters = Some(letters);
        process.letters_job = (
            token,
            fares.applies,
            match (fares.outcome, fares.is_fatal) {
                (Ok(()), _) => Ok(()),
                (Err(()), false) => Err(DeadLetterError::Retriable("full".into())),
                (Err(()), true) => Err(DeadLetterError::Fatal("gone".into())),
            },
        );
        self.push(self.now + fares.times.1, Event::LettersPut(token));
    }

    pub fn letters_put(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.letters_job.0 == token) else {
            return;
        };
        let Some(letters) = process.letters.take() else { return };
        let (_, applies, outcome) = std::mem::replace(&mut process.letters_job, (0, false, Ok(())));
        trace!(self.now, "letters: {outcome:?}");
        let kept: Vec<Record> = letters.iter().map(|pending| pending.letter.record.clone()).collect();
        process.done.push(Done::PutDeadLetters(letters, outcome));
        if applies {
            kept.iter().for_each(|record| self.rejected(record));
        }
        self.news();
    }

    /// As `Run::take_results`.
    pub fn take_results(&mut self) {
        let now = self.instant();
        let Some(process) = &mut self.process else { return };
        let mut wakes = false;
        for done in std::mem::take(&mut process.done) {
            match done {
                Done::Committed(checkpoints, outcome) => {
                    let lost = process.control.commit_done(checkpoints, &outcome, now);
                    wakes |= !lost.is_empty();
                    self.truth.lost(&lost);
                }
                Done::PutDeadLetters(letters, outcome) => {
                    wakes = true;
                    process.control.dead_letters_done(letters, &outcome, now);
                }
            }
        }
        if wakes {
            self.notify_workers(usize::MAX);
        }
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
                assert!(jobs_fail(self.plan.commits), "{failure}")
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
        if self.day_passed.is_none() && (!self.cluster.news.is_empty() || process.commit.is_some()) {
            return false;
        }
        let Some((since, later)) = self.day_passed else {
            trace!(self.now, "a day passes");
            self.base += RENEW_AFTER;
            self.day_passed = Some((self.now, self.cluster.next_assignment));
            return false;
        };
        let is_kept = |part: &&crate::cluster::Part| part.owner == Owner::Us && part.assignment < later;
        let late = self.cluster.parts.iter().filter(is_kept).find(|part| part.committed_at <= since);
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

    fn has_endless(&self) -> bool {
        let is_open = |part: &crate::cluster::Part| {
            let log = &self.cluster.logs[part.log];
            log.entries.iter().any(|entry| !entry.is_done && self.is_endless(entry, log.partition))
        };
        self.cluster.parts.iter().any(is_open)
    }

    /// What is not done or not committed, but for what never will be and may hold back others.
    fn open(&self, but_endless: bool) -> Vec<String> {
        let settings = &self.plan.settings;
        let mut open = Vec::new();
        let endless = |log: &crate::cluster::Log| -> Vec<Option<u8>> {
            // What was kept as a letter without a word of it is tried on.
            let of_it = log.entries.iter().filter(|entry| self.is_endless(entry, log.partition));
            of_it.map(|entry| entry.key).collect()
        };
        let all: Vec<Vec<Option<u8>>> =
            self.cluster.parts.iter().map(|part| endless(&self.cluster.logs[part.log])).collect();
        let stuck: usize = all.iter().map(Vec::len).sum();
        let is_chaos = self.plan.profile == Profile::Chaos;
        if but_endless && is_chaos && stuck > 0 && !self.plan.leaves_room_beside(stuck) {
            return open;
        }
        for (part, stuck) in self.cluster.parts.iter().zip(&all) {
            let log = &self.cluster.logs[part.log];
            let has_room =
                settings.order != Order::Partition && log.entries.len() < settings.window_size.get() / 2;
            if but_endless && !stuck.is_empty() && !(has_room && is_chaos) {
                continue;
            }
            let is_held = |entry: &Entry| {
                let by_key =
                    settings.order == Order::Key && all.iter().flatten().any(|key| *key == entry.key);
                but_endless && (self.is_endless(entry, log.partition) || by_key)
            };
            let not_done = log.entries.iter().filter(|entry| !entry.is_done && !is_held(entry));
            open.extend(not_done.map(|entry| format!("{}@{}", part.name, entry.offset)));
            let next = log.entries.last().map_or(0, |last| last.offset + 1);
            let committed = part.committed.as_ref().map(|(next, _)| *next);
            if log.first_open == log.entries.len() && committed.is_none_or(|committed| committed < next) {
                open.push(format!("{} is committed at {committed:?} of {next}", part.name));
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
        for part in &self.cluster.parts {
            let log = &self.cluster.logs[part.log];
            let poison = log.entries.iter().find(|entry| entry.poison.is_some());
            for entry in log.entries.iter().filter(|entry| entry.is_done && entry.poison.is_none()) {
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
