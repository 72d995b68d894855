//! How far each partition is done and who owns it: what may be committed, and how far ahead may be read.
//!
//! Pure: takes `now`, no I/O. It knows records by partition, offset and weight alone. Nothing here looks at all
//! partitions for a single record; only [`Ledger::full`], [`Ledger::room`] and their like do, which the loop asks
//! before a poll. Each possession of a partition has a number, its *epoch*: a record is counted by that, so that one of
//! an earlier possession counts nowhere, and no name is looked up for it.

use super::partition_progress::{Admitted, PartitionProgress};
use super::source::Assigned;
use crate::record::{Checkpoint, Offset, Partition, Position};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A position that stays the same is committed again once its last commit is this old. A group's positions are not kept
/// for ever: brokers forget those of a group without members, and of partitions that nobody subscribes to, some days
/// after their last commit.
pub const RENEW_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// A position committed before the partition was assigned is of unknown age: it is committed again this soon.
pub const RENEW_ASSIGNED_AFTER: Duration = Duration::from_secs(3_600);
/// With room for this many records, asking the source is worth a poll.
pub(super) const WORTH_A_POLL: usize = 64;

/// One assigned partition.
#[derive(Debug)]
struct Track {
    partition: Partition,
    /// The source's number of this assignment, handed back with each commit.
    assignment: u64,
    progress: PartitionProgress,
    /// Records in flight, or in the hands of the dead letters: what a revocation waits for.
    busy: usize,
    /// The weight of the records under way.
    bytes: usize,
    /// The records under way.
    under_way: usize,
    revoked: bool,
    /// The source was asked for no more of it.
    throttled: bool,
    /// When its position is to be committed again, whether or not it has changed.
    renew_at: Option<Instant>,
}

/// The bounds of what may be under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowBounds {
    /// Records that a partition may be ahead of its oldest unfinished one, that one included.
    pub(crate) window: usize,
    /// Bytes of records, over all partitions.
    pub(crate) bytes: usize,
}

impl Track {
    fn checkpoint(&self, (next, metadata): (Offset, String)) -> Checkpoint {
        let position = Position { partition: self.partition.clone(), next };
        Checkpoint { position, metadata, reach: self.progress.reach(), assignment: self.assignment }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// All assigned partitions.
#[derive(Debug)]
pub(super) struct Ledger {
    bounds: WindowBounds,
    /// By epoch.
    tracks: BTreeMap<u64, Track>,
    /// The epoch of each partition that is ours.
    epochs: HashMap<Partition, u64>,
    next_epoch: u64,
    bytes: usize,
    /// Partitions being revoked.
    revoked: BTreeSet<u64>,
    /// Partitions that may have something new to commit.
    dirty: BTreeSet<u64>,
    throttled: usize,
    /// A throttled partition has got room since that was looked at.
    room_freed: bool,
    /// Since that was looked at, records came in or were passed: a partition may be full.
    filled: bool,
    /// The earliest renewal.
    renew_at: Option<Instant>,
}

impl Ledger {
    pub(super) fn new(bounds: WindowBounds) -> Self {
        Self {
            bounds,
            tracks: BTreeMap::new(),
            epochs: HashMap::new(),
            next_epoch: 0,
            bytes: 0,
            revoked: BTreeSet::new(),
            dirty: BTreeSet::new(),
            throttled: 0,
            room_freed: false,
            filled: false,
            renew_at: None,
        }
    }

    fn of(&self, partition: &Partition) -> Option<&Track> {
        self.epochs.get(partition).and_then(|epoch| self.tracks.get(epoch))
    }

    // ---- possession ----------------------------------------------------------------------------------------

    /// The partition is ours from this position on.
    pub(super) fn assign(&mut self, assigned: &Assigned, now: Instant) {
        let Checkpoint { position, metadata, assignment, .. } = &assigned.checkpoint;
        self.lose(&position.partition);
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let mut progress = PartitionProgress::new(position.next, metadata);
        if assigned.uncommitted {
            progress.begins_uncommitted();
            self.dirty.insert(epoch);
        }
        let track = Track {
            partition: position.partition.clone(),
            assignment: *assignment,
            progress,
            busy: 0,
            bytes: 0,
            under_way: 0,
            revoked: false,
            throttled: false,
            renew_at: now.checked_add(RENEW_ASSIGNED_AFTER),
        };
        self.renew_at = earlier(self.renew_at, track.renew_at);
        self.epochs.insert(track.partition.clone(), epoch);
        self.tracks.insert(epoch, track);
    }

    /// The partition has to be given up once nothing of it is in flight.
    pub(super) fn revoke(&mut self, partition: &Partition) {
        let Some(epoch) = self.epochs.get(partition) else { return };
        if let Some(track) = self.tracks.get_mut(epoch) {
            track.revoked = true;
            self.revoked.insert(*epoch);
        }
    }

    /// The partition is not ours any more: nothing of it counts.
    pub(super) fn lose(&mut self, partition: &Partition) {
        let Some(epoch) = self.epochs.remove(partition) else { return };
        if let Some(track) = self.tracks.remove(&epoch) {
            self.throttled -= usize::from(track.throttled);
            // Its records in flight still use memory until they are answered; their bytes are taken off here at once.
            self.bytes = self.bytes.saturating_sub(track.bytes);
            self.room_freed = true;
        }
        self.revoked.remove(&epoch);
        self.dirty.remove(&epoch);
    }

    /// Whether this possession of its partition goes on.
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        self.tracks.contains_key(&epoch)
    }

    /// Whether the partition is ours under this assignment of the source.
    pub(super) fn is_under(&self, partition: &Partition, assignment: u64) -> bool {
        self.of(partition).is_some_and(|track| track.assignment == assignment)
    }

    /// Whether the partition is being given up, or gone: nothing new of it is sent.
    pub(super) fn is_leaving(&self, epoch: u64) -> bool {
        self.tracks.get(&epoch).is_none_or(|track| track.revoked)
    }

    /// Revoked partitions with nothing in flight and nothing left to commit.
    pub(super) fn releasable(&self) -> Vec<Partition> {
        let tracks = self.revoked.iter().filter_map(|epoch| self.tracks.get(epoch));
        let free = tracks.filter(|track| track.busy == 0 && !track.progress.has_to_commit());
        free.map(|track| track.partition.clone()).collect()
    }

    // ---- records -------------------------------------------------------------------------------------------

    /// Admits the next record of a partition. Returns the epoch if the partition is assigned and the record is new.
    pub(super) fn admit(&mut self, partition: &Partition, offset: Offset) -> Option<(Admitted, u64)> {
        let epoch = *self.epochs.get(partition)?;
        let track = self.tracks.get_mut(&epoch).filter(|track| !track.revoked)?;
        let admitted = track.progress.admit(offset);
        if admitted == Admitted::Done {
            self.dirty.insert(epoch);
        }
        self.filled |= admitted != Admitted::Not;
        (admitted != Admitted::Not).then_some((admitted, epoch))
    }

    /// A record that was taken in is under way from now on.
    pub(super) fn enter(&mut self, epoch: u64, weight: usize) {
        if let Some(track) = self.tracks.get_mut(&epoch) {
            track.bytes += weight;
            track.under_way += 1;
            self.bytes += weight;
        }
    }

    /// A record is under way no longer, done or not.
    pub(super) fn leave(&mut self, epoch: u64, weight: usize) {
        let Some(track) = self.tracks.get_mut(&epoch) else { return };
        track.bytes = track.bytes.saturating_sub(weight);
        track.under_way = track.under_way.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight);
        self.note_room(epoch);
    }

