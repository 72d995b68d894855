//! Message sets of v0 and v1, which old logs still contain: each message has its own checksum, and the value of a
//! compressed message is a whole message set.
//!
//! The inner messages of v1 have relative offsets, and the outer message has the offset of the last one; those of v0
//! have absolute offsets (KIP-31, KIP-32).

use super::batch::{Batch, TIMESTAMP_TYPE_BIT};
use super::error::BatchError;
use super::fields::Fields;
use super::message::{CUT, Message, OldFrame, part};
use super::records::Records;
use super::unpack::Unpacker;
use super::{Compression, TimestampType};

/// The bits of the attributes that are defined; v0 has no timestamps.
const COMPRESSION_BITS: i16 = 0b111;

/// Reads the header of the message `bytes`.
pub(super) fn header(bytes: &[u8]) -> Option<Batch<'_>> {
    let mut fields = Fields(bytes);
    let message = Message::read(&mut fields)?;
    let known = if message.magic == 0 { COMPRESSION_BITS } else { COMPRESSION_BITS | TIMESTAMP_TYPE_BIT };
    Some(Batch {
        bytes,
        base_offset: message.offset,
        magic: message.magic,
        partition_leader_epoch: -1,
        crc: message.crc,
        attributes: i16::from(message.attributes) & known,
        last_offset_delta: 0,
        base_timestamp: message.timestamp,
        max_timestamp: message.timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count: 1,
        compression: Compression::None,
        body: message.body,
    })
}

/// CRC-32 of `bytes`.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The records of the message `batch`.
pub(super) fn records(
    batch: &Batch<'_>,
    unpacker: &mut Unpacker,
    from: i64,
    limit: usize,
) -> Result<Records, BatchError> {
    let append_time = (batch.timestamp_type() == TimestampType::LogAppendTime).then_some(batch.max_timestamp);
    let mut frame = OldFrame { offset: batch.base_offset, shift: 0, append_time, from };
    if batch.compression == Compression::None {
        let payload = unpacker.payload(batch.base_offset, batch.compression, batch.bytes, limit)?;
        return Ok(Records::of_message_set(payload, frame, 1));
    }
    let mut body = Fields(batch.body);
    let packed = part(&mut body)
        .and_then(|_key| part(&mut body))
        .and_then(|value| value.ok_or("it holds no messages, not even none"))
        .map_err(|what| batch.malformed(what))?;
    let payload = unpacker.payload(batch.base_offset, batch.compression, packed, limit)?;
    let (count, last) = survey(&payload, batch.magic).map_err(|what| batch.malformed(what))?;
    match batch.magic {
        1 => frame.shift = batch.base_offset.saturating_sub(last),
        _ if last > batch.base_offset => {
            return Err(batch.malformed("the offsets within it go beyond its own"));
        }
        _ => {}
    }
    Ok(Records::of_message_set(payload, frame, count))
}

/// The number of messages in a set, and the offset of the last one.
fn survey(set: &[u8], magic: i8) -> Result<(u32, i64), &'static str> {
    let mut fields = Fields(set);
    let (mut count, mut last) = (0u32, 0);
    while fields.remaining() > 0 {
        let message = Message::read(&mut fields).ok_or(CUT)?;
        if message.magic != magic {
            return Err("a message within it has another format");
        }
        if i16::from(message.attributes) & COMPRESSION_BITS != 0 {
            return Err("a message within it is compressed once more");
        }
        if count > 0 && message.offset <= last {
            return Err("the offsets within it don't go upwards");
        }
        count = count.saturating_add(1);
        last = message.offset;
    }
    Ok((count, last))
}
