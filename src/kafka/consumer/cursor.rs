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
//! - No record of the log is passed over without an [`Output::Told`] that names the gap.
//! - An answer counts only if nothing has changed since it was asked for: its [ticket](Ask::ticket) says so.

use super::note::Note;
use crate::kafka::config::{Reset, Start};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::fmt;
use std::time::{Duration, Instant};

/// So many leader epochs of a partition are remembered.
const MOST_EPOCHS: usize = 16;
/// The time between two tries of what failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The time between two tries of a topic that we have no right to read.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(5);
/// An error that Kafka itself does not call retriable stops its partition after this long.
const LASTING: Duration = Duration::from_secs(60);
/// A corrupt batch is asked for so often before its partition is stopped: it may be the way that corrupts it.
pub const CORRUPT_ATTEMPTS: u32 = 5;

/// Hands out numbers, each once.
#[derive(Debug, Default)]
pub struct Serials(u64);

impl Serials {
    /// The next one; never 0.
    pub fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The operator's rules.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What to do where the position is outside of the log.
    pub reset: Reset,
    /// The partition comes to an end behind what is there at the start.
    pub until_end: bool,
    /// Positions are committed.
    pub commits: bool,
}

/// What a cursor waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Where the group left off.
    Unresolved,
    /// Where its log begins and ends, so that it can begin there.
    Placing(Beginning),
    /// Whether the log still is the one that was read, as far as it was read (KIP-320).
    Checking,
    /// Where its log begins and ends: its position lies outside, as far as is known.
    Outside,
    /// Nothing: it is fetched from.
    Reading,
    /// Its records to finish, then it goes.
    Revoked,
    /// A person.
    Stopped,
}

/// Where a partition is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Where nobody has committed anything.
    First(Start),
    /// At a position.
    At(i64),
    /// With the first record: another topic of that name was read before, up to this position.
    Anew(i64),
}

/// What the group has committed for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The first offset that is not done.
    pub next: i64,
    /// The leader epoch of the last record that is done; -1 where it isn't known.
    pub epoch: i32,
    /// What stands beside it, if it is a note of ours.
    pub note: Option<Note>,
}

/// What a cursor wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Where the group left off: asks its coordinator.
    Committed,
    /// Where the log begins and ends, with which record `at` (milliseconds since 1970) begins, if it is given; asks the
    /// leader.
    Bounds {
        /// The end behind all records, or only behind those whose transactions are decided.
        uncommitted: bool,
        /// A time.
        at: Option<i64>,
    },
    /// Where the log of this leader epoch ends: asks the leader.
    EpochEnd(i32),
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset there is.
    pub first: i64,
    /// Behind the last.
    pub end: i64,
    /// With which record the time begins that was asked for; `None` where no record is as late.
    pub at: Option<i64>,
}

/// Where the log of a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// The newest epoch up to the one asked for, and where its log ends.
    At {
        /// The epoch.
        epoch: i32,
        /// Behind its last record.
        end: i64,
    },
    /// The leader knows neither this epoch nor one before it.
    Unknown,
    /// The broker can't be asked: it has no such API. The check is left out then, as Java's client does.
    Unchecked,
}

/// Why nothing came of a question or a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The broker can't be reached or did not answer; whoever asked tells of it.
    Connection,
    /// The partition has no leader.
    Leaderless,
    /// The broker answered with an error.
    Refused(ErrorCode),
    /// The bytes are not what was written.
    Corrupt(String),
    /// A batch is larger than is allowed.
    TooLarge(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("its broker can't be reached"),
            Self::Leaderless => f.write_str("it has no leader: check the brokers that hold it"),
            Self::Refused(code) => write!(f, "the broker answered {code}"),
            Self::Corrupt(text) | Self::TooLarge(text) => f.write_str(text),
        }
    }
}

/// Trouble, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is by now.
    pub trouble: Trouble,
    /// The first failure with no success since.
    pub since: Instant,
    /// Whether it was told.
    pub told: bool,
}

