//! The log of one partition: batches in memory, bounded in bytes. Pure: no clock, no lock.
//!
//! Invariant: batches are contiguous from log start to log end without overlap, and each has the offsets and the
//! leader epoch with which it was appended.

use crate::kafka::protocol::ErrorCode;
use crate::kafka::record_batch::{Batch, Batches, MAX_UNPACKED, Unpacker, place};
use std::collections::{BTreeMap, VecDeque};

/// The default for the most bytes a partition keeps; beyond that, its oldest batches are deleted.
pub const PARTITION_BYTES: usize = 64 << 20;
/// The largest accepted batch in bytes: the default of `message.max.bytes`.
pub const LARGEST_BATCH: usize = 1_048_588;
/// The number of batches remembered per idempotent producer, as in Kafka (KIP-98).
const REMEMBERED_BATCHES: usize = 5;
/// The most idempotent producers remembered per partition.
const MOST_PRODUCERS: usize = 1_000;

/// The leader id of a partition without leader.
pub(super) const NOBODY: i32 = -1;

/// A batch in the log.
#[derive(Debug)]
struct Kept {
    base: i64,
    last: i64,
    /// The largest timestamp of its records.
    latest: i64,
    bytes: Vec<u8>,
}

/// The state of an idempotent producer.
#[derive(Debug)]
struct Tail {
    epoch: i16,
    next_sequence: i64,
    /// First sequence number, record count and base offset of its last batches.
    recent: VecDeque<(i32, usize, i64)>,
}

/// The log of one partition.
#[derive(Debug)]
pub(super) struct Log {
    batches: VecDeque<Kept>,
    start: i64,
    end: i64,
    bytes: usize,
    /// The leader's node id, or [`NOBODY`].
    pub(super) leader: i32,
    /// The only replica: the last leader.
    pub(super) replica: i32,
    /// Leader epochs with their start offsets, both ascending; never empty.
    epochs: Vec<(i32, i64)>,
    producers: BTreeMap<i64, Tail>,
    most_bytes: usize,
}

impl Log {
    pub(super) fn new(leader: i32, epoch: i32, most_bytes: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            start: 0,
            end: 0,
            bytes: 0,
            leader,
            replica: leader,
            epochs: vec![(epoch, 0)],
            producers: BTreeMap::new(),
            most_bytes,
        }
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// The log end offset.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The current leader epoch.
    pub(super) fn epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// Checks a client's leader epoch (KIP-320); -1 skips the check.
    pub(super) fn check_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        match known {
            ..0 => Ok(()),
            known if known < self.epoch() => Err(ErrorCode::FENCED_LEADER_EPOCH),
            known if known > self.epoch() => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }

