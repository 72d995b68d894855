//! The state machine of one partition: it has no threads, clocks or sockets.
//!
//! Its inputs are calls, its next request is its [`question`](Cursor::question), and calls return its [`Output`]s. It
//! is in one [`Phase`]:
//!
//! ```text
//!   Unresolved --committed--> Placing --bounds--> Checking --epoch_end--> Reading
//!        |                      ^  |                ^   |                  |  |
//!        |                      |  +----> Outside --+   +-- cut ---> Placing  |
//!        |                      |            ^------ out_of_range ----+       |
//!        |                      |                       +-- unknown --> Diverged --> Reading
//!        |                      +------------- another topic -----------------+
//!        +-> any phase: Revoked (its records may finish), Stopped (until a restart)
//! ```
//!
//! Invariants, each asserted by the model in `tests/cursor`:
//! - A position, an epoch or a note is never applied to another log than the one it came from: once another topic id is
//!   seen, nothing read of the former topic is delivered or committed.
//! - No record of the log is skipped without an [`Output::Moved`] that names the gap.
//! - A response counts only if nothing has changed since its request: their [tickets](Ask::ticket) are equal.
//!
//! | room | what it is |
//! |---|---|
//! | `types` | inputs and outputs |
//! | `log` | changes of the log |
//! | `divergence` | truncated and restored logs |

mod divergence;
mod log;
mod types;

use crate::kafka::config::{Reset, Start};
use crate::kafka::protocol::{ErrorCode, Uuid};
pub use divergence::EPOCHS_LAG;
use divergence::Inquiry;
use std::time::{Duration, Instant};
pub use types::{
    Ask, Beginning, Bounds, Committed, EpochEnd, OngoingTrouble, Output, Phase, PositionChange, Question,
    Rules, Serials, Trouble,
};

/// How many leader epochs of a partition are remembered.
const MOST_EPOCHS: usize = 16;
/// The shortest and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The pause after an authorization failure.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(5);
/// An error that Kafka's own client does not retry stops its partition after this long.
const LASTING: Duration = Duration::from_secs(60);
/// How long the leader is used after a preferred replica failed.
const REPLICA_REST: Duration = Duration::from_secs(60);
/// How often a corrupt batch is fetched before its partition is stopped: the network may have corrupted it.
pub const CORRUPT_ATTEMPTS: u32 = 5;

/// The pause after this many consecutive failures: `min`, doubled each time, up to `max`.
pub(super) fn doubled((min, max): (Duration, Duration), failures: u32) -> Duration {
    min.saturating_mul(1 << failures.min(6).saturating_sub(1)).min(max)
}

/// The pending [`Output::Begins`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Begin {
    text: String,
    uncommitted: bool,
}

/// The state of one partition.
#[derive(Clone, Debug)]
pub struct Cursor {
    phase: Phase,
    /// The id of the topic; zero if it is not known.
    topic: Uuid,
    /// Identifies the assignment that batches and commits belong to. It changes with each [`Output::Begins`].
    assignment: u64,
    /// Identifies the requests that count at present.
    ticket: u64,
    /// The next offset to fetch.
    next: i64,
    /// Everything before this offset has been delivered.
    handed: i64,
    /// The committed position, as far as is known: no record before it is ever wanted again.
    committed: i64,
    /// The offset after the last record that the commit's note says is done.
    reach: i64,
    /// The leader epochs of the records that were read, each with its first known offset; both ascend. The last
    /// [`MOST_EPOCHS`].
    epochs: Vec<(i64, i32)>,
    leader: Option<(i32, i32)>,
    /// The epoch of the last leader, which outlives a moment without one, as during an election.
    last_leader_epoch: Option<i32>,
    /// The preferred replica, and until when to use it (KIP-392).
    replica: Option<(i32, Instant)>,
    /// After a replica failed: until then the leader is used.
    no_replica_before: Option<Instant>,
    end: Option<i64>,
    log_end: Option<i64>,
    not_before: Option<Instant>,
    failures: u32,
    ongoing: Option<OngoingTrouble>,
    /// The position is outside the log; the epochs are checked first, to find where the logs part.
    is_outside: bool,
    /// While it checks: the epoch in question.
    inquiry: Inquiry,
    /// An [`Output::Begins`] was given.
    announced: bool,
    /// The [`Output::Begins`] to give once it can be read.
    pending: Option<Begin>,
    /// Nothing is fetched until its position is committed.
    awaits_commit: bool,
    throttled: bool,
}

