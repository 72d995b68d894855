//! What the loop does next: poll, commit, write dead letters, wait. Pure: given what happened and the time, it returns
//! a
//! [`Step`]; the caller owns threads and clock.
//!
//! Every wait is a [`Step::Wait`] or a poll, of at most a [`TICK`], so that revocations, signals, results and due times
//! are always noticed. Commits and dead letters run in background threads, one job each at a time; only the end of the
//! run waits for them, until a deadline.
//!
//! | room | what is in it |
//! |---|---|
//! | `job` | a kind of work of a background thread |
//! | `results` | the results of commits and dead letters |

mod job;
mod results;

use super::dispatcher::{Dispatcher, PendingDeadLetter};
use super::event::Change;
use super::run_error::RunError;
use super::settings::{Intake, RelaySettings};
use super::source::{Assigned, Outage, PollLimit};
use super::transport::Target;
use crate::record::{Checkpoint, Partition, Position, Record};
use crate::timing::jitter::Jitter;
use job::Job;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The longest wait of the loop before it looks for revocations, signals and due work.
pub const TICK: Duration = Duration::from_millis(50);
/// How often a snapshot is reported.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time from one commit to the next while records are delivered.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last dead letters and the last commit are tried at the end of a run.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(4);
/// What the process may take to end after a stop, beside the transport's timeout.
const LONGEST_END: Duration = Duration::from_secs(10);
// Invariant 11.
const _: () = assert!(FINISH_TIMEOUT.as_millis() + TICK.as_millis() < LONGEST_END.as_millis());
/// The longest wait between two tries of them.
const LAST_RETRY: Duration = Duration::from_millis(250);
/// How often a lasting state (a pause, a stuck partition) is reported again.
pub(crate) const REMIND_EVERY: Duration = Duration::from_secs(30);
/// The shortest wait, so that nothing spins.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Partition events handled per tick, at most.
const MOST_EVENTS: u32 = 1_000;
/// Stuck partitions remembered, at most, so that each is reported only from time to time.
const MOST_STUCK: usize = 1_000;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Poll the source.
    Poll {
        /// At most this much.
        want: PollLimit,
        /// At most this long.
        wait: Duration,
    },
    /// Throttle exactly these partitions.
    Throttle(Vec<Partition>),
    /// Begin to commit these.
    Commit(Vec<Checkpoint>),
    /// Begin to write these to the dead letters.
    PutDeadLetters(Vec<PendingDeadLetter>),
    /// Release these revoked partitions: their records are done and committed.
    Release(Vec<Partition>),
    /// Tell the observer.
    Report(Report),
    /// Let workers send, until [`Step::Join`].
    Deliver,
    /// Join the workers; they have nothing to do.
    Join,
    /// Wait for an event, until then.
    Wait(Instant),
    /// The run is over.
    End,
}

/// Something to report to the observer.
#[derive(Debug)]
pub enum Report {
    /// A change of state.
    Change(Change),
    /// The time between two batches begins.
    BatchInterval(Duration),
    /// Nothing new is sent any more.
    Draining,
    /// The figures of the moment.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for records.
    Filling,
    /// Workers are sending.
    Delivering,
    /// The last commit and dead letters; then the run ends.
    Finishing,
}

/// The state of the loop.
#[derive(Debug)]
pub struct Control {
    /// The records under way.
    pub dispatcher: Dispatcher,
    intake: Intake,
    batch_interval: Duration,
    patience: Option<Duration>,
    jitter: Jitter,
    phase: Phase,
    /// The source has come to its end.
    ended: bool,
    /// The last poll for this batch returned nothing: it starts with what it has.
    filled: bool,
    /// The next batch starts at this time at the earliest.
    rest_until: Option<Instant>,
    rest_told: bool,
    failure: Option<RunError>,
    draining: bool,
    draining_told: bool,
    /// Since when the run is ending, by a signal or a failure.
    ending_since: Option<Instant>,
    finish_by: Option<Instant>,
    commits: Job,
    /// Why the last commit failed, or left positions out.
    commit_error: Option<String>,
    letters: Job,
    /// Dead letters failed for good: records rejected from then on stay undone.
    dead_letters_closed: bool,
    throttled: Vec<Partition>,
    /// A throttled partition was lost or assigned again: the source may still throttle the new assignment.
    throttled_before: bool,
    /// The source said that it can't throttle partitions.
    cannot_throttle: bool,
    next_look: Instant,
    heard: u32,
    next_progress: Instant,
    outage: Option<Outage>,
    paused_told: Option<Instant>,
    stuck_told: HashMap<Partition, Instant>,
    reports: Vec<Report>,
}

