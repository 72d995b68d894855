//! The records under way, and which of them may be sent next.
//!
//! Invariant: each is in exactly one [`RecordState`] and in the index of that state alone. A record in flight has been
//! moved out, so it can't be sent twice at once. Pure bookkeeping: it knows no answers, and time only as the end of a
//! wait.

use super::order_queues::{OrderKey, OrderQueues};
use super::settings::Order;
use super::transport::Target;
use crate::record::{Offset, Partition, Record};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Instant, SystemTime};

/// The state of a record under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordState {
    /// Not in flight, first in its queue.
    Ready,
    /// Backing off until then.
    Waiting(Instant),
    /// Behind another record of its queue.
    Queued,
    /// With a worker.
    InFlight,
    /// Rejected, and on its way to the dead letters.
    PendingDeadLetter,
}

/// What is known of a record that was turned away, perhaps because of the destination.
#[derive(Clone, Debug)]
pub(super) struct TurnedAway {
    /// When, for the first time since it was last accepted or since its first attempt.
    pub(crate) first: Instant,
    /// When, for the last time.
    pub(crate) last: Instant,
    /// How often.
    pub(crate) times: u32,
    /// How often at least, before the record is suspected.
    pub(crate) patience: u32,
    /// Whether load may explain the last one.
    pub(crate) may_be_load: bool,
    /// Whether load can't explain the last one: it was sent alone after a fair wait, or answered what load is no reason
    /// for.
    pub(crate) no_load: bool,
    /// When the last request started that was accepted before the last one was sent.
    pub(crate) accepted_before: Option<Instant>,
    /// Another record was accepted after it: the record itself may be the reason.
    pub(crate) is_suspect: bool,
    /// The last one was counted against the record.
    pub(crate) is_counted: bool,
    /// The time of the last one by the wall clock.
    pub(crate) wall: SystemTime,
    /// What the last answer was: the status, if there was one, and the reason.
    pub(crate) answer: (Option<u16>, String),
}

/// A record under way.
#[derive(Debug)]
pub(super) struct Slot {
    state: RecordState,
    /// `None` while a worker or the dead letters have it.
    record: Option<Record>,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    /// The epoch of the assignment under which it was admitted.
    pub(crate) epoch: u64,
    pub(crate) target: Target,
    pub(crate) weight: usize,
    pub(crate) admitted: Instant,
    /// How often it was sent.
    pub(crate) attempts: u32,
    /// Failures that count against the record.
    pub(crate) failures: u32,
    pub(crate) first_attempt: Option<(Instant, SystemTime)>,
    /// Few records ever have one, and all are moved in and out.
    pub(crate) turned_away: Option<Box<TurnedAway>>,
    /// Its last sending found a kept connection closed.
    pub(crate) was_stale: bool,
    lane: Option<OrderKey>,
}

impl Slot {
    pub(super) fn state(&self) -> RecordState {
        self.state
    }

    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }
}

/// A record to admit.
#[derive(Debug)]
pub(super) struct NewRecord {
    pub(crate) record: Record,
    pub(crate) epoch: u64,
    pub(crate) target: Target,
    pub(crate) now: Instant,
}

/// The records that are ready, by the sequence in which they were taken in.
#[derive(Debug, Default)]
struct Ready {
    /// For the first time.
    fresh: BTreeSet<u64>,
    /// Sent before.
    again: BTreeSet<u64>,
}

impl Ready {
    fn insert(&mut self, sequence: u64, was_sent: bool) {
        if was_sent {
            self.again.insert(sequence)
        } else {
            self.fresh.insert(sequence)
        };
    }

    fn remove(&mut self, sequence: u64) -> bool {
        self.fresh.remove(&sequence) || self.again.remove(&sequence)
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty()
    }

    fn first(&self) -> Option<u64> {
        self.fresh.first().into_iter().chain(self.again.first()).min().copied()
    }

    fn iter_from(&self, from: u64) -> impl Iterator<Item = u64> {
        let (mut fresh, mut again) =
            (self.fresh.range(from..).peekable(), self.again.range(from..).peekable());
        std::iter::from_fn(move || match (fresh.peek(), again.peek()) {
            (Some(a), Some(b)) if a < b => fresh.next().copied(),
            (Some(_), None) => fresh.next().copied(),
            _ => again.next().copied(),
        })
    }
}

