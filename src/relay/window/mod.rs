//! The records under way: which may be sent now, what their answers did to them, what may be committed.
//!
//! A pure state machine: it takes `now` and never sleeps, locks or prints; the loop around it owns threads and
//! clocks. What it keeps true:
//!
//! - a record that goes out is moved into its [`Ticket`], so it can't be sent by two at once;
//! - with an order asked for, a record is handed out only after its predecessor is done;
//! - a retry is handed out no earlier than its backoff and the destination allow;
//! - a record counts as done only when accepted, settled as a dead letter, or dropped by explicit wish;
//! - nothing of a lost partition is handed out or counted.

mod standing;

use super::backoff::Jitter;
use super::dead_letter::{Letter, Refusal};
use super::event::Totals;
use super::lanes::{Lane, Lanes};
use super::pace::{Gate, Passage, Shift, Word};
use super::progress::Progress;
use super::record::{Checkpoint, Offset, Partition, Record};
use super::settings::{OnRefusal, Settings};
use super::source::Want;
use super::transport::{Answer, SendError};
use super::verdict::Verdict;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

/// The right and the duty to send one record once. It holds the record; giving it back with the answer is the
/// only way on.
#[derive(Debug)]
#[must_use = "a record whose ticket is dropped is never finished"]
pub struct Ticket {
    sequence: u64,
    epoch: u64,
    record: Record,
    attempt: u32,
    probe: bool,
}

impl Ticket {
    /// What to send.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it goes ahead of all others to see if a paused destination is back.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next {
    /// Send this.
    Send(Ticket),
    /// Nothing may go now; ask again at this time, or when something has changed.
    Wait(Option<Instant>),
    /// There will be nothing more.
    Finished,
}

/// What became of a record after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fortune {
    /// Accepted: done.
    Delivered,
    /// To be sent again after this time.
    Retrying(Duration),
    /// To be sent again when the destination is back.
    Held,
    /// Refused, and on its way to the dead letters: not done before it is settled.
    Condemned(Refusal),
    /// Refused and dropped by explicit wish: done.
    Dropped(Refusal),
    /// It ends the run; see [`Window::halted`].
    Halted,
    /// Its partition is no longer ours: forgotten.
    Forgotten,
}

/// All an answer did.
#[derive(Debug)]
pub struct Answered {
    /// The record that was sent.
    pub record: Record,
    /// What became of it.
    pub fortune: Fortune,
    /// What became of the gate, if anything.
    pub shift: Option<Shift>,
    /// What a person should mend at the destination, if that is known.
    pub mend: Option<&'static str>,
}

/// Why nothing more is sent, for good.
#[derive(Clone, Debug)]
pub enum Halt {
    /// A refused record, and no place for it.
    Refused(Box<Letter>),
    /// The destination wants no more.
    Gone(Box<Letter>),
}

/// A place in the dead letters is wanted for this record.
#[derive(Debug)]
pub struct Condemned {
    sequence: u64,
    epoch: u64,
    /// What to keep.
    pub letter: Letter,
}

#[derive(Debug)]
struct Slot {
    /// Not here while the record is in flight or condemned.
    record: Option<Record>,
    partition: Partition,
    offset: Offset,
    epoch: u64,
    lane: Option<Lane>,
    weight: usize,
    admitted: Instant,
    attempts: u32,
    /// Failed attempts that may speak of the record; those of a paused destination don't count.
    failures: u32,
    first_attempt: Option<(Instant, SystemTime)>,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Track {
    epoch: u64,
    progress: Progress,
    /// Records in flight or condemned: what a revocation waits for.
    busy: usize,
    revoked: bool,
}

/// The records under way.
#[derive(Debug)]
pub struct Window {
    settings: Settings,
    jitter: Jitter,
    gate: Gate,
    /// By admission: a lower sequence was there first.
    slots: HashMap<u64, Slot>,
    next_sequence: u64,
    next_epoch: u64,
    /// May go as soon as the gate lets them.
    ready: BTreeSet<u64>,
    /// Wait for their next attempt.
    waiting: BTreeSet<(Instant, u64)>,
    lanes: Lanes,
    condemned: Vec<Condemned>,
    tracks: HashMap<Partition, Track>,
    in_flight: usize,
    bytes: usize,
    /// The last probe that failed: the next one is another record where there is one.
    failed_probe: Option<u64>,
    /// Nothing more will be admitted for now.
    closed: bool,
    draining: bool,
    halt: Option<Halt>,
    failing_since: Option<Instant>,
    totals: Totals,
}

impl Window {
    /// An empty window.
    pub fn new(settings: Settings, jitter: Jitter) -> Self {
        Self {
            gate: Gate::new(settings.backoff, settings.pause_after),
            lanes: Lanes::new(settings.order),
            settings,
            jitter,
            slots: HashMap::new(),
            next_sequence: 0,
            next_epoch: 0,
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            condemned: Vec::new(),
            tracks: HashMap::new(),
            in_flight: 0,
            bytes: 0,
            failed_probe: None,
            closed: false,
            draining: false,
            halt: None,
            failing_since: None,
            totals: Totals::default(),
        }
    }