    /// Appends a producer's batch (format v2) and returns its base offset.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<i64, ErrorCode> {
        let batch = sole_batch(bytes)?;
        if let Some(base) = self.remembered(&batch)? {
            return Ok(base);
        }
        let base = self.end;
        let delta = batch.last_offset() - batch.base_offset();
        let end = base.checked_add(delta).and_then(|last| last.checked_add(1));
        let end = end.ok_or(ErrorCode::INVALID_RECORD)?;
        self.remember(&batch, base);
        let mut kept = Kept { base, last: end - 1, latest: batch.max_timestamp(), bytes: bytes.to_vec() };
        place(&mut kept.bytes, base, self.epoch());
        self.bytes = self.bytes.saturating_add(kept.bytes.len());
        self.batches.push_back(kept);
        self.end = end;
        while self.bytes > self.most_bytes && self.batches.len() > 1 {
            self.drop_oldest();
        }
        Ok(base)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes = self.bytes.saturating_sub(oldest.bytes.len());
            self.begin_at(oldest.last + 1);
        }
    }

    /// Moves the log start, and with it the start of the first leader epoch.
    fn begin_at(&mut self, start: i64) {
        self.start = self.start.max(start);
        let start = self.start;
        let gone = self.epochs.partition_point(|(_, from)| *from <= start);
        self.epochs.drain(..gone.saturating_sub(1));
        if let Some((_, from)) = self.epochs.first_mut().filter(|_| gone > 0) {
            *from = start;
        }
    }

    /// The base offset of a batch that its idempotent producer has sent before.
    fn remembered(&self, batch: &Batch<'_>) -> Result<Option<i64>, ErrorCode> {
        let Some(tail) = self.producers.get(&batch.producer_id()) else { return Ok(None) };
        if batch.producer_epoch() < tail.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if batch.producer_epoch() > tail.epoch {
            return match batch.base_sequence() {
                0 => Ok(None),
                _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            };
        }
        let again = |(first, count, _): &&(i32, usize, i64)| {
            (*first, *count) == (batch.base_sequence(), batch.count())
        };
        match tail.recent.iter().find(again) {
            Some((.., base)) => Ok(Some(*base)),
            None if i64::from(batch.base_sequence()) == tail.next_sequence => Ok(None),
            None => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }

    fn remember(&mut self, batch: &Batch<'_>, base: i64) {
        if batch.producer_id() < 0 {
            return;
        }
        let fresh = || Tail { epoch: batch.producer_epoch(), next_sequence: 0, recent: VecDeque::new() };
        let tail = self.producers.entry(batch.producer_id()).or_insert_with(fresh);
        if tail.epoch != batch.producer_epoch() {
            *tail = fresh();
        }
        let count = i64::try_from(batch.count()).unwrap_or(i64::MAX);
        // Sequence numbers wrap to 0 after the maximum.
        tail.next_sequence = i64::from(batch.base_sequence()).saturating_add(count) % (1 << 31);
        tail.recent.push_back((batch.base_sequence(), batch.count(), base));
        if tail.recent.len() > REMEMBERED_BATCHES {
            tail.recent.pop_front();
        }
        while self.producers.len() > MOST_PRODUCERS {
            self.producers.pop_first();
        }
    }

    /// Whole batches starting with the one that contains `offset`, up to `limit` bytes; with `first_whole`, at least one
    /// (KIP-74).
    pub(super) fn read(&self, offset: i64, limit: usize, first_whole: bool) -> Result<Vec<u8>, ErrorCode> {
        if !(self.start..=self.end).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let from = self.batches.partition_point(|kept| kept.last < offset);
        let mut read = Vec::new();
        for kept in self.batches.iter().skip(from) {
            let fits = read.len().saturating_add(kept.bytes.len()) <= limit;
            if !(fits || first_whole && read.is_empty()) {
                break;
            }
            read.extend_from_slice(&kept.bytes);
        }
        Ok(read)
    }

    /// Timestamp and offset of the first record at or after `timestamp`.
    pub(super) fn first_since(&self, timestamp: i64) -> Option<(i64, i64)> {
        let mut unpacker = Unpacker::default();
        for kept in self.batches.iter().filter(|kept| kept.latest >= timestamp) {
            let Some(Ok(batch)) = Batches::new(&kept.bytes).next() else { continue };
            let Ok(records) = batch.records(&mut unpacker, self.start, MAX_UNPACKED) else { continue };
            let mut records = records.map_while(Result::ok);
            if let Some(found) = records.find(|record| record.timestamp >= timestamp) {
                return Some((found.timestamp, found.offset));
            }
        }
        None
    }

    /// The largest known epoch up to this one, with its end offset (KIP-320). An epoch older than all known ends at the
    /// log start; for a future epoch the result is `None`.
    pub(super) fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        if !(0..=self.epoch()).contains(&epoch) {
            return None;
        }
        let behind = self.epochs.partition_point(|(one, _)| *one <= epoch);
        let end = self.epochs.get(behind).map_or(self.end, |(_, from)| *from);
        let found = behind.checked_sub(1).and_then(|last| self.epochs.get(last));
        Some((found.map_or(epoch, |(found, _)| *found), end))
    }

    /// The leader epoch of the record at this offset.
    pub(super) fn epoch_at(&self, offset: i64) -> i32 {
        let behind = self.epochs.partition_point(|(_, from)| *from <= offset);
        behind.checked_sub(1).and_then(|last| self.epochs.get(last)).map_or(-1, |(epoch, _)| *epoch)
    }

    /// Where this log diverges from that of a reader at `offset` whose last record has the epoch `last`; `None` if it
    /// doesn't.
    pub(super) fn parts_from(&self, offset: i64, last: i32) -> Result<Option<(i32, i64)>, ErrorCode> {
        if last < 0 {
            return Ok(None);
        }
        let (epoch, end) = self.epoch_end(last).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
        Ok((epoch < last || end < offset).then_some((epoch, end)))
    }

    /// Sets the first leader.
    pub(super) fn begin_with(&mut self, leader: i32) {
        (self.leader, self.replica) = (leader, leader);
    }

    /// Changes the leader; [`NOBODY`] removes it.
    pub(super) fn lead(&mut self, leader: i32) {
        self.leader = leader;
        if leader != NOBODY {
            self.replica = leader;
        }
        self.reign();
    }

    /// Starts the next leader epoch. An epoch without records is forgotten.
    fn reign(&mut self) {
        let (end, next) = (self.end, self.epoch().saturating_add(1));
        self.epochs.retain(|(_, from)| *from < end);
        self.epochs.push((next, end));
    }

    /// An unclean election: the batches from the one that contains `offset` are lost.
    pub(super) fn truncate(&mut self, offset: i64) {
        while let Some(kept) = self.batches.back().filter(|kept| kept.last >= offset) {
            self.bytes = self.bytes.saturating_sub(kept.bytes.len());
            self.end = kept.base;
            self.batches.pop_back();
        }
        self.start = self.start.min(self.end);
        self.reign();
        self.producers.clear();
    }

    /// Deletes the records before `offset`.
    pub(super) fn trim(&mut self, offset: i64) {
        while self.batches.front().is_some_and(|kept| kept.last < offset) {
            self.drop_oldest();
        }
        self.begin_at(offset.min(self.end));
    }
}