/// Hashes sequence numbers. They count up and no attacker chooses them, so one multiplication spreads them.
#[derive(Debug, Default)]
struct SequenceHasher(u64);

impl SequenceHasher {
    /// 2^64 divided by the golden ratio: neighbours end up far apart.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
}

impl Hasher for SequenceHasher {
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(Self::SPREAD);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All records under way.
#[derive(Debug)]
pub(super) struct Schedule {
    slots: HashMap<u64, Slot, BuildHasherDefault<SequenceHasher>>,
    next_sequence: u64,
    lanes: OrderQueues,
    ready: Ready,
    /// Ready, but of a paused target.
    paused: HashMap<Target, Ready>,
    /// Those of them that got a ready record since the last call of `targets_that_got_one`.
    paused_got: BTreeSet<Target>,
    waiting: BTreeSet<(Instant, u64)>,
    in_flight: usize,
    suspects: BTreeSet<u64>,
}

impl Schedule {
    pub(super) fn new(order: Order) -> Self {
        Self {
            slots: HashMap::default(),
            next_sequence: 0,
            lanes: OrderQueues::new(order),
            ready: Ready::default(),
            paused: HashMap::new(),
            paused_got: BTreeSet::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            suspects: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get(&sequence)
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        self.slots.get_mut(&sequence)
    }

    /// Records under way.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Records in flight: what workers were handed and have not given back. The semaphore counts requests; this
    /// tells records apart that nobody waits for any more.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records that wait for their next attempt.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest record under way was taken in.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.slots.iter().min_by_key(|(sequence, _)| **sequence).map(|(_, slot)| slot.admitted)
    }

    /// The oldest record under way of a partition.
    pub(super) fn oldest_of(&self, partition: &Partition) -> Option<&Slot> {
        let of_it = self.slots.values().filter(|slot| slot.partition == *partition);
        of_it.min_by_key(|slot| slot.offset)
    }

    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    // ---- in and out ----------------------------------------------------------------------------------------

    /// Admits a record.
    pub(super) fn insert(&mut self, entry: NewRecord) -> u64 {
        let NewRecord { record, epoch, target, now } = entry;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let lane = self.lanes.of(&record);
        let is_first = self.lanes.enter(lane, sequence);
        let slot = Slot {
            state: if is_first { RecordState::Ready } else { RecordState::Queued },
            partition: record.partition().clone(),
            offset: record.offset(),
            weight: record.weight(),
            // Records behind a slow key stay long after the others of their fetch; those that may be sent at once are
            // not copied.
            record: Some(if is_first || !self.lanes.is_by_key() { record } else { record.detach() }),
            epoch,
            target,
            admitted: now,
            attempts: 0,
            failures: 0,
            first_attempt: None,
            turned_away: None,
            was_stale: false,
            lane,
        };
        self.slots.insert(sequence, slot);
        if is_first {
            self.index_ready(sequence, target, false);
        }
        sequence
    }

    /// Removes a record in any state; its successor in the queue becomes ready.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Slot> {
        let slot = self.slots.remove(&sequence)?;
        self.leave_index(sequence, &slot);
        self.suspects.remove(&sequence);
        if let Some(successor) = self.lanes.leave(slot.lane, sequence)
            && let Some(next) = self.slots.get_mut(&successor)
        {
            debug_assert_eq!(next.state, RecordState::Queued, "only the first of a lane is anything else");
            next.state = RecordState::Ready;
            let target = next.target;
            self.index_ready(successor, target, false);
        }
        Some(slot)
    }

    /// The records of a partition that are neither in flight nor with the dead letters.
    pub(super) fn idle_of(&self, partition: &Partition) -> Vec<u64> {
        let idle =
            |slot: &Slot| !matches!(slot.state, RecordState::InFlight | RecordState::PendingDeadLetter);
        let of_it = self.slots.iter().filter(|(_, slot)| slot.partition == *partition && idle(slot));
        let mut sequences: Vec<u64> = of_it.map(|(sequence, _)| *sequence).collect();
        // From the last on, so that no successor becomes ready only to go next.
        sequences.sort_unstable_by(|a, b| b.cmp(a));
        sequences
    }