impl Cursor {
    /// A newly assigned partition.
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
            inquiry: Inquiry::Latest,
            announced: false,
            pending: Some(Begin::default()),
            awaits_commit: false,
            throttled: false,
        }
    }

    // ---- queries -------------------------------------------------------------------------------------------

    /// Its phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The id of the topic; zero if it is not known.
    pub fn topic(&self) -> Uuid {
        self.topic
    }

    /// The number of its present assignment. Batches and commits of another one don't count.
    pub fn assignment(&self) -> u64 {
        self.assignment
    }

    /// The next offset to fetch.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The leader's broker id and epoch, from the metadata.
    pub fn leader(&self) -> Option<(i32, i32)> {
        self.leader
    }

    /// With [`Rules::until_end`]: the offset where it ends.
    pub(crate) fn end(&self) -> Option<i64> {
        self.end
    }

    /// The end offset of its log, as far as is known.
    pub fn log_end(&self) -> Option<i64> {
        self.log_end
    }

    /// Its present trouble.
    pub fn trouble(&self) -> Option<&OngoingTrouble> {
        self.ongoing.as_ref()
    }

    /// Whether an [`Output::Begins`] was given.
    pub fn is_announced(&self) -> bool {
        self.announced
    }

    /// Whether its records are not wanted for now.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Whether everything up to its end has been fetched.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Reading && self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether it stays unreadable until somebody changes something.
    pub fn is_unreadable(&self) -> bool {
        self.phase == Phase::Stopped
            || (self.is_forbidden() && !self.throttled && self.phase != Phase::Revoked)
    }

    fn is_forbidden(&self) -> bool {
        let forbidden = Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        self.ongoing.as_ref().is_some_and(|ongoing| ongoing.trouble == forbidden)
    }

    /// The broker to fetch from.
    pub fn broker(&self, now: Instant) -> Option<i32> {
        let replica = self.replica.filter(|(_, until)| now < *until).map(|(id, _)| id);
        replica.or(self.leader.map(|(id, _)| id))
    }

    /// Until when a preferred replica is used instead of the leader.
    pub(crate) fn replica_until(&self) -> Option<Instant> {
        self.replica.map(|(_, until)| until)
    }

    /// Whether a request about it may become due by time alone.
    pub fn is_tried_again(&self) -> bool {
        let is_idle = matches!(self.phase, Phase::Unresolved | Phase::Revoked | Phase::Stopped);
        let has_enough =
            self.phase == Phase::Reading && (self.throttled || self.awaits_commit || self.has_ended());
        !is_idle && !has_enough
    }

    /// The time of the next retry, after a failure.
    pub fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// The leader epoch of the last record before `offset`; -1 if it is not known any more.
    pub fn epoch_before(&self, offset: i64) -> i32 {
        self.epochs.iter().rev().find(|(from, _)| *from < offset).map_or(-1, |(_, epoch)| *epoch)
    }

    /// The request that it needs answered now, if any.
    pub fn question(&self, now: Instant) -> Option<(Question, Ask)> {
        let question = match &self.phase {
            _ if self.not_before.is_some_and(|at| now < at) => return None,
            Phase::Unresolved => Question::Committed,
            Phase::Placing(Beginning::First(Start::Timestamp(at))) => {
                Question::Bounds { uncommitted: false, at: Some(*at) }
            }
            Phase::Placing(_) => Question::Bounds { uncommitted: false, at: None },
            Phase::Outside | Phase::Diverged => Question::Bounds { uncommitted: true, at: None },
            Phase::Checking => Question::EpochEnd(self.epoch_in_question()),
            Phase::Reading | Phase::Revoked | Phase::Stopped => return None,
        };
        Some((question, self.ask()))
    }

    /// Whether records should be fetched now.
    pub fn wants_records(&self, now: Instant) -> bool {
        self.phase == Phase::Reading
            && !self.throttled
            && !self.awaits_commit
            && !self.has_ended()
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// Identifies a request sent now.
    pub fn ask(&self) -> Ask {
        Ask { ticket: self.ticket, next: self.next }
    }

    /// Whether the response to a request still counts.
    pub fn is_current(&self, ask: Ask) -> bool {
        self.ticket == ask.ticket && self.next == ask.next
    }

    // ---- the start -----------------------------------------------------------------------------------------

    /// The committed position was looked up in `cluster`: the position, or where to start without one.
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
                    // The note names the log before the metadata does.
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

    /// The bounds of the log were looked up.
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
            Phase::Diverged => out.extend(self.diverged(bounds, rules, serials)),
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
                // Offset 0, whatever the log start is: a lagging leader would report that of the former log.
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

    /// Begins at an uncommitted position, without known epochs.
    fn begin_at(&mut self, next: i64, serials: &mut Serials) -> Vec<Output> {
        (self.next, self.handed, self.committed) = (next, next, next);
        self.epochs.clear();
        self.begins_at(next);
        self.check(serials)
    }

    /// Moves to a position and prepares its [`Output::Begins`].
    fn begins_at(&mut self, next: i64) {
        (self.next, self.reach, self.is_outside) = (next, next, false);
        self.pending = Some(Begin { text: String::new(), uncommitted: true });
    }

    /// Checks the log before it is read, if any epochs are known.
    fn check(&mut self, serials: &mut Serials) -> Vec<Output> {
        if self.epochs.is_empty() {
            return self.checked(serials);
        }
        self.enter(Phase::Checking, serials);
        Vec::new()
    }

    /// The epochs match. If the position seemed to be outside the log, its bounds are still to be checked.
    fn checked(&mut self, serials: &mut Serials) -> Vec<Output> {
        if !std::mem::take(&mut self.is_outside) {
            return self.read(serials);
        }
        self.enter(Phase::Outside, serials);
        Vec::new()
    }

    /// Starts reading.
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

    /// The topic was recreated: nothing read of the former one counts from now on.
    fn begin_new_topic(&mut self, position: i64, serials: &mut Serials) {
        self.assignment = serials.draw();
        self.epochs.clear();
        (self.end, self.log_end, self.replica) = (None, None, None);
        self.pending = Some(Begin::default());
        self.enter(Phase::Placing(Beginning::NewTopic(position)), serials);
    }

    // ---- records -------------------------------------------------------------------------------------------

    /// A batch was fetched. `next` is the offset after it; `epoch` its first offset and leader epoch.
    pub fn fetched(&mut self, next: i64, epoch: Option<(i64, i32)>) {
        self.next = self.next.max(next);
        if let Some((from, epoch)) = epoch {
            self.note_epoch(from, epoch);
        }
    }

    /// A fetch succeeded. `log_end` is the end of the log, if the response has it.
    pub fn fetch_succeeded(&mut self, log_end: Option<i64>) -> Vec<Output> {
        self.log_end = log_end.or(self.log_end);
        self.recovered()
    }

    /// Batches from this offset on were dropped: they are fetched again once they are wanted.
    pub fn rewind(&mut self, next: i64, serials: &mut Serials) {
        self.next = next;
        self.ticket = serials.draw();
    }

    /// Everything before this offset has been delivered.
    pub fn handed_to(&mut self, offset: i64) {
        self.handed = self.handed.max(offset);
    }

    /// The position, if it has moved past offsets without a record to deliver since the last call.
    pub fn skipped(&mut self) -> Option<i64> {
        // Records after the end are not delivered, so they are not skipped either.
        let to = self.end.map_or(self.next, |end| self.next.min(end));
        let passed = self.phase == Phase::Reading && self.handed < to;
        passed.then(|| {
            self.handed = to;
            to
        })
    }

    /// This position was committed under the present assignment.
    pub fn committed_to(&mut self, next: i64) {
        self.committed = self.committed.max(next);
        if std::mem::take(&mut self.awaits_commit) {
            self.not_before = None;
        }
    }

    /// The coordinator refused to commit its position.
    pub fn commit_refused(&mut self, code: ErrorCode, now: Instant) {
        if self.awaits_commit {
            self.note_failure(Trouble::Refused(code), now);
        }
    }

    /// Stops fetching records while they are not wanted, or resumes.
    pub fn throttle(&mut self, throttled: bool) {
        self.throttled = throttled;
    }

    /// Fetches from a nearer replica until then.
    pub fn prefer_replica(&mut self, replica: i32, until: Instant) {
        self.replica = Some((replica, until));
    }

    /// Whether to fetch from the leader although a nearer replica may be available.
    pub fn avoids_replicas(&self, now: Instant) -> bool {
        self.no_replica_before.is_some_and(|at| now < at)
    }

    // ---- failures and the end ------------------------------------------------------------------------------

    /// A request failed.
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

    /// A question was answered, which ends any trouble but OFFSET_OUT_OF_RANGE.
    fn answered(&mut self) -> Vec<Output> {
        let outside = Trouble::Refused(ErrorCode::OFFSET_OUT_OF_RANGE);
        if self.ongoing.as_ref().is_some_and(|ongoing| ongoing.trouble == outside) {
            return Vec::new();
        }
        self.recovered()
    }

    /// Ends the present trouble.
    fn recovered(&mut self) -> Vec<Output> {
        (self.failures, self.not_before) = (0, None);
        let told = self.ongoing.take().is_some_and(|ongoing| ongoing.told);
        if told { vec![Output::Recovered] } else { Vec::new() }
    }

    /// Its trouble was reported.
    pub fn trouble_told(&mut self) {
        if let Some(ongoing) = &mut self.ongoing {
            ongoing.told = true;
        }
    }

    /// Stops reading it; batches that were fetched are not delivered.
    pub(crate) fn stop(&mut self, trouble: Trouble, serials: &mut Serials) -> Vec<Output> {
        self.enter(Phase::Stopped, serials);
        vec![Output::Stopped(trouble)]
    }

    /// The partition was revoked: its records may finish.
    pub fn revoke(&mut self, serials: &mut Serials) {
        self.enter(Phase::Revoked, serials);
    }

    fn enter(&mut self, phase: Phase, serials: &mut Serials) {
        (self.phase, self.inquiry) = (phase, Inquiry::Latest);
        self.ticket = serials.draw();
    }
}
