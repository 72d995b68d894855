//! Partitions assigned and revoked, records admitted, and how many.

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
/// A record whose fetch brought more bytes than this is copied, so that it does not keep the whole fetch in memory.
const COPIED_BEYOND: usize = 64 << 10;

impl Dispatcher {
    // ---- partitions ----------------------------------------------------------------------------------------

    /// The partition is assigned, from this position on.
    pub fn assign(&mut self, assigned: &Assigned, now: Instant) {
        let partition = &assigned.checkpoint.position.partition;
        self.lose(partition);
        self.ledger.assign(assigned, now);
    }

    /// The partition is revoked: records in flight may finish, no others are sent.
    pub fn revoke(&mut self, partition: &Partition) {
        self.ledger.revoke(partition);
        self.forget(partition);
        // Dead letters that are not being written yet are left to the next owner of the partition.
        let (gone, left) = std::mem::take(&mut self.letters)
            .into_iter()
            .partition(|pending| pending.letter.record.partition() == partition);
        self.letters = left;
        let gone: Vec<super::PendingDeadLetter> = gone;
        gone.iter().for_each(|pending| self.remove(pending.sequence));
    }

    /// The partition has another owner: nothing of it counts any more; only records in flight are left.
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

    /// Admits a record. Those done before the last restart or takeover, and those that the filter excludes, count as
    /// done. Records of partitions that are not assigned, and duplicates, are ignored and not counted as done.
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

    /// How much the next poll may return: what fits into the batch, into each partition that is not throttled, and into
    /// the buffer.
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

    /// Carried records count, but a part of each batch is for new ones, so that failing records never stop others.
    fn batch_room(&self) -> usize {
        let size = self.settings.batch_size.get();
        let left = size.saturating_sub(self.schedule.len());
        left.max((size / NEW_PART).max(1).saturating_sub(self.taken))
    }

    /// Worth polling the source: there is room for several records, or none is ready.
    pub fn wants_more(&self) -> bool {
        let room = self.room().records;
        let most = self.settings.window_size.get();
        self.ledger.room_freed()
            || room > 0 && (room >= (most / 8).clamp(1, WORTH_A_POLL) || !self.schedule.has_ready())
    }

    /// Whether records were admitted since the last call of [`full`](Self::full).
    pub fn has_filled(&self) -> bool {
        self.ledger.has_filled()
    }

    /// Whether [`wants_more`](Self::wants_more) is worth calling, without a look at each partition.
    pub fn may_want_more(&self, finished: usize) -> bool {
        self.ledger.room_freed() || !self.schedule.has_ready() || finished >= WORTH_A_POLL
    }

    /// The partitions that the source should throttle.
    pub fn full(&mut self) -> Vec<Partition> {
        self.ledger.full()
    }

    /// The source throttles exactly these: they no longer bound what is asked of the others.
    pub fn throttle(&mut self, partitions: &[Partition]) {
        self.ledger.throttle(partitions);
    }

    /// Admits nothing more until [`open`](Self::open).
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Admits records again.
    pub fn open(&mut self) {
        self.closed = false;
        self.taken = 0;
    }

    /// Sends nothing new; requests in flight may finish.
    pub fn drain(&mut self) {
        self.draining = true;
    }
}
