//! Where one partition is read: a machine without threads, clocks or sockets.
//!
//! What happens to it comes as a call; what it wants to know next it [asks](Cursor::question); what others have to
//! hear of it comes back as [`Output`]s. It is in one [`Phase`]:
//!
//! ```text
//!   Unresolved --committed--> Placing --bounds--> Checking --epoch_end--> Reading
//!        |                      ^  |                ^   |                  |  |
//!        |                      |  +----> Outside --+   +-- cut ---> Placing  |
//!        |                      |            ^------ out_of_range ----+       |
//!        |                      +------------- another topic -----------------+
//!        +-> any phase: Revoked (its records may finish), Stopped (needs a person)
//! ```
//!
//! Invariants, each asserted by the model in `tests/cursor`:
//! - A position, an epoch or a note of what is done is never applied to another log than the one it came from: from
//!   the moment another topic id is seen, nothing that was read of the former one is handed over or committed.
//! - No record of the log is passed over without an [`Output::Moved`] that names the gap.
//! - An answer counts only if nothing has changed since it was asked for: its [ticket](Ask::ticket) says so.

mod log;
mod types;

use crate::kafka::config::{Reset, Start};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::time::{Duration, Instant};
pub use types::{
    Ask, Beginning, Bounds, Committed, EpochEnd, OngoingTrouble, Output, Phase, PositionChange, Question,
    Rules, Serials, Trouble,
};

/// So many leader epochs of a partition are remembered.
const MOST_EPOCHS: usize = 16;
/// The time between two tries of what failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The time between two tries of a topic that we have no right to read.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(5);
/// An error that Kafka itself does not call retriable stops its partition after this long.
const LASTING: Duration = Duration::from_secs(60);
/// A replica that failed is not fetched from for so long.
const REPLICA_REST: Duration = Duration::from_secs(60);
/// A corrupt batch is asked for so often before its partition is stopped: it may be the way that corrupts it.
pub const CORRUPT_ATTEMPTS: u32 = 5;

/// The pause before the next try of what has failed so often: the shorter time, doubled each time, up to the longer.
pub(super) fn doubled((min, max): (Duration, Duration), failures: u32) -> Duration {
    min.saturating_mul(1 << failures.min(6).saturating_sub(1)).min(max)
}

/// What is told to whoever polls before any record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Begin {
    text: String,
    uncommitted: bool,
}

/// Where a partition is read.
#[derive(Clone, Debug)]
pub struct Cursor {
    phase: Phase,
    /// The id of the topic that is read; zero where none is known.
    topic: Uuid,
    /// The number under which whoever polls was told of it: of its batches, and of what is committed.
    assignment: u64,
    /// Of what is asked at present.
    ticket: u64,
    /// The next offset to fetch.
    next: i64,
    /// Everything before it has been handed over to whoever polls.
    handed: i64,
    /// What is committed, as far as we know: before it nothing is ever wanted again.
    committed: i64,
    /// Before it, records may be known to be done that were not read since it began.
    reach: i64,
    /// The leader epochs under which what was read was written, each with the first offset that is known to be of it;
    /// both ascend. The newest [`MOST_EPOCHS`].
    epochs: Vec<(i64, i32)>,
    leader: Option<(i32, i32)>,
    /// The epoch of the last leader there was: an election often begins with a moment without one.
    last_leader_epoch: Option<i32>,
    /// A replica to fetch from instead, and until when (KIP-392).
    replica: Option<(i32, Instant)>,
    /// A replica failed: until then the leader is fetched from.
    no_replica_before: Option<Instant>,
    end: Option<i64>,
    log_end: Option<i64>,
    not_before: Option<Instant>,
    failures: u32,
    ongoing: Option<OngoingTrouble>,
    /// The position is known to lie outside of the log: first the epochs tell where both part.
    is_outside: bool,
    /// Whether whoever polls knows of the partition.
    announced: bool,
    /// What whoever polls is told once it can be read.
    pending: Option<Begin>,
    /// Nothing is fetched before its position is committed.
    awaits_commit: bool,
    throttled: bool,
}

