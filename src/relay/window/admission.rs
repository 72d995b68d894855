//! How partitions and records come into the window, and how much of them it takes.

use super::{Condemned, Slot, Track, Window};
use crate::relay::progress::{Admitted, Progress};
use crate::relay::record::{Checkpoint, Partition, Position, Record};
use crate::relay::settings::{Intake, Order};
use crate::relay::source::Want;
use std::time::Instant;

/// With room for so many it is worth to ask the source: fewer at a time would cost a poll each.
const FEW_AT_ONCE: usize = 64;

impl Window {
    /// The partition is ours, from this position on, with what is known to be done beyond it.
    pub fn assign(&mut self, checkpoint: &Checkpoint) {
        let position = &checkpoint.position;
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let track = Track {
            epoch,
            assignment: checkpoint.assignment,
            progress: Progress::new(position.next, &checkpoint.metadata),
            busy: 0,
            revoked: false,
            held: false,
        };
        if self.tracks.insert(position.partition.clone(), track).is_some() {
            self.forget(&position.partition, Some(epoch));
        }
    }

    /// Nobody has committed the position that the partition begins at.
    pub fn begins_uncommitted(&mut self, partition: &Partition) {
        if let Some(track) = self.tracks.get_mut(partition) {
            track.progress.begins_uncommitted();
        }
    }

    /// No record of the partition lies between the last one admitted and this position. Of a partition that is being
    /// given up, records may have been left out; so nothing is passed there.
    pub fn pass(&mut self, position: &Position) {
        if let Some(track) = self.tracks.get_mut(&position.partition).filter(|track| !track.revoked) {
            track.progress.pass(position.next);
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

    /// How much may be admitted now: in batch mode a whole batch once the last one is done, in sliding mode what
    /// fits into every partition that is not [held](Self::hold).
    pub fn room(&self) -> Want {
        let (records, bytes) = match self.settings.intake {
            _ if self.draining => (0, 0),
            Intake::Batch if !self.slots.is_empty() => (0, 0),
            Intake::Batch => (self.settings.batch_size.get(), self.settings.batch_bytes.get()),
            Intake::Sliding => {
                (self.sliding_room(), self.settings.batch_bytes.get().saturating_sub(self.bytes))
            }
        };
        if bytes == 0 { Want { records: 0, bytes: 0 } } else { Want { records, bytes } }
    }

    /// A poll may bring records of one partition alone, so the fullest of those that are not held says how many.
    fn sliding_room(&self) -> usize {
        let size = self.settings.window_size.get();
        if self.tracks.is_empty() {
            return size;
        }
        let open = self.tracks.values().filter(|track| !track.revoked && !track.held);
        open.map(|track| size.saturating_sub(track.progress.len())).min().unwrap_or(0)
    }

    /// Whether it is time to take more in: room for a few at once, or nothing left that could go.
    pub fn is_hungry(&self) -> bool {
        let most = match self.settings.intake {
            Intake::Batch => self.settings.batch_size.get(),
            Intake::Sliding => self.settings.window_size.get(),
        };
        let room = self.room().records;
        let may_be_let_go =
            self.tracks.values().any(|track| track.held && !track.revoked && !self.is_full(track));
        may_be_let_go
            || room > 0 && (room >= (most / 8).clamp(1, FEW_AT_ONCE) || self.queue.first().is_none())
    }

    /// The partitions with so many records ahead of their oldest unfinished one that the source should bring no
    /// more of them. One that is held stays so until a quarter of the window is free, so that it does not come and
    /// go with each record.
    pub fn full(&self) -> Vec<Partition> {
        if self.settings.intake == Intake::Batch {
            return Vec::new();
        }
        let full = self.tracks.iter().filter(|(_, track)| !track.revoked && self.is_full(track));
        let mut full: Vec<Partition> = full.map(|(partition, _)| partition.clone()).collect();
        full.sort();
        full
    }

    fn is_full(&self, track: &Track) -> bool {
        let size = self.settings.window_size.get();
        let room = size.saturating_sub(track.progress.len());
        room < if track.held { size / 4 } else { size / 8 }.max(1)
    }

    /// The source holds exactly these: they no longer bound what is asked of the others.
    pub fn hold(&mut self, partitions: &[Partition]) {
        for (partition, track) in &mut self.tracks {
            track.held = partitions.contains(partition);
        }
    }

    /// Takes a record in. One that was done before the last restart or takeover counts as done, and so does one that
    /// the filter leaves out. One of a partition that is not ours, or that was taken in before, is left out: nothing
    /// is lost by it, since it is not counted as done either.
    pub fn admit(&mut self, record: Record, now: Instant) {
        let Some(track) = self.tracks.get_mut(record.partition()) else { return };
        if track.revoked {
            return;
        }
        match track.progress.admit(record.offset()) {
            Admitted::Open if self.settings.filter.passes(&record) => {}
            Admitted::Open => {
                track.progress.done(record.offset());
                return self.totals.filtered += 1;
            }
            Admitted::Done => return self.totals.remembered += 1,
            Admitted::Not => return,
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let (lane, weight) = (self.lanes.of(&record), record.weight());
        let may_go = self.lanes.enter(lane, sequence);
        if may_go {
            self.queue.ready(sequence, false);
        }
        // A key that is slow keeps its records long after the others of their fetch are gone. Those that may go,
        // and those of a partition in order, leave as they came, and little of their fetch stays behind with them.
        let stays = !may_go && self.settings.order == Order::Key;
        let record = if stays { record.detach() } else { record };
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
}
