//! A batch, by the fields of its header.

use super::error::BatchError;
use super::fields::Fields;
use super::{Compression, Control, TimestampType};

/// The size of the header of a v2 batch, in bytes.
pub(super) const HEADER: usize = 61;
/// The offset of the first byte that the checksum of v2 covers.
pub(super) const CHECKED_FROM: usize = 21;
pub(super) const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
pub(super) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(super) const CONTROL_BIT: i16 = 1 << 5;

/// A batch of format v2, or a message of v0 or v1, which may contain other messages, compressed.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base_offset: i64,
    pub(super) magic: i8,
    pub(super) partition_leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) count: u32,
    pub(super) compression: Compression,
    /// The bytes behind the header.
    pub(super) body: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The offset of its first record when it was written, which compaction may have removed. A message of v0 or v1 has
    /// the offset of its last record.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The offset of its last record when it was written.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after this batch, even if compaction removed its last records.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The format: 0, 1 or 2.
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// The leader epoch under which it was written; -1 if unknown.
    pub(crate) fn partition_leader_epoch(&self) -> i32 {
        self.partition_leader_epoch
    }

    /// The producer's id, if it is idempotent or transactional; else -1.
    pub fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// The producer's epoch; -1 if it has none.
    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// The first record's sequence number; -1 if it has none.
    pub(crate) fn base_sequence(&self) -> i32 {
        self.base_sequence
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The meaning of its timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & TIMESTAMP_TYPE_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// The latest timestamp of its records, in milliseconds since 1970; -1 if unknown.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether it is a control batch: a marker instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The number of records according to its header; 1 for a message of v0 or v1, even if that contains others.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// All its bytes, as they were written.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The marker, if this is a control batch. `None` for an empty one, as compaction leaves them.
    pub fn control(&self) -> Result<Option<Control>, BatchError> {
        if !self.is_control() || self.count == 0 {
            return Ok(None);
        }
        let marker = || {
            let mut record = Fields(self.body);
            let (_length, _attributes) = (record.varint()?, record.i8()?);
            let (_timestamp, _offset) = (record.varlong()?, record.varint()?);
            let key_len = usize::try_from(record.varint()?).ok()?;
            let mut key = Fields(record.bytes(key_len)?);
            let _version = key.i16()?;
            key.i16()
        };
        marker().map(|id| Some(Control::from_id(id))).ok_or(self.malformed("its marker can't be read"))
    }

    pub(super) fn malformed(&self, what: &'static str) -> BatchError {
        BatchError::Malformed { base_offset: self.base_offset, what }
    }
}