impl Cursor {
    /// The partition is ours; where it begins is still to be found out.
    pub fn new(serials: &mut Serials) -> Self {
        Self {
            phase: Phase::Unresolved,
            topic: Uuid::ZERO,
            assignment: serials.draw(),
            ticket: serials.draw(),
            next: 0,
            handed: 0,
            committed: 0,
            reach: 0,
            epochs: Vec::new(),
            leader: None,
            last_leader_epoch: None,
            no_replica_before: None,
            replica: None,
            end: None,
            log_end: None,
            not_before: None,
            failures: 0,
            ongoing: None,
            is_outside: false,
            announced: false,
            pending: Some(Begin::default()),
            awaits_commit: false,
            throttled: false,
        }
    }

    // ---- what there is to see ------------------------------------------------------------------------------

    /// What it waits for.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The id of the topic that is read; zero where none is known.
    pub fn topic(&self) -> Uuid {
        self.topic
    }

    /// The number of its present assignment: batches and commits of another one don't count.
    pub fn assignment(&self) -> u64 {
        self.assignment
    }

    /// The next offset to fetch.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The leader, by the metadata, and its epoch.
    pub fn leader(&self) -> Option<(i32, i32)> {
        self.leader
    }

    /// With `--until-end`: where it ends.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Where its log ends, as far as is known.
    pub fn log_end(&self) -> Option<i64> {
        self.log_end
    }

    /// Since when it is in trouble, and in which.
    pub fn trouble(&self) -> Option<&OngoingTrouble> {
        self.ongoing.as_ref()
    }

    /// Whether whoever polls knows of it.
    pub fn is_announced(&self) -> bool {
        self.announced
    }

    /// Whoever polls has enough of it for now.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Everything up to its end has been fetched.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Reading && self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether a person has to do something before it is read.
    pub fn is_unreadable(&self) -> bool {
        self.phase == Phase::Stopped
            || (self.is_forbidden() && !self.throttled && self.phase != Phase::Revoked)
    }

    fn is_forbidden(&self) -> bool {
        let forbidden = Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        self.ongoing.as_ref().is_some_and(|ongoing| ongoing.trouble == forbidden)
    }

    /// The broker to fetch from at `now`.
    pub fn broker(&self, now: Instant) -> Option<i32> {
        let replica = self.replica.filter(|(_, until)| now < *until).map(|(id, _)| id);
        replica.or(self.leader.map(|(id, _)| id))
    }

    /// Until when a replica is fetched from instead of the leader.
    pub fn replica_until(&self) -> Option<Instant> {
        self.replica.map(|(_, until)| until)
    }

    /// Whether time alone makes something be asked about it.
    pub fn is_tried_again(&self) -> bool {
        let is_idle = matches!(self.phase, Phase::Unresolved | Phase::Revoked | Phase::Stopped);
        let has_enough =
            self.phase == Phase::Reading && (self.throttled || self.awaits_commit || self.has_ended());
        !is_idle && !has_enough
    }

    /// When it is tried again, if it waits for that.
    pub fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// The leader epoch of the last record before `offset`; -1 where it is not known any more.
    pub fn epoch_before(&self, offset: i64) -> i32 {
        self.epochs.iter().rev().find(|(from, _)| *from < offset).map_or(-1, |(_, epoch)| *epoch)
    }

    /// What it wants to know now, if anything.
    pub fn question(&self, now: Instant) -> Option<(Question, Ask)> {
        let question = match &self.phase {
            _ if self.not_before.is_some_and(|at| now < at) => return None,
            Phase::Unresolved => Question::Committed,
            Phase::Placing(Beginning::First(Start::Timestamp(at))) => {
                Question::Bounds { uncommitted: false, at: Some(*at) }
            }
            Phase::Placing(_) => Question::Bounds { uncommitted: false, at: None },
            Phase::Outside => Question::Bounds { uncommitted: true, at: None },
            Phase::Checking => Question::EpochEnd(self.epochs.last().map_or(-1, |(_, epoch)| *epoch)),
            Phase::Reading | Phase::Revoked | Phase::Stopped => return None,
        };
        Some((question, self.ask()))
    }