    /// Wakes the loop once a throttled partition is no longer full.
    fn note_room(&mut self, epoch: u64) {
        if self.throttled == 0 || self.room_freed {
            return;
        }
        let (alone, free) = (self.tracks.len() == 1, self.free());
        let track = self.tracks.get(&epoch).filter(|track| track.throttled);
        self.room_freed = track.is_some_and(|track| !self.is_full(track, alone, free));
    }

    /// No record of the partition lies between the last one taken in and `position`. Of a partition that is being
    /// given up, records may have been left out, so nothing is passed there.
    pub(super) fn pass(&mut self, position: &Position) {
        let Some(epoch) = self.epochs.get(&position.partition) else { return };
        if let Some(track) = self.tracks.get_mut(epoch).filter(|track| !track.revoked) {
            track.progress.pass(position.next);
            self.filled = true;
            self.dirty.insert(*epoch);
        }
    }

    /// The record is done.
    pub(super) fn done(&mut self, epoch: u64, offset: Offset) {
        let Some(track) = self.tracks.get_mut(&epoch) else { return };
        let before = track.progress.watermark();
        track.progress.done(offset);
        debug_assert!(track.progress.watermark() >= before, "invariant 2: a watermark never goes back");
        self.dirty.insert(epoch);
    }

    /// One more of its records is in flight or being written to the dead letters.
    pub(super) fn mark_busy(&mut self, epoch: u64) {
        if let Some(track) = self.tracks.get_mut(&epoch) {
            track.busy += 1;
        }
    }

    /// One record less is.
    pub(super) fn unmark_busy(&mut self, epoch: u64) {
        if let Some(track) = self.tracks.get_mut(&epoch) {
            debug_assert!(track.busy > 0, "as many end as began");
            track.busy = track.busy.saturating_sub(1);
        }
    }

    // ---- commits -------------------------------------------------------------------------------------------

    /// Positions that are ahead of what was committed, or have more done beyond them.
    pub(super) fn uncommitted(&mut self) -> Vec<Checkpoint> {
        let tracks = &self.tracks;
        let mut checkpoints = Vec::new();
        self.dirty.retain(|epoch| {
            let Some(track) = tracks.get(epoch) else { return false };
            let Some(place) = track.progress.to_commit() else { return false };
            checkpoints.push(track.checkpoint(place));
            true
        });
        checkpoints
    }