impl Control {
    /// Nothing has happened yet.
    pub fn new(settings: RelaySettings, jitter: Jitter, now: Instant) -> Self {
        let (intake, batch_interval, patience) =
            (settings.intake, settings.batch_interval, settings.patience);
        Self {
            dispatcher: Dispatcher::new(settings, jitter.clone()),
            intake,
            batch_interval,
            patience,
            jitter,
            phase: Phase::Filling,
            ended: false,
            filled: false,
            rest_until: None,
            rest_told: false,
            failure: None,
            draining: false,
            draining_told: false,
            ending_since: None,
            finish_by: None,
            commits: Job::new(now),
            commit_error: None,
            letters: Job::new(now),
            dead_letters_closed: false,
            throttled: Vec::new(),
            throttled_before: false,
            cannot_throttle: false,
            next_look: now,
            heard: 0,
            next_progress: now + SNAPSHOT_INTERVAL,
            outage: None,
            paused_told: None,
            stuck_told: HashMap::new(),
            reports: Vec::new(),
        }
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant, stop_requested: bool) -> Step {
        self.look_after(now, stop_requested);
        if let Some(report) = self.next_report(now) {
            return Step::Report(report);
        }
        if let Some(step) = self.due_job(now) {
            return step;
        }
        if now >= self.next_look {
            return Step::Poll { want: PollLimit::NOTHING, wait: Duration::ZERO };
        }
        match self.phase {
            Phase::Filling => self.fill(now),
            Phase::Delivering => self.deliver(now),
            Phase::Finishing => self.finish(now),
        }
    }