/// Checks that a producer sent exactly one complete batch of format v2 with consecutive offset deltas.
fn sole_batch(bytes: &[u8]) -> Result<Batch<'_>, ErrorCode> {
    if bytes.len() > LARGEST_BATCH {
        return Err(ErrorCode::MESSAGE_TOO_LARGE);
    }
    let batch = match Batches::new(bytes).next() {
        Some(Ok(batch)) if batch.bytes().len() == bytes.len() => batch,
        Some(Err(_)) => return Err(ErrorCode::CORRUPT_MESSAGE),
        _ => return Err(ErrorCode::INVALID_RECORD),
    };
    if batch.magic() != 2 {
        return Err(ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT);
    }
    batch.check_crc().map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    let length = batch.last_offset() - batch.base_offset() + 1;
    let whole = i64::try_from(batch.count()) == Ok(length);
    if !whole || batch.is_control() || batch.producer_id() >= 0 && batch.base_sequence() < 0 {
        return Err(ErrorCode::INVALID_RECORD);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::record_batch::{BatchWriter, Compression, NewRecord, ProducerState};

    fn batch(count: i64, producer: ProducerState) -> Vec<u8> {
        let mut writer = BatchWriter::new(Compression::None).producer(producer);
        for timestamp in 0..count {
            writer.push(&NewRecord { timestamp, key: None, value: Some(&[7; 100]), headers: &[] });
        }
        writer.finish().unwrap()
    }

    fn log(batches: usize) -> Log {
        let mut log = Log::new(1, 0, PARTITION_BYTES);
        for _ in 0..batches {
            log.append(&batch(10, ProducerState::NONE)).unwrap();
        }
        log
    }

    fn bases(bytes: &[u8]) -> Vec<(i64, i32)> {
        let batches = Batches::new(bytes).map(Result::unwrap);
        batches.map(|batch| (batch.base_offset(), batch.partition_leader_epoch())).collect()
    }

    #[test]
    fn batches_get_offsets_and_epochs_and_are_read_whole_from_any_offset() {
        let mut log = log(2);
        log.lead(2);
        assert_eq!(log.append(&batch(10, ProducerState::NONE)), Ok(20));
        let all = [(0, 0), (10, 0), (20, 1)];
        assert_eq!(bases(&log.read(0, usize::MAX, true).unwrap()), all);
        assert_eq!(bases(&log.read(15, usize::MAX, true).unwrap()), all[1..]);
        assert_eq!(bases(&log.read(15, 1, true).unwrap()), all[1..2]);
        assert_eq!(log.read(15, 1, false), Ok(vec![]));
        assert_eq!(log.read(30, 1, true), Ok(vec![]));
        assert_eq!(log.read(31, 1, true), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
        assert_eq!(
            (log.epoch_end(0), log.epoch_end(1), log.epoch_end(2)),
            (Some((0, 20)), Some((1, 30)), None)
        );
        assert_eq!(log.check_epoch(0), Err(ErrorCode::FENCED_LEADER_EPOCH));
        assert_eq!((log.check_epoch(1), log.check_epoch(-1)), (Ok(()), Ok(())));
    }

    #[test]
    fn the_oldest_batches_go_where_there_is_no_room() {
        let size = batch(10, ProducerState::NONE).len();
        let mut log = Log::new(1, 0, 3 * size);
        for _ in 0..5 {
            log.append(&batch(10, ProducerState::NONE)).unwrap();
        }
        assert_eq!((log.start(), log.end(), log.bytes), (20, 50, 3 * size));
        assert_eq!(log.read(19, 1, true), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
        assert_eq!(bases(&log.read(20, usize::MAX, true).unwrap()).len(), 3);
    }

    #[test]
    fn a_batch_sent_again_is_there_once() {
        let mut log = log(0);
        let of = |base_sequence| ProducerState { id: 7, epoch: 0, base_sequence };
        assert_eq!(log.append(&batch(3, of(0))), Ok(0));
        assert_eq!(log.append(&batch(3, of(3))), Ok(3));
        assert_eq!(log.append(&batch(3, of(0))), Ok(0));
        assert_eq!(log.append(&batch(3, of(9))), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(log.end(), 6);
        assert_eq!(log.append(&batch(3, ProducerState { epoch: 1, ..of(0) })), Ok(6));
        assert_eq!(log.append(&batch(3, of(6))), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    }

    #[test]
    fn a_log_can_be_cut_at_both_ends() {
        let mut log = log(3);
        log.trim(15);
        assert_eq!(
            (log.start(), log.read(14, 1, true).is_err(), bases(&log.read(15, 1, true).unwrap())),
            (15, true, vec![(10, 0)])
        );
        log.truncate(20);
        assert_eq!((log.end(), log.epoch(), log.epoch_end(0)), (20, 1, Some((0, 20))));
        log.truncate(12);
        assert_eq!((log.start(), log.end(), log.epoch_end(0)), (10, 10, Some((0, 10))));
    }

    #[test]
    fn reigns_are_remembered_as_kafka_does() {
        let mut log = Log::new(1, 5, PARTITION_BYTES);
        // An epoch of an earlier topic of the same name.
        assert_eq!(
            (log.epoch_end(3), log.epoch_end(5), log.epoch_end(6)),
            (Some((3, 0)), Some((5, 0)), None)
        );
        assert_eq!(log.epoch_end(-1), None);
        log.append(&batch(10, ProducerState::NONE)).unwrap();
        // The first of these two epochs has no records.
        log.lead(NOBODY);
        log.lead(2);
        log.append(&batch(10, ProducerState::NONE)).unwrap();
        assert_eq!((log.epoch(), log.epochs.as_slice()), (7, &[(5, 0), (7, 10)][..]));
        assert_eq!((log.epoch_end(5), log.epoch_end(6)), (Some((5, 10)), Some((5, 10))));
        assert_eq!([0, 9, 10, 20].map(|offset| log.epoch_at(offset)), [5, 5, 7, 7]);
        assert_eq!(log.parts_from(10, 5), Ok(None));
        assert_eq!(log.parts_from(11, 5), Ok(Some((5, 10))));
        assert_eq!(log.parts_from(8, 6), Ok(Some((5, 10))));
        assert_eq!(log.parts_from(8, 8), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
        log.trim(12);
        assert_eq!((log.epochs.as_slice(), log.epoch_end(5)), (&[(7, 12)][..], Some((5, 12))));
    }

    #[test]
    fn the_first_record_since_a_time_is_found() {
        let log = log(2);
        assert_eq!(log.first_since(4), Some((4, 4)));
        assert_eq!((log.first_since(-5), log.first_since(10)), (Some((0, 0)), None));
    }

    #[test]
    fn what_is_no_batch_is_not_taken() {
        let mut log = log(0);
        let good = batch(2, ProducerState::NONE);
        let mut twice = good.clone();
        twice.extend(&good);
        assert_eq!(log.append(&twice), Err(ErrorCode::INVALID_RECORD));
        assert_eq!(log.append(&good[..good.len() - 1]), Err(ErrorCode::INVALID_RECORD));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(log.append(&flipped), Err(ErrorCode::CORRUPT_MESSAGE));
        assert_eq!(log.append(&[]), Err(ErrorCode::INVALID_RECORD));
        assert_eq!(log.append(&vec![0; LARGEST_BATCH + 1]), Err(ErrorCode::MESSAGE_TOO_LARGE));
        assert_eq!(log.end(), 0);
    }
}
