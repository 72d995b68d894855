//! How partitions and records come in, how they go, and how much is taken in.

use super::Dispatcher;
use crate::record::{Partition, Position, Record};
use crate::relay::ledger::WORTH_A_POLL;
use crate::relay::partition_progress::Admitted;
use crate::relay::schedule::NewRecord;
use crate::relay::settings::Intake;
use crate::relay::source::{Assigned, PollLimit};
use crate::relay::transport::Target;
use std::time::Instant;

/// At least this part of a batch is for records that are new.
const NEW_PART: usize = 4;
/// A record that was fetched with so many bytes of others is copied out, so that it doesn't keep them in memory.
const COPIED_BEYOND: usize = 64 << 10;

impl Dispatcher {
    // ---- partitions ----------------------------------------------------------------------------------------

    /// The partition is ours, from this position on.
    pub fn assign(&mut self, assigned: &Assigned, now: Instant) {
        let partition = &assigned.checkpoint.position.partition;
        self.lose(partition);
        self.ledger.assign(assigned, now);
    }

    /// The partition has to be given up: what is in flight may finish, nothing else of it goes out.
    pub fn revoke(&mut self, partition: &Partition) {
        self.ledger.revoke(partition);
        self.forget(partition);
        // Those that nobody is writing down yet are left to whoever has the partition next.
        let (gone, left) = std::mem::take(&mut self.letters)
            .into_iter()
            .partition(|pending| pending.letter.record.partition() == partition);
        self.letters = left;
        let gone: Vec<super::PendingDeadLetter> = gone;
        gone.iter().for_each(|pending| self.remove(pending.sequence));
    }

    /// The partition is somebody else's: nothing of it counts any more. All that is left of it is what is in flight.
    pub fn lose(&mut self, partition: &Partition) {
        self.ledger.lose(partition);
        self.letters.retain(|pending| pending.letter.record.partition() != partition);
        self.forget(partition);
        for sequence in self.schedule.dead_letters_of(partition) {
            self.remove(sequence);
        }
        if self.schedule.is_empty() {
            self.failing = None;
        }
    }

    fn forget(&mut self, partition: &Partition) {
        for sequence in self.schedule.idle_of(partition) {
            self.remove(sequence);
        }
    }

    /// Revoked partitions with nothing in flight and nothing left to commit: they can go.
    pub fn releasable(&self) -> Vec<Partition> {
        self.ledger.releasable()
    }

    /// No record of the partition lies between the last one taken in and this position.
    pub fn pass(&mut self, position: &Position) {
        self.ledger.pass(position);
    }

    // ---- records -------------------------------------------------------------------------------------------

    /// Takes a record in. One that was done before the last restart or takeover counts as done, and so does one that
    /// the filter leaves out. One of a partition that is not ours, or that was taken in before, is left out: nothing
    /// is lost by it, since it is not counted as done either.
    pub fn admit(&mut self, record: Record, target: Target, now: Instant) {
        let Some((admitted, epoch)) = self.ledger.admit(record.partition(), record.offset()) else { return };
        if admitted == Admitted::Done {
            self.totals.remembered += 1;
            return;
        }
        if !self.settings.filter.passes(&record) {
            self.ledger.done(epoch, record.offset());
            self.totals.filtered += 1;
            return;
        }
        // Where most of a fetch is left out, or it is large, a record must not keep all of it in memory.
        let is_copied = record.shared_bytes() > COPIED_BEYOND || !self.settings.filter.is_all();
        let record = if is_copied { record.detach() } else { record };
        self.ledger.enter(epoch, record.weight());
        self.taken = self.taken.saturating_add(1);
        self.schedule.insert(NewRecord { record, epoch, target, now });
        self.comes_ready(target, now);
    }

    /// How much may be taken in now: what fits into the batch, where it is not closed, into every partition that is
    /// not throttled, and into the buffer.
    pub fn room(&self) -> PollLimit {
        if self.is_finished() || self.closed {
            return PollLimit::NOTHING;
        }
        let (records, bytes) = self.ledger.room();
        let records = match self.settings.intake {
            Intake::Batch => records.min(self.batch_room()),
            Intake::Sliding => records,
        };
        if records == 0 || bytes == 0 { PollLimit::NOTHING } else { PollLimit { records, bytes } }
    }

    /// Carried records count, but leave a part of each batch to new ones: however many fail, others go on.
    fn batch_room(&self) -> usize {
        let size = self.settings.batch_size.get();
        let left = size.saturating_sub(self.schedule.len());
        left.max((size / NEW_PART).max(1).saturating_sub(self.taken))
    }

    /// Whether it is time to take more in: room for a few at once, or nothing left that could go.
    pub fn wants_more(&self) -> bool {
        let room = self.room().records;
        let most = self.settings.window_size.get();
        self.ledger.room_freed()
            || room > 0 && (room >= (most / 8).clamp(1, WORTH_A_POLL) || !self.schedule.has_ready())
    }

    /// Whether records came in since [`full`](Self::full) was asked.
    pub fn has_filled(&self) -> bool {
        self.ledger.has_filled()
    }

    /// Whether a look at [`wants_more`](Self::wants_more) may be worth it, without looking at each partition.
    pub fn may_want_more(&self, finished: usize) -> bool {
        self.ledger.room_freed() || !self.schedule.has_ready() || finished >= WORTH_A_POLL
    }

    /// The partitions of which the source should bring no more for now.
    pub fn full(&mut self) -> Vec<Partition> {
        self.ledger.full()
    }

    /// The source throttles exactly these: they no longer bound what is asked of the others.
    pub fn throttle(&mut self, partitions: &[Partition]) {
        self.ledger.throttle(partitions);
    }

    /// Nothing more is taken in until [`open`](Self::open).
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Records are taken in again.
    pub fn open(&mut self) {
        self.closed = false;
        self.taken = 0;
    }

    /// Nothing more is sent; what is in flight may finish.
    pub fn drain(&mut self) {
        self.draining = true;
    }
}