    /// Positions that have not changed for so long that they are committed again; revoked partitions are left to their
    /// next owner.
    pub(super) fn renewals(&mut self, now: Instant) -> Vec<Checkpoint> {
        if self.renew_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let kept = || self.tracks.values().filter(|track| !track.revoked);
        let is_old = |track: &Track| track.renew_at.is_some_and(|at| at <= now);
        let old = kept().filter(|track| is_old(track) && !track.progress.has_to_commit());
        let checkpoints = old.map(|track| track.checkpoint(track.progress.position())).collect();
        self.renew_at = kept().filter_map(|track| track.renew_at).min();
        checkpoints
    }

    /// These positions are committed, by a commit that began at `began`.
    pub(super) fn committed(&mut self, checkpoints: &[Checkpoint], began: Instant) {
        for Checkpoint { position, metadata, assignment, .. } in checkpoints {
            let epoch = self.epochs.get(&position.partition);
            let track = epoch.and_then(|epoch| self.tracks.get_mut(epoch));
            if let Some(track) = track.filter(|track| track.assignment == *assignment) {
                track.progress.committed(position.next, metadata);
                track.renew_at = began.checked_add(RENEW_AFTER);
                self.renew_at = earlier(self.renew_at, track.renew_at);
            }
        }
    }

    /// How far each assigned partition is done.
    pub(super) fn watermarks(&self) -> impl Iterator<Item = (&Partition, Offset)> {
        self.tracks.values().map(|track| (&track.partition, track.progress.watermark()))
    }

    // ---- room ----------------------------------------------------------------------------------------------

    /// The bytes of the records under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn free(&self) -> usize {
        self.bounds.bytes.saturating_sub(self.bytes)
    }

    /// The partitions that the source should throttle. A throttled one stays so until it has some room, so that it does
    /// not switch with each record.
    pub(super) fn full(&mut self) -> Vec<Partition> {
        (self.room_freed, self.filled) = (false, false);
        let alone = self.tracks.len() == 1;
        let free = self.free();
        let full = self.tracks.values().filter(|track| !track.revoked && self.is_full(track, alone, free));
        let mut full: Vec<Partition> = full.map(|track| track.partition.clone()).collect();
        full.sort();
        full
    }

    fn is_full(&self, track: &Track, alone: bool, free: usize) -> bool {
        let window = self.bounds.window;
        let room = window.saturating_sub(track.progress.len());
        let reserve = if track.throttled { window / 4 } else { window / 8 }.max(1);
        room < reserve || (track.under_way > 0 && !alone && self.has_its_share(track, free))
    }

    /// Whether it holds its share of the buffer where others wait for room: half of the free bytes. So there is always
    /// room for one more partition, however many are stuck.
    fn has_its_share(&self, track: &Track, free: usize) -> bool {
        track.bytes >= if track.throttled { free / 4 } else { free / 2 }
    }

    /// The source throttles exactly these: they no longer bound what is asked of the others.
    pub(super) fn throttle(&mut self, partitions: &[Partition]) {
        for track in self.tracks.values_mut() {
            track.throttled = false;
        }
        self.throttled = 0;
        for partition in partitions {
            let epoch = self.epochs.get(partition);
            if let Some(track) = epoch.and_then(|epoch| self.tracks.get_mut(epoch)) {
                track.throttled = true;
                self.throttled += 1;
            }
        }
        // Its records may all have been done since it was found full: then none is left whose end would tell of the room.
        let (alone, free) = (self.tracks.len() == 1, self.free());
        let has_room = |track: &Track| track.throttled && !self.is_full(track, alone, free);
        self.room_freed |= self.tracks.values().any(has_room);
    }

    /// Whether records were admitted since the last call of [`full`](Self::full).
    pub(super) fn has_filled(&self) -> bool {
        self.filled
    }

    /// Whether a throttled partition has gained room since the last call of [`full`](Self::full).
    pub(super) fn room_freed(&self) -> bool {
        self.room_freed && self.throttled > 0
    }

    /// How many records and bytes the next poll may return. All of them may be of one partition, so the fullest
    /// partition that is not throttled sets the number.
    pub(super) fn room(&self) -> (usize, usize) {
        let open = || self.tracks.values().filter(|track| !track.revoked && !track.throttled);
        let records = open().map(|track| self.bounds.window.saturating_sub(track.progress.len())).min();
        let records = match records {
            Some(records) => records,
            None if self.tracks.is_empty() => self.bounds.window,
            None => 0,
        };
        match self.free() {
            // One record of each partition always passes.
            0 if open().any(|track| track.under_way == 0) && open().all(|track| track.under_way == 0) => {
                (records.min(1), 1)
            }
            0 => (0, 0),
            free if self.tracks.len() > 1 => (records, (free / 4).max(1)),
            free => (records, free),
        }
    }
}