    /// The records of a partition that were rejected and are not kept yet.
    pub(super) fn dead_letters_of(&self, partition: &Partition) -> Vec<u64> {
        let is_letter =
            |slot: &Slot| slot.state == RecordState::PendingDeadLetter && slot.partition == *partition;
        self.slots.iter().filter(|(_, slot)| is_letter(slot)).map(|(sequence, _)| *sequence).collect()
    }

    // ---- from state to state -------------------------------------------------------------------------------

    /// Hands a record to a worker.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Record> {
        let slot = self.slots.get_mut(&sequence).filter(|slot| slot.state == RecordState::Ready)?;
        // Invariant 3.
        assert!(self.lanes.is_first(slot.lane, sequence), "a record is sent after its predecessor is done");
        let (record, target) = (slot.record.take()?, slot.target);
        slot.state = RecordState::InFlight;
        self.in_flight += 1;
        if !self.ready.remove(sequence) {
            self.remove_paused(sequence, target);
        }
        Some(record)
    }

    /// Takes a record back from a worker: due at `until`, or at once.
    pub(super) fn put_back(&mut self, sequence: u64, record: Record, until: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&sequence) else { return };
        debug_assert_eq!(slot.state, RecordState::InFlight, "only what is in flight comes back");
        // It may stay for long, and must not keep its whole fetch in memory.
        slot.record = Some(record.detach());
        self.in_flight -= 1;
        let target = slot.target;
        match until {
            Some(until) => {
                slot.state = RecordState::Waiting(until);
                self.waiting.insert((until, sequence));
            }
            None => {
                slot.state = RecordState::Ready;
                self.index_ready(sequence, target, true);
            }
        }
    }

    /// The record was rejected: it waits for the dead letters.
    pub(super) fn await_dead_letter(&mut self, sequence: u64) -> Option<Record> {
        let slot = self.slots.get_mut(&sequence)?;
        let record = slot.record.take();
        let before = std::mem::replace(&mut slot.state, RecordState::PendingDeadLetter);
        let target = slot.target;
        self.leave_state(sequence, before, target);
        record
    }

    /// Makes a ready record wait.
    pub(super) fn postpone(&mut self, sequence: u64, until: Instant) {
        let Some(slot) = self.slots.get_mut(&sequence) else { return };
        let before = slot.state;
        let until = match before {
            RecordState::Ready => until,
            // Never earlier than it was told.
            RecordState::Waiting(told) => told.max(until),
            RecordState::Queued | RecordState::InFlight | RecordState::PendingDeadLetter => return,
        };
        slot.state = RecordState::Waiting(until);
        let target = slot.target;
        self.leave_state(sequence, before, target);
        self.waiting.insert((until, sequence));
    }

    /// The record itself may be the cause: it becomes a suspect.
    pub(super) fn suspect(&mut self, sequence: u64) {
        if let Some(turned_away) = self.slots.get_mut(&sequence).and_then(|slot| slot.turned_away.as_mut()) {
            turned_away.is_suspect = true;
            self.suspects.insert(sequence);
        }
    }

    /// Makes records ready whose wait is over. Returns the paused targets that got a ready record, by this or because a
    /// predecessor is done.
    pub(super) fn wake_due(&mut self, now: Instant) -> BTreeSet<Target> {
        while let Some(&(until, sequence)) = self.waiting.first().filter(|(until, _)| *until <= now) {
            self.waiting.remove(&(until, sequence));
            if let Some(slot) = self.slots.get_mut(&sequence) {
                slot.state = RecordState::Ready;
                let (target, was_sent) = (slot.target, slot.attempts > 0);
                self.index_ready(sequence, target, was_sent);
            }
        }
        self.targets_that_got_one()
    }

    /// The paused targets that got a ready record since the last call.
    pub(super) fn targets_that_got_one(&mut self) -> BTreeSet<Target> {
        std::mem::take(&mut self.paused_got)
    }

    fn leave_index(&mut self, sequence: u64, slot: &Slot) {
        self.leave_state(sequence, slot.state, slot.target);
    }

    fn leave_state(&mut self, sequence: u64, state: RecordState, target: Target) {
        match state {
            RecordState::Ready => {
                if !self.ready.remove(sequence) {
                    self.remove_paused(sequence, target);
                }
            }
            RecordState::Waiting(until) => {
                self.waiting.remove(&(until, sequence));
            }
            RecordState::InFlight => self.in_flight -= 1,
            RecordState::Queued | RecordState::PendingDeadLetter => {}
        }
    }

    // ---- which may go --------------------------------------------------------------------------------------

    fn index_ready(&mut self, sequence: u64, target: Target, was_sent: bool) {
        match self.paused.get_mut(&target) {
            Some(paused) => {
                paused.insert(sequence, was_sent);
                self.paused_got.insert(target);
            }
            None => self.ready.insert(sequence, was_sent),
        }
    }

    fn remove_paused(&mut self, sequence: u64, target: Target) {
        if let Some(paused) = self.paused.get_mut(&target) {
            paused.remove(sequence);
        }
    }

    /// Sets the records of a paused target aside, so that they are not examined.
    pub(super) fn pause_target(&mut self, target: Target) {
        if self.paused.contains_key(&target) {
            return;
        }
        let of_it = |sequence: &u64| self.slots.get(sequence).is_some_and(|slot| slot.target == target);
        let aside = Ready {
            fresh: self.ready.fresh.iter().copied().filter(of_it).collect(),
            again: self.ready.again.iter().copied().filter(of_it).collect(),
        };
        self.ready.fresh.retain(|sequence| !aside.fresh.contains(sequence));
        self.ready.again.retain(|sequence| !aside.again.contains(sequence));
        self.paused.insert(target, aside);
    }

    /// The target goes on.
    pub(super) fn resume_target(&mut self, target: Target) {
        if let Some(mut aside) = self.paused.remove(&target) {
            self.ready.fresh.append(&mut aside.fresh);
            self.ready.again.append(&mut aside.again);
        }
    }

    /// Whether any record waits for nothing but a worker and the destination.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The record, if it is ready.
    pub(super) fn ready(&self, sequence: u64) -> Option<u64> {
        self.slots.get(&sequence).filter(|slot| slot.state == RecordState::Ready).map(|_| sequence)
    }

    /// The first one that is ready.
    pub(super) fn first(&self) -> Option<u64> {
        self.ready.first()
    }

    /// The first one that is ready and was never sent.
    pub(super) fn first_fresh(&self) -> Option<u64> {
        self.ready.fresh.first().copied()
    }

    /// The record to probe with: the first at or after `from` that is not a suspect, else the first that is not a
    /// suspect, else the first. `target`: among the records of a paused target.
    pub(super) fn probe(&self, from: u64, target: Option<Target>) -> Option<u64> {
        let ready = match target {
            Some(target) => self.paused.get(&target)?,
            None => &self.ready,
        };
        let innocent = |sequence: &u64| !self.suspects.contains(sequence);
        ready
            .iter_from(from)
            .find(innocent)
            .or_else(|| ready.iter_from(0).find(innocent))
            .or_else(|| ready.iter_from(0).next())
    }

    /// Whether a record that is not a suspect is ready for the paused target (`None`: for any target that is not
    /// paused).
    pub(super) fn has_innocent(&self, target: Option<Target>) -> bool {
        self.probe(0, target).is_some_and(|sequence| !self.suspects.contains(&sequence))
    }

    /// When the next wait is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Every index holds exactly the records of its state.
    #[cfg(debug_assertions)]
    pub(super) fn check(&self) {
        let (mut ready, mut waiting, mut in_flight) = (0, 0, 0);
        for (sequence, slot) in &self.slots {
            match slot.state {
                RecordState::Ready => {
                    let paused = self.paused.get(&slot.target);
                    let index = paused.unwrap_or(&self.ready);
                    assert!(index.fresh.contains(sequence) || index.again.contains(sequence));
                    ready += 1;
                }
                RecordState::Waiting(until) => {
                    assert!(self.waiting.contains(&(until, *sequence)));
                    waiting += 1;
                }
                RecordState::InFlight => in_flight += 1,
                RecordState::Queued | RecordState::PendingDeadLetter => {}
            }
            let is_idle = !matches!(slot.state, RecordState::InFlight | RecordState::PendingDeadLetter);
            assert_eq!(slot.record.is_some(), is_idle, "a record is in one place");
        }
        let indexed = |ready: &Ready| ready.fresh.len() + ready.again.len();
        let all = indexed(&self.ready) + self.paused.values().map(indexed).sum::<usize>();
        assert_eq!((all, self.waiting.len(), self.in_flight), (ready, waiting, in_flight));
    }
}
