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

mod admission;
mod answers;
mod queue;
mod standing;

use super::backoff::Jitter;
use super::budget::RetryBudget;
use super::dead_letter::{Letter, Refusal};
use super::event::Totals;
use super::lanes::{Lane, Lanes};
use super::limit::Limit;
use super::pace::{Gate, Passage, Shift};
use super::progress::Progress;
use super::rate::Bucket;
use super::record::{Offset, Partition, Record};
use super::settings::Settings;
use super::threshold::{Refusals, Threshold};
use queue::Queue;
use std::collections::HashMap;
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
    sent: Instant,
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

/// Which record goes next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Record(u64),
    /// None; perhaps one at this time.
    Wait(Option<Instant>),
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
    /// More records were refused than there may be; this one is not settled any more.
    TooManyRefused(Box<Letter>, Threshold),
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
    assignment: u64,
    progress: Progress,
    /// Records in flight or condemned: what a revocation waits for.
    busy: usize,
    revoked: bool,
    /// So full that the source was asked to hold it.
    held: bool,
}

/// The records under way.
#[derive(Debug)]
pub struct Window {
    settings: Settings,
    jitter: Jitter,
    gate: Gate,
    limit: Option<Limit>,
    bucket: Option<Bucket>,
    budget: Option<RetryBudget>,
    refusals: Option<Refusals>,
    /// By admission: a lower sequence was there first.
    slots: HashMap<u64, Slot>,
    next_sequence: u64,
    next_epoch: u64,
    /// Those that are not out, nor behind another of their lane.
    queue: Queue,
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
            limit: settings.auto_concurrency.map(Limit::new),
            bucket: settings.max_rate.map(Bucket::new),
            budget: settings.retry_budget.map(RetryBudget::new),
            refusals: settings.max_refused.map(Refusals::new),
            lanes: Lanes::new(settings.order),
            settings,
            jitter,
            slots: HashMap::new(),
            next_sequence: 0,
            next_epoch: 0,
            queue: Queue::default(),
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
    // ---- sending -------------------------------------------------------------------------------------------

    /// What a worker that holds a permit does next.
    pub fn next(&mut self, now: Instant, wall: SystemTime) -> Next {
        if self.is_finished() {
            return Next::Finished;
        }
        self.queue.wake_due(now);
        let probe = match self.gate.passage(now) {
            Passage::Open => false,
            Passage::Probe => true,
            Passage::ClosedUntil(until) => return Next::Wait(Some(until)),
            Passage::AwaitingProbe => return Next::Wait(None),
        };
        let chosen = if probe { self.choose_probe() } else { self.choose(now) };
        let free_at = self.bucket.as_ref().and_then(|bucket| bucket.free_at(now));
        match (chosen, free_at) {
            (Choice::Wait(until), _) => Next::Wait(until),
            (Choice::Record(_), Some(free_at)) => Next::Wait(Some(free_at)),
            (Choice::Record(sequence), None) => match self.hand_out(sequence, probe, now, wall) {
                Some(ticket) => Next::Send(ticket),
                None => Next::Wait(self.queue.next_due()),
            },
        }
    }

    /// The record that has waited longest, unless it would be a retry for which there is no budget: then the one
    /// that has waited longest for its first attempt.
    fn choose(&mut self, now: Instant) -> Choice {
        let Some(first) = self.queue.first() else { return Choice::Wait(self.queue.next_due()) };
        let fresh = self.queue.first_fresh();
        let is_retry = fresh != Some(first);
        match self.budget.as_mut().filter(|_| is_retry).and_then(|budget| budget.free_at(now)) {
            None => Choice::Record(first),
            Some(free_at) => fresh.map_or(Choice::Wait(Some(free_at)), Choice::Record),
        }
    }

    /// The record that has waited longest, but not the one whose probe just failed if there is another: one
    /// bad record must not pass for a dead destination.
    ///
    /// The pause itself spaces probes out; they count as retries and need no budget.
    fn choose_probe(&self) -> Choice {
        let after = self.failed_probe.map_or(0, |failed| failed + 1);
        let probe = self.queue.from(after).or_else(|| self.queue.first());
        probe.map_or(Choice::Wait(self.queue.next_due()), Choice::Record)
    }

    fn hand_out(&mut self, sequence: u64, probe: bool, now: Instant, wall: SystemTime) -> Option<Ticket> {
        let slot = self.slots.get_mut(&sequence)?;
        self.queue.remove(sequence, None);
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
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now);
        }
        if let Some(budget) = &mut self.budget {
            budget.attempted(slot.attempts > 1, now);
        }
        self.in_flight += 1;
        self.totals.attempts += 1;
        self.totals.most_in_flight = self.totals.most_in_flight.max(self.in_flight);
        Some(Ticket { sequence, epoch: slot.epoch, record, attempt: slot.attempts, sent: now, probe })
    }
}
