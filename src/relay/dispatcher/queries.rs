//! Queries: they change nothing but what counts as committed or reported.

use super::Dispatcher;
use super::outcome::words;
use crate::record::{Checkpoint, Offset, Partition};
use crate::relay::event::{Change, Totals};
use crate::relay::run_error::RunError;
use crate::relay::schedule::RecordState;
use crate::relay::settings::Intake;
use std::time::Instant;

/// Attempts after which a record counts as stuck.
const STUBBORN: u32 = 3;

impl Dispatcher {
    /// Positions that are ahead of the last commit, or have more done beyond them.
    pub fn uncommitted(&mut self) -> Vec<Checkpoint> {
        self.ledger.uncommitted()
    }

    /// The same, and unless draining, positions that have not changed for
    /// [`RENEW_AFTER`](crate::relay::RENEW_AFTER).
    pub fn due_commits(&mut self, now: Instant) -> Vec<Checkpoint> {
        let mut checkpoints = self.ledger.uncommitted();
        if !self.draining {
            checkpoints.extend(self.ledger.renewals(now));
        }
        checkpoints
    }

    /// The partitions still assigned as they were when their checkpoint was made.
    pub fn still_ours(&self, checkpoints: Vec<Checkpoint>) -> Vec<Partition> {
        let is_ours = |it: &Checkpoint| self.ledger.is_under(&it.position.partition, it.assignment);
        checkpoints.into_iter().filter(is_ours).map(|it| it.position.partition).collect()
    }

    /// These positions are committed, by a commit that began then.
    pub fn committed(&mut self, checkpoints: &[Checkpoint], began: Instant) {
        self.ledger.committed(checkpoints, began);
    }

    /// How far each assigned partition is done.
    pub fn watermarks(&self) -> impl Iterator<Item = (&Partition, Offset)> {
        self.ledger.watermarks()
    }

    /// Why the run was ended, if it was; returned once.
    pub fn take_stopped(&mut self) -> Option<RunError> {
        if self.stopped.is_some() {
            self.draining = true;
        }
        self.stopped.take()
    }

    /// The next change to report.
    pub fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whether a change or the end of the run is to be reported.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty() || self.stopped.is_some()
    }

    /// Nothing is in flight, and nothing will be until more is admitted. A batch is idle once each record is done or
    /// carried over: backing off, behind such a record, of a paused target, or on its way to the dead letters.
    pub fn is_idle(&self) -> bool {
        self.is_finished() && self.schedule.in_flight() == 0
    }

    /// Nothing more will be sent until more is admitted.
    pub fn is_finished(&self) -> bool {
        let is_through = || match self.settings.intake {
            Intake::Batch => {
                (!self.schedule.has_ready() || self.rests)
                    && !self.wants_probe
                    && self.schedule.in_flight() == 0
            }
            Intake::Sliding => self.schedule.is_empty(),
        };
        self.draining || self.stopped.is_some() || (self.closed && is_through())
    }

    /// Whether records that were carried over from the last batch may go now.
    pub fn has_due(&mut self, now: Instant) -> bool {
        self.wake_due(now);
        (self.schedule.has_ready() && !self.rests) || self.wants_probe
    }

    /// When the next of them may go.
    pub fn next_due_at(&self) -> Option<Instant> {
        self.next_due()
    }

    /// How many requests may be on their way at once.
    pub fn limit(&self) -> usize {
        self.brakes.limit()
    }

    /// The number of requests that may ever be in flight at once.
    pub fn max_concurrency(&self) -> usize {
        self.settings.max_concurrency.get()
    }

    /// Records under way: taken in and not done.
    pub fn len(&self) -> usize {
        self.schedule.len()
    }

    /// Whether no record is under way.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_empty()
    }

    /// The bytes of the records under way.
    pub fn bytes(&self) -> usize {
        self.ledger.bytes()
    }

    /// Records in flight.
    pub fn in_flight(&self) -> usize {
        self.schedule.in_flight()
    }

    /// Records that wait for their next attempt.
    pub fn retrying(&self) -> usize {
        self.schedule.waiting()
    }

    /// Whether any record waits for nothing but a worker and the destination.
    pub fn has_ready(&self) -> bool {
        self.schedule.has_ready()
    }

    /// When the oldest record under way was taken in.
    pub fn oldest(&self) -> Option<Instant> {
        self.schedule.oldest()
    }

    /// Since when all sending is paused.
    pub fn paused_since(&self) -> Option<Instant> {
        self.brakes.destinations.origin().paused_since()
    }

    /// Since when attempts have failed without an acceptance, and the last cause. `None` while idle.
    pub fn failing(&self) -> Option<(Instant, &str)> {
        self.failing.as_ref().map(|(since, cause)| (*since, cause.as_str()))
    }

    /// Counts since the start; `elapsed` and `most_in_flight` are left to the caller.
    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }

    /// The record that holds a throttled partition back, if it was sent several times or waits for the dead letters.
    pub fn stuck(&self, partition: &Partition) -> Option<Change> {
        let slot = self.schedule.oldest_of(partition)?;
        let is_tried = slot.attempts >= STUBBORN || slot.state() == RecordState::PendingDeadLetter;
        is_tried.then(|| Change::Stuck {
            partition: partition.clone(),
            offset: slot.offset,
            attempts: slot.attempts,
            cause: slot.turned_away.as_ref().map(|turned_away| words(&turned_away.answer)),
        })
    }

    /// Panics if its parts do not agree with each other.
    #[cfg(debug_assertions)]
    pub fn check(&self) {
        self.schedule.check();
    }
}