    // ---- partitions ----------------------------------------------------------------------------------------

    /// The partition is ours, from this position on.
    pub fn assign(&mut self, checkpoint: &Checkpoint) {
        let position = &checkpoint.position;
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let track = Track { epoch, progress: Progress::new(position.next), busy: 0, revoked: false };
        if self.tracks.insert(position.partition.clone(), track).is_some() {
            self.forget(&position.partition, Some(epoch));
        }
    }

    /// The partition has to be given up: what is in flight may finish, nothing else of it goes out.
    pub fn revoke(&mut self, partition: &Partition) {
        if let Some(track) = self.tracks.get_mut(partition) {
            track.revoked = true;
            self.forget(partition, None);
        }
    }

    /// The partition is somebody else's: nothing of it counts any more.
    pub fn lose(&mut self, partition: &Partition) {
        self.tracks.remove(partition);
        let of_it = |condemned: &mut Condemned| condemned.letter.record.partition() == partition;
        for condemned in self.condemned.extract_if(.., of_it).collect::<Vec<_>>() {
            self.remove(condemned.sequence);
        }
        self.forget(partition, None);
    }

    /// Revoked partitions with nothing in flight: once their positions are committed, they can go.
    pub fn releasable(&self) -> Vec<Partition> {
        let idle = self.tracks.iter().filter(|(_, track)| track.revoked && track.busy == 0);
        idle.map(|(partition, _)| partition.clone()).collect()
    }

    /// The partition is given up.
    pub fn released(&mut self, partition: &Partition) {
        self.lose(partition);
    }