/// Why a position is, or begins, elsewhere than where the last record was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Offsets were deleted before they were read.
    Deleted {
        /// The position.
        position: i64,
        /// What the log holds.
        bounds: Bounds,
    },
    /// The position is behind the end of the log.
    Beyond {
        /// The position.
        position: i64,
        /// What the log holds.
        bounds: Bounds,
    },
    /// The log was cut off below the position, and perhaps written anew from there.
    Cut {
        /// The position.
        position: i64,
        /// Where it was cut.
        at: i64,
    },
    /// Another topic has the name now.
    Anew {
        /// Where the former one was read up to.
        position: i64,
    },
    /// The log was cut off among the records that are done beyond the position.
    NotesDropped {
        /// The position.
        position: i64,
        /// Up to where records were done.
        reach: i64,
    },
    /// The position came from another cluster, or was moved by hand, with a note that was not written for it.
    Copied {
        /// The position.
        position: i64,
    },
    /// Nothing is committed: how many records lie before where it begins, and how many behind it.
    First {
        /// Where it begins.
        next: i64,
        /// What the log holds.
        bounds: Bounds,
    },
}

/// What others have to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The partition begins, or begins anew, at this position: what was fetched before is dropped.
    Begins {
        /// The first offset that is wanted.
        next: i64,
        /// What the core had committed beside it.
        text: String,
        /// Nobody has committed this position.
        uncommitted: bool,
    },
    /// A position is elsewhere than where the last record was read; where it goes on.
    Told(Shift, i64),
    /// The same, where the rules don't allow it: the run ends.
    Ends(Shift),
    /// The partition is read no further, and nothing of it is skipped.
    Stopped(Trouble),
    /// It is read again, after a trouble that was told.
    Recovered,
}

/// What is told to whoever polls before any record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Begin {
    text: String,
    uncommitted: bool,
}