    /// Whether it wants records now.
    pub fn wants_records(&self, now: Instant) -> bool {
        self.phase == Phase::Reading
            && !self.throttled
            && !self.awaits_commit
            && !self.has_ended()
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// A fetch that is asked for now.
    pub fn ask(&self) -> Ask {
        Ask { ticket: self.ticket, next: self.next }
    }

    /// Whether what was asked still counts.
    pub fn is_current(&self, ask: Ask) -> bool {
        self.ticket == ask.ticket && self.next == ask.next
    }

    // ---- where it begins -----------------------------------------------------------------------------------

    /// What the group has committed in this cluster, or where to begin without.
    pub fn committed_was(
        &mut self,
        ask: Ask,
        found: Result<Committed, Start>,
        cluster: &str,
        serials: &mut Serials,
    ) -> Vec<Output> {
        if self.phase != Phase::Unresolved || !self.is_current(ask) {
            return Vec::new();
        }
        let mut told = Vec::new();
        let committed = match found {
            Ok(committed) => committed,
            Err(start) => {
                self.enter(Phase::Placing(Beginning::First(start)), serials);
                return told;
            }
        };
        let next = committed.next;
        let mut begin = Begin::default();
        self.reach = next;
        self.epochs.clear();
        self.note_epoch(next.saturating_sub(1), committed.epoch);
        if let Some(note) = committed.note {
            let is_copy = note.position != next || (note.cluster != cluster && !note.cluster.is_empty());
            let is_of = |topic: Uuid| topic != Uuid::ZERO && self.topic != Uuid::ZERO;
            if is_copy {
                told.push(Output::Moved(PositionChange::Copied { position: next }, next));
            } else if is_of(note.topic) && note.topic != self.topic {
                self.begin_new_topic(next, serials);
                return told;
            } else {
                if self.topic == Uuid::ZERO {
                    // Of which log the position is, is known before which one has the name now.
                    self.topic = note.topic;
                }
                begin.text = note.text;
                self.reach = note.reach;
                if note.reach > next {
                    self.note_epoch(note.reach.saturating_sub(1), note.epoch);
                }
            }
        }
        self.pending = Some(begin);
        self.enter(Phase::Placing(Beginning::At(next)), serials);
        told
    }

    /// Where the log begins and ends.
    pub fn bounds_were(
        &mut self,
        ask: Ask,
        bounds: Bounds,
        rules: &Rules,
        now: Instant,
        serials: &mut Serials,
    ) -> Vec<Output> {
        if !self.is_current(ask) {
            return Vec::new();
        }
        let mut out = self.answered();
        match self.phase.clone() {
            Phase::Placing(beginning) => {
                self.log_end = Some(bounds.end);
                if rules.until_end {
                    self.end = Some(self.end.map_or(bounds.end, |end| end.min(bounds.end)));
                }
                out.extend(self.place(beginning, bounds, rules, serials));
            }
            Phase::Outside => out.extend(self.reset(bounds, rules, now, serials)),
            _ => {}
        }
        out
    }

    fn place(
        &mut self,
        beginning: Beginning,
        bounds: Bounds,
        rules: &Rules,
        serials: &mut Serials,
    ) -> Vec<Output> {
        match beginning {
            Beginning::First(start) => {
                let next = match start {
                    Start::Earliest => bounds.first,
                    Start::Latest => bounds.end,
                    Start::Timestamp(_) => bounds.at.unwrap_or(bounds.end),
                };
                let mut out = vec![Output::Moved(PositionChange::First { next, bounds }, next)];
                out.extend(self.begin_at(next, serials));
                out
            }
            Beginning::NewTopic(position) if rules.reset == Reset::Fail => {
                vec![Output::ResetForbidden(PositionChange::TopicRecreated { position })]
            }
            Beginning::NewTopic(position) => {
                // Not where the leader says that the log begins: one that lags behind speaks of the former log.
                let mut out = vec![Output::Moved(PositionChange::TopicRecreated { position }, 0)];
                out.extend(self.begin_at(0, serials));
                out
            }
            Beginning::At(next) => {
                (self.next, self.handed, self.committed) = (next, next, next);
                self.is_outside = !(bounds.first..=bounds.end).contains(&next);
                self.check(serials)
            }
        }
    }

    /// Begins at a position that nobody has committed, with nothing known of what was written before it.
    fn begin_at(&mut self, next: i64, serials: &mut Serials) -> Vec<Output> {
        (self.next, self.handed, self.committed) = (next, next, next);
        self.epochs.clear();
        self.begins_at(next);
        self.check(serials)
    }

    /// Whoever polls will be told that it begins here, with nothing done beyond.
    fn begins_at(&mut self, next: i64) {
        (self.next, self.reach, self.is_outside) = (next, next, false);
        self.pending = Some(Begin { text: String::new(), uncommitted: true });
    }

    /// The log is to be checked before it is read, as far as there is something to hold against it.
    fn check(&mut self, serials: &mut Serials) -> Vec<Output> {
        if self.epochs.is_empty() {
            return self.checked(serials);
        }
        self.enter(Phase::Checking, serials);
        Vec::new()
    }

    /// The leader epochs have nothing against its position; where the log begins and ends may have.
    fn checked(&mut self, serials: &mut Serials) -> Vec<Output> {
        if !std::mem::take(&mut self.is_outside) {
            return self.read(serials);
        }
        self.enter(Phase::Outside, serials);
        Vec::new()
    }

    /// It can be read.
    fn read(&mut self, serials: &mut Serials) -> Vec<Output> {
        self.enter(Phase::Reading, serials);
        let Some(Begin { text, uncommitted }) = self.pending.take() else { return Vec::new() };
        self.assignment = serials.draw();
        self.announced = true;
        self.throttled = false;
        self.awaits_commit = uncommitted;
        (self.handed, self.committed) = (self.next, self.next);
        vec![Output::Begins { next: self.next, text, uncommitted }]
    }

    /// Another topic has the name: nothing that was read of the former one counts from now on.
    fn begin_new_topic(&mut self, position: i64, serials: &mut Serials) {
        self.assignment = serials.draw();
        self.epochs.clear();
        (self.end, self.log_end, self.replica) = (None, None, None);
        self.pending = Some(Begin::default());
        self.enter(Phase::Placing(Beginning::NewTopic(position)), serials);
    }

    // ---- records -------------------------------------------------------------------------------------------

    /// A batch was fetched: it goes on behind it. `epoch` is the leader epoch under which it was written, with its
    /// first offset.
    pub fn fetched(&mut self, next: i64, epoch: Option<(i64, i32)>) {
        self.next = self.next.max(next);
        if let Some((from, epoch)) = epoch {
            self.note_epoch(from, epoch);
        }
    }

    /// A fetch went well; the log ends here.
    pub fn fetch_succeeded(&mut self, log_end: Option<i64>) -> Vec<Output> {
        self.log_end = log_end.or(self.log_end);
        self.recovered()
    }

    /// What was fetched beyond this offset is dropped, and fetched again once it is wanted.
    pub fn rewind(&mut self, next: i64, serials: &mut Serials) {
        self.next = next;
        self.ticket = serials.draw();
    }

    /// Everything before this offset has been handed over.
    pub fn handed_to(&mut self, offset: i64) {
        self.handed = self.handed.max(offset);
    }

    /// Up to where there is nothing more to hand over though the last record lies before, if that is news.
    pub fn skipped(&mut self) -> Option<i64> {
        // What lies behind the end is not handed over, so it isn't passed either.
        let to = self.end.map_or(self.next, |end| self.next.min(end));
        let passed = self.phase == Phase::Reading && self.handed < to;
        passed.then(|| {
            self.handed = to;
            to
        })
    }

    /// This much is committed under the present assignment.
    pub fn committed_to(&mut self, next: i64) {
        self.committed = self.committed.max(next);
        if std::mem::take(&mut self.awaits_commit) {
            self.not_before = None;
        }
    }

    /// The coordinator does not take its position.
    pub fn commit_refused(&mut self, code: ErrorCode, now: Instant) {
        if self.awaits_commit {
            self.note_failure(Trouble::Refused(code), now);
        }
    }

    /// Whoever polls has enough of it for now, or not.
    pub fn throttle(&mut self, throttled: bool) {
        self.throttled = throttled;
    }

    /// A replica that is nearer is to be fetched from, or none.
    pub fn prefer_replica(&mut self, replica: i32, until: Instant) {
        self.replica = Some((replica, until));
    }

    /// Whether the leader is to be fetched from though a replica may be nearer.
    pub fn avoids_replicas(&self, now: Instant) -> bool {
        self.no_replica_before.is_some_and(|at| now < at)
    }

    // ---- trouble and the end -------------------------------------------------------------------------------

    /// Nothing came of what was asked.
    pub fn failed(&mut self, ask: Ask, trouble: Trouble, now: Instant, serials: &mut Serials) -> Vec<Output> {
        if !self.is_current(ask) {
            return Vec::new();
        }
        if self.replica.take().is_some() {
            self.no_replica_before = Some(now + REPLICA_REST);
        }
        self.note_failure(trouble.clone(), now);
        let lasts = match (&trouble, &self.ongoing) {
            (Trouble::TooLarge(_), _) => true,
            (Trouble::Corrupt(_), Some(ongoing)) => ongoing.times >= CORRUPT_ATTEMPTS,
            (Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED), _) => false,
            (Trouble::Refused(code), Some(ongoing)) => {
                !code.is_retriable() && now.saturating_duration_since(ongoing.same_since) >= LASTING
            }
            _ => false,
        };
        if lasts { self.stop(trouble, serials) } else { Vec::new() }
    }