    fn look_after(&mut self, now: Instant, stop_requested: bool) {
        if let Some(error) = self.dispatcher.take_stopped() {
            self.fail(error);
        }
        self.check_patience(now);
        if stop_requested || self.failure.is_some() {
            self.drain();
            self.ending_since.get_or_insert(now);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.dispatcher.drain();
    }

    /// Ends the run with this error, unless it has one already: later errors tend to follow from the first.
    pub(crate) fn fail(&mut self, error: RunError) {
        self.failure.get_or_insert(error);
        self.drain();
    }

    fn check_patience(&mut self, now: Instant) {
        let Some(patience) = self.patience.filter(|_| !self.draining) else { return };
        let is_over = |since: Instant| now.saturating_duration_since(since) >= patience;
        if let Some((_, cause)) = self.dispatcher.failing().filter(|(since, _)| is_over(*since)) {
            let error = RunError::OutOfPatience(patience, cause.to_owned());
            return self.fail(error);
        }
        if let Some(outage) = self.outage.as_ref().filter(|outage| is_over(outage.since)) {
            let error = RunError::OutOfPatienceWithSource(patience, outage.cause.clone());
            self.fail(error);
        }
    }

    fn next_report(&mut self, now: Instant) -> Option<Report> {
        if let Some(change) = self.dispatcher.take_change() {
            if matches!(change, Change::Paused { everything: true, .. }) {
                self.paused_told = Some(now);
            }
            return Some(Report::Change(change));
        }
        if self.draining && !std::mem::replace(&mut self.draining_told, true) {
            return Some(Report::Draining);
        }
        if now >= self.next_progress {
            self.next_progress = now + SNAPSHOT_INTERVAL;
            self.remind(now);
            return Some(Report::Snapshot);
        }
        self.reports.pop()
    }

    /// Reports lasting states again.
    fn remind(&mut self, now: Instant) {
        let is_due =
            |told: Option<Instant>| told.is_none_or(|at| now.saturating_duration_since(at) >= REMIND_EVERY);
        if let Some(since) = self.dispatcher.paused_since().filter(|_| is_due(self.paused_told)) {
            self.paused_told = Some(now);
            let cause = self.dispatcher.failing().map(|(_, cause)| cause.to_owned()).unwrap_or_default();
            let since = now.saturating_duration_since(since);
            self.reports.push(Report::Change(Change::StillPaused { since, cause }));
        }
        self.stuck_told.retain(|partition, _| self.throttled.contains(partition));
        for partition in &self.throttled {
            if self.stuck_told.len() >= MOST_STUCK || !is_due(self.stuck_told.get(partition).copied()) {
                continue;
            }
            if let Some(stuck) = self.dispatcher.stuck(partition) {
                self.stuck_told.insert(partition.clone(), now);
                self.reports.push(Report::Change(stuck));
            }
        }
    }

    // ---- jobs of others ------------------------------------------------------------------------------------

    fn due_job(&mut self, now: Instant) -> Option<Step> {
        if self.letters.is_due(now) && self.dispatcher.has_dead_letters() {
            if self.dead_letters_closed {
                self.dispatcher.abandon_dead_letters();
            } else {
                self.letters.begin(now);
                return Some(Step::PutDeadLetters(self.dispatcher.take_dead_letters()));
            }
        }
        if self.commits.is_due(now) {
            let checkpoints = self.dispatcher.due_commits(now);
            if !checkpoints.is_empty() {
                self.commits.begin(now);
                return Some(Step::Commit(checkpoints));
            }
        }
        let releasable = self.dispatcher.releasable();
        (!releasable.is_empty()).then_some(Step::Release(releasable))
    }

    /// These partitions were released.
    pub fn released(&mut self, partitions: &[Partition]) {
        self.lost(partitions);
    }

    // ---- what a poll brought -------------------------------------------------------------------------------

    /// The poll returned nothing.
    pub fn polled_nothing(&mut self, want: PollLimit, now: Instant) {
        self.heard = 0;
        self.next_look = now + TICK;
        self.filled |= want.records > 0;
    }

    /// The poll returned something other than records; there may be more.
    fn heard(&mut self, now: Instant) {
        self.heard += 1;
        if self.heard >= MOST_EVENTS {
            self.heard = 0;
            self.next_look = now + TICK;
        }
    }

    /// Records, each with its target.
    pub fn records(&mut self, records: impl IntoIterator<Item = (Record, Target)>, now: Instant) {
        for (record, target) in records {
            self.dispatcher.admit(record, target, now);
        }
    }

    /// Offsets before these positions that were not handed over hold no records.
    pub fn passed(&mut self, positions: &[Position], now: Instant) {
        self.heard(now);
        positions.iter().for_each(|position| self.dispatcher.pass(position));
    }

    /// Partitions were assigned.
    pub fn assigned(&mut self, assigned: &[Assigned], now: Instant) {
        self.heard(now);
        assigned.iter().for_each(|one| self.dispatcher.assign(one, now));
        self.reopen();
        self.forget_throttled(|it| assigned.iter().any(|one| one.checkpoint.position.partition == *it));
    }

    /// Partitions were revoked.
    pub fn revoked(&mut self, partitions: &[Partition], now: Instant) {
        self.heard(now);
        partitions.iter().for_each(|partition| self.dispatcher.revoke(partition));
        self.commits.due = now;
    }

    /// Partitions were lost.
    pub fn lost_by(&mut self, partitions: &[Partition], now: Instant) {
        self.heard(now);
        self.lost(partitions);
    }

    fn lost(&mut self, partitions: &[Partition]) {
        partitions.iter().for_each(|partition| self.dispatcher.lose(partition));
        self.reopen();
        self.forget_throttled(|partition| partitions.contains(partition));
    }

    fn forget_throttled(&mut self, is_of: impl Fn(&Partition) -> bool) {
        let forgotten = self.throttled.extract_if(.., |partition| is_of(partition)).count();
        self.throttled_before |= forgotten > 0;
    }

    /// The source may not be at its end any more: partitions came or went.
    fn reopen(&mut self) {
        if std::mem::take(&mut self.ended) && self.intake == Intake::Sliding {
            self.dispatcher.open();
        }
        if self.phase == Phase::Finishing && !self.draining {
            self.phase = Phase::Filling;
        }
    }

    /// A notice was reported.
    pub fn noticed(&mut self, now: Instant) {
        self.heard(now);
    }

    /// The source failed: the run ends with this.
    pub(crate) fn source_failed(&mut self, error: RunError, now: Instant) {
        self.next_look = now + TICK;
        self.ended = true;
        self.fail(error);
    }

    /// The source has come to its end.
    pub fn source_ended(&mut self, now: Instant) {
        self.next_look = now + TICK;
        self.ended = true;
        self.filled = true;
        if self.intake == Intake::Sliding {
            self.dispatcher.close();
        }
    }

    /// Sets since when the source reaches no broker.
    pub fn set_outage(&mut self, outage: Option<Outage>) {
        self.outage = outage;
    }

    /// Whether the source throttles the partitions of the last [`Step::Throttle`].
    pub fn throttled(&mut self, partitions: Vec<Partition>, does: bool) {
        self.cannot_throttle = !does;
        self.throttled_before = false;
        if does {
            self.dispatcher.throttle(&partitions);
            self.throttled = partitions;
        }
    }

    // ---- phases --------------------------------------------------------------------------------------------

    fn poll(&mut self, wait: Duration, now: Instant) -> Step {
        if !self.cannot_throttle {
            let full = self.dispatcher.full();
            if full != self.throttled || self.throttled_before {
                return Step::Throttle(full);
            }
        }
        match self.dispatcher.room() {
            PollLimit::NOTHING => Step::Wait(now + wait.max(SHORTEST_WAIT)),
            want => Step::Poll { want, wait },
        }
    }

    fn wait(&self, now: Instant) -> Step {
        Step::Wait(self.next_look.min(now + TICK).max(now))
    }

    fn fill(&mut self, now: Instant) -> Step {
        if self.draining || (self.ended && self.dispatcher.is_empty()) {
            self.phase = Phase::Finishing;
            return self.finish(now);
        }
        if !self.dispatcher.has_due(now) {
            let due = self.dispatcher.next_due_at().map(|due| due.saturating_duration_since(now));
            let wait = due.unwrap_or(TICK).min(TICK);
            self.filled = false;
            return match self.ended {
                true => Step::Wait(now + wait),
                false => self.poll(wait, now),
            };
        }
        if !self.filled && self.dispatcher.room() != PollLimit::NOTHING {
            return self.poll(Duration::ZERO, now);
        }
        match self.rest_until.filter(|until| *until > now) {
            Some(_) if !std::mem::replace(&mut self.rest_told, true) => {
                Step::Report(Report::BatchInterval(self.batch_interval))
            }
            Some(until) => Step::Wait(until.min(self.next_look).max(now)),
            None => {
                self.phase = Phase::Delivering;
                if self.intake == Intake::Batch || self.ended {
                    self.dispatcher.close();
                }
                Step::Deliver
            }
        }
    }

    fn deliver(&mut self, now: Instant) -> Step {
        if self.dispatcher.is_idle() {
            return Step::Join;
        }
        if self.takes_more()
            && (self.dispatcher.wants_more() || (self.dispatcher.has_filled() && !self.cannot_throttle))
        {
            let wait = self.next_look.saturating_duration_since(now).min(TICK);
            return self.poll(wait, now);
        }
        self.wait(now)
    }

    /// Whether records are admitted while workers send.
    pub(crate) fn takes_more(&self) -> bool {
        self.intake == Intake::Sliding && !self.ended && !self.draining
    }

    /// All workers have left.
    pub fn joined(&mut self, now: Instant) {
        self.phase = Phase::Filling;
        self.filled = self.ended;
        if self.intake == Intake::Batch {
            self.dispatcher.open();
            self.rest_until = now.checked_add(self.batch_interval).filter(|_| !self.batch_interval.is_zero());
            self.rest_told = false;
        }
        if self.commits.failing_since.is_none() {
            self.commits.due = now;
        }
    }

    /// The last dead letters, the last commit.
    fn finish(&mut self, now: Instant) -> Step {
        if self.finish_by.is_none() {
            self.finish_by = self.ending_since.map(|_| now + FINISH_TIMEOUT);
            if self.finish_by.is_some() && self.commits.failing_since.is_none() {
                self.commits.due = now;
            }
        }
        if self.finish_by.is_some() {
            // A backoff that grew during an outage must not outlast the little time that is left.
            self.commits.due_within(LAST_RETRY, now);
            self.letters.due_within(LAST_RETRY, now);
        }
        let has_dead_letters =
            (self.dispatcher.has_dead_letters() && !self.dead_letters_closed) || self.letters.is_under_way;
        let has_commits = self.commits.is_under_way || !self.dispatcher.uncommitted().is_empty();
        if !has_dead_letters && !has_commits {
            return Step::End;
        }
        let out_of_patience = self.patience.zip(self.commits.failing_since);
        let out_of_patience = out_of_patience.and_then(|(patience, since)| since.checked_add(patience));
        let deadline = self.finish_by.or(out_of_patience);
        if deadline.is_some_and(|deadline| now >= deadline) {
            let uncommitted = self.dispatcher.uncommitted();
            if has_commits && !uncommitted.is_empty() {
                let cause = self.commit_error.take().unwrap_or_else(|| "no answer came in time".into());
                let error = RunError::Uncommitted(Checkpoint::list(&uncommitted), cause);
                // What was delivered is sent again: that is worth more than why it ended.
                let before = self.failure.take();
                self.failure = Some(match before {
                    Some(before @ (RunError::Commit(_) | RunError::Uncommitted(..))) => before,
                    Some(before) => RunError::Twice(Box::new(before), Box::new(error)),
                    None => error,
                });
            }
            return Step::End;
        }
        let until = deadline.map_or(now + TICK, |deadline| deadline.min(now + TICK));
        // Invariant 11.
        assert!(
            self.finish_by.is_none_or(|finish_by| until <= finish_by),
            "no wait outlasts the end of the run"
        );
        Step::Wait(until)
    }

    // ---- the end -------------------------------------------------------------------------------------------

    /// Why the run ended before its work was done.
    pub fn take_failure(&mut self) -> Option<RunError> {
        self.failure.take()
    }

    /// Whether nothing new is sent any more.
    pub fn is_draining(&self) -> bool {
        self.draining
    }
}
