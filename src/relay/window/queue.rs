//! Which records may go, in what sequence: those that go for the first time, those that go again, and those whose
//! time has not come. Pure bookkeeping; it knows neither records nor answers.

use std::collections::BTreeSet;
use std::time::Instant;

/// The records that wait to be sent, by sequence: a lower one was there first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// May go, for the first time.
    fresh: BTreeSet<u64>,
    /// May go, and have been sent before.
    again: BTreeSet<u64>,
    /// Wait for their next attempt.
    waiting: BTreeSet<(Instant, u64)>,
}

impl Queue {
    /// It may go.
    pub(super) fn ready(&mut self, sequence: u64, was_sent: bool) {
        if was_sent {
            self.again.insert(sequence)
        } else {
            self.fresh.insert(sequence)
        };
    }

    /// It may go from `due` on.
    pub(super) fn wait(&mut self, sequence: u64, due: Instant) {
        self.waiting.insert((due, sequence));
    }

    /// Those whose time has come may go.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some(&(due, sequence)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, sequence));
            self.again.insert(sequence);
        }
    }

    /// It goes, or is forgotten.
    pub(super) fn remove(&mut self, sequence: u64, due: Option<Instant>) {
        if !self.fresh.remove(&sequence)
            && !self.again.remove(&sequence)
            && let Some(due) = due
        {
            self.waiting.remove(&(due, sequence));
        }
    }

    /// The one that was there first.
    pub(super) fn first(&self) -> Option<u64> {
        self.from(0)
    }

    /// The one that was there first, of those that go for the first time.
    pub(super) fn first_fresh(&self) -> Option<u64> {
        self.fresh.first().copied()
    }

    /// The one that was there first, of those not before `sequence`.
    pub(super) fn from(&self, sequence: u64) -> Option<u64> {
        let first = |set: &BTreeSet<u64>| set.range(sequence..).next().copied();
        match (first(&self.fresh), first(&self.again)) {
            (Some(fresh), Some(again)) => Some(fresh.min(again)),
            (fresh, again) => fresh.or(again),
        }
    }

    /// When the next one's time comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// How many wait for their time.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