    fn note_failure(&mut self, trouble: Trouble, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let bounds = match trouble {
            Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => (FORBIDDEN_RETRY, FORBIDDEN_RETRY),
            _ => RETRY,
        };
        self.not_before = Some(now + doubled(bounds, self.failures));
        match &mut self.ongoing {
            Some(ongoing) if ongoing.trouble.is_like(&trouble) => {
                ongoing.trouble = trouble;
                ongoing.times = ongoing.times.saturating_add(1);
            }
            Some(ongoing) => (ongoing.trouble, ongoing.same_since, ongoing.times) = (trouble, now, 1),
            None => {
                self.ongoing =
                    Some(OngoingTrouble { trouble, since: now, same_since: now, times: 1, told: false });
            }
        }
    }

    /// A question was answered.
    fn answered(&mut self) -> Vec<Output> {
        let outside = Trouble::Refused(ErrorCode::OFFSET_OUT_OF_RANGE);
        if self.ongoing.as_ref().is_some_and(|ongoing| ongoing.trouble == outside) {
            return Vec::new();
        }
        self.recovered()
    }

    /// What was in trouble goes well.
    fn recovered(&mut self) -> Vec<Output> {
        (self.failures, self.not_before) = (0, None);
        let told = self.ongoing.take().is_some_and(|ongoing| ongoing.told);
        if told { vec![Output::Recovered] } else { Vec::new() }
    }

    /// Its trouble is told.
    pub fn trouble_told(&mut self) {
        if let Some(ongoing) = &mut self.ongoing {
            ongoing.told = true;
        }
    }

    /// Nothing more is read of it, and nothing that was read is handed over.
    pub fn stop(&mut self, trouble: Trouble, serials: &mut Serials) -> Vec<Output> {
        self.enter(Phase::Stopped, serials);
        vec![Output::Stopped(trouble)]
    }

    /// It has to be given up: its records may finish.
    pub fn revoke(&mut self, serials: &mut Serials) {
        self.enter(Phase::Revoked, serials);
    }

    fn enter(&mut self, phase: Phase, serials: &mut Serials) {
        self.phase = phase;
        self.ticket = serials.draw();
    }

    /// Keeps an epoch that is new.
    fn note_epoch(&mut self, from: i64, epoch: i32) {
        let last = self.epochs.last().copied();
        if epoch < 0 || last.is_some_and(|(offset, last)| offset >= from || last >= epoch) {
            return;
        }
        self.epochs.push((from, epoch));
        let surplus = self.epochs.len().saturating_sub(MOST_EPOCHS);
        self.epochs.drain(..surplus);
    }
}