    /// Drops the slots of a partition that are not out of the window; with `newer` those of older epochs only.
    fn forget(&mut self, partition: &Partition, newer: Option<u64>) {
        let gone: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                slot.record.is_some() && slot.partition == *partition && newer != Some(slot.epoch)
            })
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in gone {
            self.remove(sequence);
        }
    }

    // ---- admission -----------------------------------------------------------------------------------------

    /// How much may be admitted now: in batch mode a whole batch once the last one is done.
    pub fn room(&self) -> Want {
        if self.draining || !self.slots.is_empty() {
            return Want { records: 0, bytes: 0 };
        }
        Want { records: self.settings.batch_size.get(), bytes: self.settings.batch_bytes.get() }
    }

    /// Takes a record in. One of a partition that is not ours, or that was taken in before, is left out: nothing
    /// is lost by it, since it is not counted as done either.
    pub fn admit(&mut self, record: Record, now: Instant) {
        let Some(track) = self.tracks.get_mut(record.partition()) else { return };
        if track.revoked || !track.progress.admit(record.offset()) {
            return;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let lane = self.lanes.of(&record);
        if self.lanes.enter(lane, sequence) {
            self.ready.insert(sequence);
        }
        let weight = record.weight();
        self.bytes += weight;
        let slot = Slot {
            partition: record.partition().clone(),
            offset: record.offset(),
            record: Some(record),
            epoch: track.epoch,
            lane,
            weight,
            admitted: now,
            attempts: 0,
            failures: 0,
            first_attempt: None,
            due: None,
        };
        self.slots.insert(sequence, slot);
    }

    /// Nothing more is admitted until [`open`](Self::open): workers finish once the window is empty.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Records are admitted again.
    pub fn open(&mut self) {
        self.closed = false;
    }

    /// Nothing more is sent; what is in flight may finish.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    // ---- sending -------------------------------------------------------------------------------------------

    /// What a worker that holds a permit does next.
    pub fn next(&mut self, now: Instant, wall: SystemTime) -> Next {
        if self.draining || self.halt.is_some() || (self.closed && self.slots.is_empty()) {
            return Next::Finished;
        }
        self.wake_due(now);
        let probe = match self.gate.passage(now) {
            Passage::Open => false,
            Passage::Probe => true,
            Passage::ClosedUntil(until) => return Next::Wait(Some(until)),
            Passage::AwaitingProbe => return Next::Wait(None),
        };
        let chosen = if probe { self.choose_probe() } else { self.ready.first().copied() };
        match chosen.and_then(|sequence| self.hand_out(sequence, probe, now, wall)) {
            Some(ticket) => Next::Send(ticket),
            None => Next::Wait(self.waiting.first().map(|(due, _)| *due)),
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(&(due, sequence)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, sequence));
            self.ready.insert(sequence);
        }
    }

    /// The record that has waited longest, but not the one whose probe just failed if there is another: one
    /// bad record must not pass for a dead destination.
    fn choose_probe(&self) -> Option<u64> {
        let after = self.failed_probe.map_or(0, |failed| failed + 1);
        self.ready.range(after..).next().or_else(|| self.ready.first()).copied()
    }

    fn hand_out(&mut self, sequence: u64, probe: bool, now: Instant, wall: SystemTime) -> Option<Ticket> {
        self.ready.remove(&sequence);
        let slot = self.slots.get_mut(&sequence)?;
        let record = slot.record.take()?;
        slot.attempts = slot.attempts.saturating_add(1);
        slot.first_attempt.get_or_insert((now, wall));
        slot.due = None;
        if let Some(track) = self.tracks.get_mut(&slot.partition) {
            track.busy += 1;
        }
        if probe {
            self.gate.probe_sent();
        }
        self.in_flight += 1;
        self.totals.attempts += 1;
        self.totals.most_in_flight = self.totals.most_in_flight.max(self.in_flight);
        Some(Ticket { sequence, epoch: slot.epoch, record, attempt: slot.attempts, probe })
    }

    // ---- answers -------------------------------------------------------------------------------------------

    /// An attempt has come to its end.
    pub fn answered(
        &mut self,
        ticket: Ticket,
        outcome: &Result<Answer, SendError>,
        now: Instant,
        wall: SystemTime,
    ) -> Answered {
        self.in_flight -= 1;
        let verdict = self.settings.policy.judge(outcome);
        let (shift, mend) = self.tell_gate(&ticket, verdict, now);
        let Ticket { sequence, epoch, record, .. } = ticket;
        let ours = self.tracks.get_mut(record.partition()).filter(|track| track.epoch == epoch);
        let fortune = match ours {
            None => {
                self.remove(sequence);
                Fortune::Forgotten
            }
            Some(track) => {
                track.busy -= 1;
                self.judge(sequence, &record, verdict, outcome, now, wall)
            }
        };
        Answered { record, fortune, shift, mend }
    }

    fn tell_gate(
        &mut self,
        ticket: &Ticket,
        verdict: Verdict,
        now: Instant,
    ) -> (Option<Shift>, Option<&'static str>) {
        let cap = |wish: Option<Duration>| wish.map(|wish| wish.min(self.settings.max_retry_after));
        let (word, mend) = match verdict {
            Verdict::Accepted | Verdict::Refused | Verdict::Stop => (Word::Works, None),
            Verdict::Retry { .. } => (Word::Failed, None),
            Verdict::Pause { at_least, mend } => (Word::Overloaded { at_least: cap(at_least) }, mend),
        };
        if word != Word::Works {
            self.failing_since.get_or_insert(now);
        } else if verdict == Verdict::Accepted {
            self.failing_since = None;
        }
        let was_open = !self.gate.is_closed();
        let shift = self.gate.answered(ticket.probe, word, now, &mut self.jitter);
        match shift {
            Some(Shift::Closed(_)) if was_open => self.totals.pauses += 1,
            Some(Shift::Closed(_)) if ticket.probe => self.failed_probe = Some(ticket.sequence),
            Some(Shift::Reopened(_)) => self.failed_probe = None,
            _ => {}
        }
        (shift, mend)
    }

    fn judge(
        &mut self,
        sequence: u64,
        record: &Record,
        verdict: Verdict,
        outcome: &Result<Answer, SendError>,
        now: Instant,
        wall: SystemTime,
    ) -> Fortune {
        match verdict {
            Verdict::Accepted => {
                self.totals.delivered += 1;
                self.finish(sequence);
                Fortune::Delivered
            }
            Verdict::Pause { .. } => {
                self.put_back(sequence, record, None);
                Fortune::Held
            }
            Verdict::Retry { at_least } => match self.retry(sequence, at_least, now) {
                Some(delay) => {
                    self.put_back(sequence, record, now.checked_add(delay));
                    Fortune::Retrying(delay)
                }
                None => self.refuse(sequence, record, outcome, wall),
            },
            Verdict::Refused => self.refuse(sequence, record, outcome, wall),
            Verdict::Stop => {
                let letter = self.letter(sequence, record, outcome, wall);
                self.halt(Halt::Gone(Box::new(letter)));
                self.put_back(sequence, record, None);
                Fortune::Halted
            }
        }
    }

    /// When the record goes again; `None` when it has used up its attempts or its time.
    fn retry(&mut self, sequence: u64, at_least: Option<Duration>, now: Instant) -> Option<Duration> {
        let slot = self.slots.get_mut(&sequence)?;
        slot.failures = slot.failures.saturating_add(1);
        let used_up = self.settings.max_attempts.is_some_and(|max| slot.failures >= max.get());
        let age = slot.first_attempt.map(|(first, _)| now.saturating_duration_since(first));
        let too_old = self.settings.max_age.zip(age).is_some_and(|(max, age)| age >= max);
        if used_up || too_old {
            return None;
        }
        let at_least = at_least.map(|wish| wish.min(self.settings.max_retry_after));
        Some(self.settings.backoff.delay(slot.failures, at_least, &mut self.jitter))
    }

    /// The record waits for its next attempt, unless its partition is being given up.
    fn put_back(&mut self, sequence: u64, record: &Record, due: Option<Instant>) {
        let revoked = self.tracks.get(record.partition()).is_none_or(|track| track.revoked);
        if revoked {
            self.remove(sequence);
            return;
        }
        let Some(slot) = self.slots.get_mut(&sequence) else { return };
        slot.record = Some(record.clone());
        slot.due = due;
        match due {
            Some(due) => self.waiting.insert((due, sequence)),
            None => self.ready.insert(sequence),
        };
    }

    fn letter(
        &self,
        sequence: u64,
        record: &Record,
        outcome: &Result<Answer, SendError>,
        wall: SystemTime,
    ) -> Letter {
        let slot = self.slots.get(&sequence);
        let (status, reason) = match outcome {
            Ok(answer) => (Some(answer.status), answer.excerpt.clone()),
            Err(error) => (None, error.text.clone()),
        };
        let refusal = Refusal {
            status,
            reason,
            attempts: slot.map_or(1, |slot| slot.attempts),
            first_attempt: slot.and_then(|slot| slot.first_attempt).map_or(wall, |(_, first)| first),
            last_attempt: wall,
        };
        Letter { record: record.clone(), refusal }
    }

    fn refuse(
        &mut self,
        sequence: u64,
        record: &Record,
        outcome: &Result<Answer, SendError>,
        wall: SystemTime,
    ) -> Fortune {
        let letter = self.letter(sequence, record, outcome, wall);
        let refusal = letter.refusal.clone();
        match self.settings.on_refusal {
            OnRefusal::Stop => {
                self.halt(Halt::Refused(Box::new(letter)));
                self.put_back(sequence, record, None);
                Fortune::Halted
            }
            OnRefusal::Drop => {
                self.totals.dropped += 1;
                self.finish(sequence);
                Fortune::Dropped(refusal)
            }
            OnRefusal::DeadLetter => {
                let Some(slot) = self.slots.get(&sequence) else { return Fortune::Forgotten };
                let condemned = Condemned { sequence, epoch: slot.epoch, letter };
                self.condemned.push(condemned);
                if let Some(track) = self.tracks.get_mut(record.partition()) {
                    track.busy += 1;
                }
                Fortune::Condemned(refusal)
            }
        }
    }

    fn halt(&mut self, halt: Halt) {
        // The first reason is the one to tell; others came from what was in flight beside it.
        self.halt.get_or_insert(halt);
    }

    /// The record is done: it counts towards what may be committed, and its successor may go.
    fn finish(&mut self, sequence: u64) {
        let Some(slot) = self.slots.get(&sequence) else { return };
        if let Some(track) = self.tracks.get_mut(&slot.partition).filter(|track| track.epoch == slot.epoch) {
            track.progress.done(slot.offset);
        }
        self.remove(sequence);
    }

    fn remove(&mut self, sequence: u64) {
        let Some(slot) = self.slots.remove(&sequence) else { return };
        self.bytes = self.bytes.saturating_sub(slot.weight);
        self.ready.remove(&sequence);
        if let Some(due) = slot.due {
            self.waiting.remove(&(due, sequence));
        }
        if let Some(successor) = self.lanes.leave(slot.lane, sequence) {
            self.ready.insert(successor);
        }
    }

    // ---- dead letters --------------------------------------------------------------------------------------

    /// The refused records that want a place; each has to be [settled](Self::settled) once it is durable.
    pub fn take_condemned(&mut self) -> Vec<Condemned> {
        std::mem::take(&mut self.condemned)
    }

    /// The record is durably kept: done, unless its partition was lost meanwhile.
    pub fn settled(&mut self, condemned: &Condemned) {
        self.totals.dead_lettered += 1;
        let partition = condemned.letter.record.partition();
        if let Some(track) = self.tracks.get_mut(partition).filter(|track| track.epoch == condemned.epoch) {
            track.busy -= 1;
            self.finish(condemned.sequence);
        } else {
            self.remove(condemned.sequence);
        }
    }
}
