//! One message of v0 or v1: its fields, and the record that it holds.

use super::fields::Fields;
use super::raw_record::RawRecord;
use std::ops::Range;

const NO_TIMESTAMP: i64 = -1;
pub(super) const CUT: &str = "a message ends in its middle";

/// What the messages of a set inherit from the outer message.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldFrame {
    /// The outer message's own offset.
    pub(crate) offset: i64,
    /// Added to the offset of each message.
    pub(crate) shift: i64,
    /// The timestamp of all of them, if the broker set it (LogAppendTime).
    pub(crate) append_time: Option<i64>,
    /// The first wanted offset.
    pub(crate) from: i64,
}

/// The message at `at` as a record, and the start of the next one.
pub(super) fn record(
    payload: &[u8],
    at: usize,
    frame: &OldFrame,
) -> Result<(RawRecord, usize), &'static str> {
    let mut fields = Fields(payload.get(at..).ok_or(CUT)?);
    let message = Message::read(&mut fields).ok_or(CUT)?;
    let end = payload.len() - fields.remaining();
    let offset = message.offset.saturating_add(frame.shift);
    if offset < 0 {
        return Err("an offset within it is negative");
    }
    let mut body = Fields(message.body);
    let mut place = || -> Result<Option<Range<u32>>, &'static str> {
        let Some(part) = part(&mut body)? else { return Ok(None) };
        // The payload is at most 4 GiB: see `Unpacker::payload`.
        let part_end = end - body.remaining();
        Ok(Some((part_end - part.len()) as u32..part_end as u32))
    };
    let (key, value) = (place()?, place()?);
    if body.remaining() > 0 {
        return Err("a message has bytes behind its value");
    }
    let timestamp = frame.append_time.unwrap_or(message.timestamp);
    Ok((RawRecord { offset, timestamp, key, value, headers: Box::default() }, end))
}

/// A message's fields; `body` is key and value.
pub(super) struct Message<'a> {
    pub(crate) offset: i64,
    pub(crate) crc: u32,
    pub(crate) magic: i8,
    pub(crate) attributes: i8,
    pub(crate) timestamp: i64,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn read(fields: &mut Fields<'a>) -> Option<Self> {
        let offset = fields.i64()?;
        let size = usize::try_from(fields.i32()?).ok()?;
        let mut message = Fields(fields.bytes(size)?);
        let (crc, magic, attributes) = (message.u32()?, message.i8()?, message.i8()?);
        let timestamp = if magic == 1 { message.i64()? } else { NO_TIMESTAMP };
        Some(Self { offset, crc, magic, attributes, timestamp, body: message.0 })
    }
}

/// A key or value.
pub(super) fn part<'a>(body: &mut Fields<'a>) -> Result<Option<&'a [u8]>, &'static str> {
    match body.i32().ok_or(CUT)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| "a part of a message has a negative length")?;
            body.bytes(length).map(Some).ok_or(CUT)
        }
    }
}