/// A question or a fetch, as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Counts for as long as nothing has changed.
    pub ticket: u64,
    /// From where.
    pub next: i64,
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
    /// A replica to fetch from instead, and until when (KIP-392).
    replica: Option<(i32, Instant)>,
    end: Option<i64>,
    log_end: Option<i64>,
    not_before: Option<Instant>,
    failures: u32,
    standing: Option<Standing>,
    /// Whether whoever polls knows of the partition.
    announced: bool,
    /// What whoever polls is told once it can be read.
    pending: Option<Begin>,
    /// Nothing is fetched before its position is committed.
    awaits_commit: bool,
    held: bool,
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
            replica: None,
            end: None,
            log_end: None,
            not_before: None,
            failures: 0,
            standing: None,
            announced: false,
            pending: Some(Begin::default()),
            awaits_commit: false,
            held: false,
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
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Whether whoever polls knows of it.
    pub fn is_announced(&self) -> bool {
        self.announced
    }

    /// Whoever polls has enough of it for now.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Everything up to its end has been fetched.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Reading && self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether a person has to do something before it is read.
    pub fn is_unreadable(&self) -> bool {
        self.phase == Phase::Stopped || self.is_forbidden()
    }

    fn is_forbidden(&self) -> bool {
        let forbidden = Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        self.standing.as_ref().is_some_and(|standing| standing.trouble == forbidden)
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
            && !self.held
            && !self.awaits_commit
            && !self.has_ended()
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// A fetch that is asked for now.
    pub fn ask(&self) -> Ask {
        Ask { ticket: self.ticket, next: self.next }
    }

    /// Whether what was asked still counts.
    pub fn stands(&self, ask: Ask) -> bool {
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
        if self.phase != Phase::Unresolved || !self.stands(ask) {
            return Vec::new();
        }
        let mut told = Vec::new();
        let committed = match found {
            Ok(committed) => committed,
            Err(start) => {
                self.turn(Phase::Placing(Beginning::First(start)), serials);
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
                told.push(Output::Told(Shift::Copied { position: next }, next));
            } else if is_of(note.topic) && note.topic != self.topic {
                self.begin_anew(next, serials);
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
        self.turn(Phase::Placing(Beginning::At(next)), serials);
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
        if !self.stands(ask) {
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
                let mut out = vec![Output::Told(Shift::First { next, bounds }, next)];
                out.extend(self.begin_at(next, serials));
                out
            }
            Beginning::Anew(position) if rules.reset == Reset::Fail => {
                vec![Output::Ends(Shift::Anew { position })]
            }
            Beginning::Anew(position) => {
                let mut out = vec![Output::Told(Shift::Anew { position }, bounds.first)];
                out.extend(self.begin_at(bounds.first, serials));
                out
            }
            Beginning::At(next) => {
                (self.next, self.handed, self.committed) = (next, next, next);
                if (bounds.first..=bounds.end).contains(&next) {
                    return self.check(serials);
                }
                self.turn(Phase::Outside, serials);
                Vec::new()
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
        (self.next, self.reach) = (next, next);
        self.pending = Some(Begin { text: String::new(), uncommitted: true });
    }

    /// The log is to be checked before it is read, as far as there is something to hold against it.
    fn check(&mut self, serials: &mut Serials) -> Vec<Output> {
        if self.epochs.is_empty() {
            return self.read(serials);
        }
        self.turn(Phase::Checking, serials);
        Vec::new()
    }

    /// It can be read.
    fn read(&mut self, serials: &mut Serials) -> Vec<Output> {
        self.turn(Phase::Reading, serials);
        let Some(Begin { text, uncommitted }) = self.pending.take() else { return Vec::new() };
        self.assignment = serials.draw();
        self.announced = true;
        self.held = false;
        self.awaits_commit = uncommitted;
        (self.handed, self.committed) = (self.next, self.next);
        vec![Output::Begins { next: self.next, text, uncommitted }]
    }

    /// Another topic has the name: nothing that was read of the former one counts from now on.
    fn begin_anew(&mut self, position: i64, serials: &mut Serials) {
        self.assignment = serials.draw();
        self.epochs.clear();
        (self.end, self.log_end, self.replica) = (None, None, None);
        self.pending = Some(Begin::default());
        self.turn(Phase::Placing(Beginning::Anew(position)), serials);
    }

    // ---- what becomes of the log ---------------------------------------------------------------------------

    /// What the metadata tells: the id of the topic, zero where there is none, and who leads the partition.
    pub fn metadata_was(
        &mut self,
        topic: Uuid,
        leader: Option<(i32, i32)>,
        now: Instant,
        serials: &mut Serials,
    ) -> Vec<Output> {
        let is_another = self.topic != Uuid::ZERO && topic != Uuid::ZERO && self.topic != topic;
        if topic != Uuid::ZERO {
            self.topic = topic;
        }
        let former = self.leader.map(|(_, epoch)| epoch);
        self.leader = leader.or(self.leader.filter(|_| self.phase == Phase::Revoked));
        match self.phase {
            _ if is_another && self.phase != Phase::Revoked => {
                let position = self.next;
                match self.phase {
                    Phase::Unresolved => {}
                    Phase::Placing(Beginning::First(_)) => self.turn(Phase::Unresolved, serials),
                    _ => self.begin_anew(position, serials),
                }
            }
            Phase::Revoked => {
                if is_another {
                    self.assignment = serials.draw();
                }
                return Vec::new();
            }
            Phase::Stopped => return Vec::new(),
            _ => {}
        }
        let Some((_, epoch)) = leader else {
            self.suffer(Trouble::Leaderless, now);
            return Vec::new();
        };
        if former.is_some_and(|former| former != epoch) {
            self.replica = None;
            if self.phase == Phase::Reading {
                // What the former leader still answers may be gone from the new one's log.
                let phase = if self.epochs.is_empty() { Phase::Reading } else { Phase::Checking };
                self.turn(phase, serials);
            }
        }
        let was_leaderless = self.standing.as_ref().is_some_and(|s| s.trouble == Trouble::Leaderless);
        if was_leaderless { self.answered() } else { Vec::new() }
    }

    /// The broker says that the position lies outside of the log.
    pub fn out_of_range(&mut self, ask: Ask, serials: &mut Serials) {
        if self.stands(ask) && self.phase == Phase::Reading {
            self.turn(Phase::Outside, serials);
        }
    }

    fn reset(&mut self, bounds: Bounds, rules: &Rules, now: Instant, serials: &mut Serials) -> Vec<Output> {
        let position = self.next;
        if (bounds.first..=bounds.end).contains(&position) {
            // It was true a moment ago: the leader had not caught up, or its records are not decided yet.
            let out = self.check(serials);
            self.not_before = Some(now + RETRY.0);
            return out;
        }
        let shift = match position < bounds.first {
            true => Shift::Deleted { position, bounds },
            false => Shift::Beyond { position, bounds },
        };
        let next = match rules.reset {
            Reset::Fail => return vec![Output::Ends(shift)],
            Reset::Earliest => bounds.first,
            Reset::Latest => bounds.end,
        };
        let mut out = vec![Output::Told(shift, next)];
        self.epochs.clear();
        if next > position && self.pending.is_none() {
            // What was read before stays, and is delivered.
            self.next = next;
        } else {
            self.begins_at(next);
        }
        self.log_end = Some(bounds.end);
        if let Some(end) = &mut self.end {
            *end = (*end).min(bounds.end);
        }
        out.extend(self.read(serials));
        out
    }

    /// Where the log of the epoch ends that was asked for (KIP-320).
    pub fn epoch_end_was(
        &mut self,
        ask: Ask,
        answer: EpochEnd,
        rules: &Rules,
        serials: &mut Serials,
    ) -> Vec<Output> {
        if self.phase != Phase::Checking || !self.stands(ask) {
            return Vec::new();
        }
        let mut out = self.answered();
        match answer {
            EpochEnd::At { epoch, end } => out.extend(self.compare(epoch, end, rules, serials)),
            EpochEnd::Unchecked => out.extend(self.read(serials)),
            EpochEnd::Unknown if self.topic == Uuid::ZERO => {
                // A log that never was under that leader is another one.
                let position = self.next;
                self.begin_anew(position, serials);
            }
            EpochEnd::Unknown => {
                // The same topic, and nothing left of what was read: where it begins and ends says the rest.
                self.epochs.clear();
                self.turn(Phase::Outside, serials);
            }
        }
        out
    }

    /// Holds what was read against the leader's log: both agree up to the end of the newest epoch that both know.
    fn compare(&mut self, epoch: i32, end: i64, rules: &Rules, serials: &mut Serials) -> Vec<Output> {
        let parted = self.epochs.iter().find(|(_, of)| *of > epoch).map(|(from, _)| *from);
        let cut = parted.map_or(end, |from| from.min(end));
        self.epochs.retain(|(_, of)| *of <= epoch);
        let (position, reach) = (self.next, self.reach.max(self.next));
        let mut out = Vec::new();
        if cut < position || (cut < reach && self.pending.is_none()) {
            // What is known to be done beyond the position may be something else now.
            let shift = Shift::Cut { position: reach, at: cut };
            if rules.reset == Reset::Fail {
                return vec![Output::Ends(shift)];
            }
            // Below the cut, what was not done is still there and still wanted.
            let next = if self.announced { cut.min(self.committed) } else { cut };
            self.epochs.retain(|(from, _)| *from < next);
            self.assignment = serials.draw();
            self.begins_at(next);
            self.turn(Phase::Placing(Beginning::At(next)), serials);
            return vec![Output::Told(shift, next)];
        }
        if let Some(begin) = self.pending.as_mut().filter(|_| reach > position && cut < reach) {
            begin.text.clear();
            self.reach = position;
            out.push(Output::Told(Shift::NotesDropped { position, reach }, position));
        }
        // Where the leader knows less than was asked, an older epoch of ours is still to be found there.
        match parted.is_some() && self.epochs.last().is_some_and(|(_, of)| *of < epoch) {
            true => self.turn(Phase::Checking, serials),
            false => out.extend(self.read(serials)),
        }
        out
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
    pub fn went_well(&mut self, log_end: Option<i64>) -> Vec<Output> {
        self.log_end = log_end.or(self.log_end);
        self.answered()
    }

    /// What was fetched beyond this offset is dropped, and fetched again once it is wanted.
    pub fn rewind(&mut self, next: i64, serials: &mut Serials) {
        self.next = next;
        self.epochs.retain(|(from, _)| *from < next);
        self.ticket = serials.draw();
    }

    /// Everything before this offset has been handed over.
    pub fn handed_to(&mut self, offset: i64) {
        self.handed = self.handed.max(offset);
    }

    /// Up to where there is nothing more to hand over though the last record lies before, if that is news.
    pub fn passed(&mut self) -> Option<i64> {
        let passed = self.phase == Phase::Reading && self.handed < self.next;
        passed.then(|| {
            self.handed = self.next;
            self.next
        })
    }

    /// This much is committed under the present assignment.
    pub fn committed_to(&mut self, next: i64) {
        self.committed = self.committed.max(next);
        self.awaits_commit = false;
    }

    /// Whoever polls has enough of it for now, or not.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// A replica that is nearer is to be fetched from, or none.
    pub fn lend(&mut self, replica: Option<(i32, Instant)>) {
        self.replica = replica;
    }

    // ---- trouble and the end -------------------------------------------------------------------------------

    /// Nothing came of what was asked.
    pub fn failed(&mut self, ask: Ask, trouble: Trouble, now: Instant, serials: &mut Serials) -> Vec<Output> {
        if !self.stands(ask) {
            return Vec::new();
        }
        self.replica = None;
        self.suffer(trouble.clone(), now);
        let lasts = match (&trouble, &self.standing) {
            (Trouble::TooLarge(_), _) => true,
            (Trouble::Corrupt(_), _) => self.failures >= CORRUPT_ATTEMPTS,
            (Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED), _) => false,
            (Trouble::Refused(code), Some(standing)) => {
                !code.is_retriable() && now.saturating_duration_since(standing.since) >= LASTING
            }
            _ => false,
        };
        if lasts { self.stop(trouble, serials) } else { Vec::new() }
    }

    fn suffer(&mut self, trouble: Trouble, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let (min, max) = match trouble {
            Trouble::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => (FORBIDDEN_RETRY, FORBIDDEN_RETRY),
            _ => RETRY,
        };
        let delay = min.saturating_mul(1 << self.failures.min(6).saturating_sub(1)).min(max);
        self.not_before = Some(now + delay);
        match &mut self.standing {
            Some(standing) => standing.trouble = trouble,
            None => self.standing = Some(Standing { trouble, since: now, told: false }),
        }
    }

    /// Something went well.
    fn answered(&mut self) -> Vec<Output> {
        (self.failures, self.not_before) = (0, None);
        let told = self.standing.take().is_some_and(|standing| standing.told);
        if told { vec![Output::Recovered] } else { Vec::new() }
    }

    /// Its trouble is told.
    pub fn trouble_told(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.told = true;
        }
    }

    /// Nothing more is read of it, and nothing that was read is handed over.
    pub fn stop(&mut self, trouble: Trouble, serials: &mut Serials) -> Vec<Output> {
        self.turn(Phase::Stopped, serials);
        vec![Output::Stopped(trouble)]
    }

    /// It has to be given up: its records may finish.
    pub fn revoke(&mut self, serials: &mut Serials) {
        self.turn(Phase::Revoked, serials);
    }

    fn turn(&mut self, phase: Phase, serials: &mut Serials) {
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
