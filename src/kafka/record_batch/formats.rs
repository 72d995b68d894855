//! What differs from format to format: how a batch's header is read, its checksum, and the way to its records.

use super::batch::{Batch, CHECKED_FROM};
use super::error::BatchError;
use super::fields::{Fields, PREFIX};
use super::message_set;
use super::records::{Frame, Records};
use super::unpack::Unpacker;
use super::{Compression, TimestampType};

const COMPRESSION_BITS: i16 = 0b111;

/// Reads the header of a batch that is all of `bytes`.
pub(super) fn parse(bytes: &[u8], magic: i8) -> Result<Batch<'_>, BatchError> {
    let base_offset = Fields(bytes).i64().unwrap_or(-1);
    let malformed = |what| BatchError::Malformed { base_offset, what };
    let batch = match magic {
        0 | 1 => message_set::header(bytes),
        2 => header(bytes),
        magic => return Err(BatchError::UnknownFormat { base_offset, magic }),
    };
    let batch = batch.ok_or(malformed("it is shorter than its header"))?;
    if batch.count > i32::MAX as u32 {
        return Err(malformed("its count of records is negative"));
    }
    if batch.last_offset_delta < 0 || base_offset < 0 {
        return Err(malformed("its offsets are negative"));
    }
    if base_offset.checked_add(i64::from(batch.last_offset_delta) + 1).is_none() {
        return Err(malformed("its offsets are beyond all offsets"));
    }
    let id = (batch.attributes & COMPRESSION_BITS) as u8;
    let compression = Compression::from_id(id).ok_or(BatchError::UnknownCompression { base_offset, id })?;
    Ok(Batch { compression, ..batch })
}

/// Reads the header of a v2 batch.
fn header(bytes: &[u8]) -> Option<Batch<'_>> {
    let mut fields = Fields(bytes);
    let base_offset = fields.i64()?;
    let _length = fields.i32()?;
    let partition_leader_epoch = fields.i32()?;
    let magic = fields.i8()?;
    let crc = fields.u32()?;
    Some(Batch {
        bytes,
        base_offset,
        magic,
        partition_leader_epoch,
        crc,
        attributes: fields.i16()?,
        last_offset_delta: fields.i32()?,
        base_timestamp: fields.i64()?,
        max_timestamp: fields.i64()?,
        producer_id: fields.i64()?,
        producer_epoch: fields.i16()?,
        base_sequence: fields.i32()?,
        count: fields.u32()?,
        compression: Compression::None,
        body: fields.0,
    })
}

impl Batch<'_> {
    /// Verifies the checksum: CRC-32C for v2, CRC-32 before.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = match self.magic {
            2 => crc32c::crc32c(self.bytes.get(CHECKED_FROM..).unwrap_or_default()),
            _ => message_set::checksum(self.bytes.get(PREFIX + 4..).unwrap_or_default()),
        };
        if computed != self.crc {
            return Err(BatchError::Checksum { base_offset: self.base_offset, stored: self.crc, computed });
        }
        Ok(())
    }

    /// The records from offset `from` on, decompressed to at most `limit` bytes. A control batch has none. Does not
    /// verify the checksum, which is up to [`check_crc`](Self::check_crc).
    pub fn records(&self, unpacker: &mut Unpacker, from: i64, limit: usize) -> Result<Records, BatchError> {
        if self.is_control() || self.count == 0 || self.last_offset() < from {
            return Ok(Records::empty());
        }
        if self.magic < 2 {
            return message_set::records(self, unpacker, from, limit);
        }
        let payload = unpacker.payload(self.base_offset, self.compression, self.body, limit)?;
        let append_time =
            (self.timestamp_type() == TimestampType::LogAppendTime).then_some(self.max_timestamp);
        let frame = Frame {
            base_offset: self.base_offset,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            append_time,
            from,
        };
        Records::of_batch(payload, frame, self.count)
            .ok_or(self.malformed("it counts more records than it holds"))
    }
}
