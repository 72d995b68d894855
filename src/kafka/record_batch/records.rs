//! Decodes the records of a batch one by one, over one shared payload.
//!
//! This is the hot path: a record without headers allocates nothing, and its parts are ranges of the payload.

use super::error::BatchError;
use super::fields::Fields;
use super::message::{self, OldFrame};
use super::raw_record::RawRecord;
use crate::record::HeaderRange;
use std::ops::Range;
use std::sync::Arc;

/// The minimum size of a record: one byte each for length, attributes, timestamp, offset, key, value and headers.
const SMALLEST_RECORD: usize = 7;
/// The minimum size of a header: the lengths of name and value.
const SMALLEST_HEADER: usize = 2;
/// The maximum number of headers of a record. Kafka limits only the record's size; this many need 2 MB, twice what a
/// broker accepts by default.
const MAX_HEADERS: usize = 1 << 20;

/// What the records of a v2 batch inherit from its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(crate) base_offset: i64,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    /// The timestamp of all of them, if the broker set it (LogAppendTime).
    pub(crate) append_time: Option<i64>,
    /// The first wanted offset.
    pub(crate) from: i64,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Batch(Frame),
    MessageSet(OldFrame),
}

/// The records of a batch, in order. Ends after an error.
#[derive(Clone, Debug)]
pub struct Records {
    payload: Arc<[u8]>,
    /// The start of the next record in the payload.
    at: usize,
    /// The number of records left.
    left: u32,
    /// The relative offset of the last record; they ascend.
    previous: i32,
    layout: Layout,
}

impl Records {
    pub(super) fn empty() -> Self {
        let frame =
            Frame { base_offset: 0, last_offset_delta: 0, base_timestamp: 0, append_time: None, from: 0 };
        Self { payload: Arc::default(), at: 0, left: 0, previous: -1, layout: Layout::Batch(frame) }
    }

    /// `None` if `payload` can't hold `count` records.
    pub(super) fn of_batch(payload: Arc<[u8]>, frame: Frame, count: u32) -> Option<Self> {
        let fits = (count as usize) <= payload.len() / SMALLEST_RECORD;
        fits.then_some(Self { payload, at: 0, left: count, previous: -1, layout: Layout::Batch(frame) })
    }

    pub(super) fn of_message_set(payload: Arc<[u8]>, frame: OldFrame, count: u32) -> Self {
        Self { payload, at: 0, left: count, previous: -1, layout: Layout::MessageSet(frame) }
    }

    /// The uncompressed records, which the ranges refer to.
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// Without `?` on a `Result`, so that the record is written directly to the caller's place: moving it through
    /// another type costs as much as decoding it.
    #[inline(always)]
    fn read(&mut self) -> Option<Result<RawRecord, BatchError>> {
        let Layout::Batch(frame) = &self.layout else {
            return self.read_old().map_err(|what| self.fail(what)).transpose();
        };
        while self.left > 0 {
            self.left -= 1;
            let Some((delta, mut body, end)) = next_body(&self.payload, self.at) else {
                return Some(Err(self.fail(CUT)));
            };
            self.at = end;
            if delta.offset <= self.previous || delta.offset > frame.last_offset_delta {
                return Some(Err(self.fail("its records' offsets don't go upwards within its own")));
            }
            self.previous = delta.offset;
            let offset = frame.base_offset.saturating_add(i64::from(delta.offset));
            if offset < frame.from {
                continue;
            }
            let timestamp = frame.append_time.unwrap_or(frame.base_timestamp.wrapping_add(delta.timestamp));
            // The payload is at most 4 GiB: see `Unpacker::payload`.
            let Some((key, value, headers)) = parts(&mut body, end as u32) else {
                return Some(Err(self.fail("the parts of a record don't fit into it")));
            };
            return Some(Ok(RawRecord {
                offset,
                timestamp,
                key: key.range(),
                value: value.range(),
                headers,
            }));
        }
        match self.at == self.payload.len() {
            true => None,
            false => Some(Err(self.fail(BEHIND))),
        }
    }

    #[inline(never)]
    fn read_old(&mut self) -> Result<Option<RawRecord>, &'static str> {
        let Layout::MessageSet(frame) = &self.layout else { return Ok(None) };
        while self.left > 0 {
            self.left -= 1;
            let (record, end) = message::record(&self.payload, self.at, frame)?;
            self.at = end;
            if record.offset >= frame.from {
                return Ok(Some(record));
            }
        }
        match self.at == self.payload.len() {
            true => Ok(None),
            false => Err(BEHIND),
        }
    }

    fn base_offset(&self) -> i64 {
        match &self.layout {
            Layout::Batch(frame) => frame.base_offset,
            Layout::MessageSet(frame) => frame.offset,
        }
    }

    #[cold]
    fn fail(&mut self, what: &'static str) -> BatchError {
        let base_offset = self.base_offset();
        self.left = 0;
        self.at = self.payload.len();
        BatchError::Malformed { base_offset, what }
    }
}

const CUT: &str = "a record ends in its middle";
const BEHIND: &str = "there are bytes behind its last record";

/// The fields of a record relative to its batch.
struct Delta {
    timestamp: i64,
    offset: i32,
}

/// The record at `at`: its relative fields, the bytes after them, and its end.
#[inline(always)]
fn next_body(payload: &[u8], at: usize) -> Option<(Delta, Fields<'_>, usize)> {
    let mut rest = Fields(payload.get(at..)?);
    let length = usize::try_from(rest.varint()?).ok()?;
    let mut body = Fields(rest.bytes(length)?);
    let _attributes = body.i8()?;
    let delta = Delta { timestamp: body.varlong()?, offset: body.varint()? };
    Some((delta, body, payload.len() - rest.remaining()))
}

/// The range of a key or value; `None` for null, which has a negative length.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    length: i32,
}

impl Place {
    #[inline(always)]
    fn range(self) -> Option<Range<u32>> {
        let length = u32::try_from(self.length).ok()?;
        Some(self.start..self.start.saturating_add(length))
    }
}

/// Key, value and headers of a record that ends at `end` and of which `body` is left.
#[inline(always)]
fn parts(body: &mut Fields<'_>, end: u32) -> Option<(Place, Place, Box<[HeaderRange]>)> {
    let (key, value) = (part(body, end)?, part(body, end)?);
    let headers = match body.0 {
        [0] => Box::default(),
        _ => headers(body, end)?,
    };
    Some((key, value, headers))
}

#[inline(always)]
fn part(body: &mut Fields<'_>, end: u32) -> Option<Place> {
    let length = body.varint()?;
    let start = end.wrapping_sub(body.remaining() as u32);
    match usize::try_from(length) {
        Ok(length) => body.bytes(length).map(|_| ())?,
        Err(_) if length == -1 => {}
        Err(_) => return None,
    }
    Some(Place { start, length })
}

#[inline(never)]
fn headers(body: &mut Fields<'_>, end: u32) -> Option<Box<[HeaderRange]>> {
    let count = usize::try_from(body.varint()?).ok()?;
    if count > body.remaining() / SMALLEST_HEADER || count > MAX_HEADERS {
        return None;
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = part(body, end)?.range()?;
        headers.push(HeaderRange { name, value: part(body, end)?.range() });
    }
    (body.remaining() == 0).then(|| headers.into_boxed_slice())
}

impl Iterator for Records {
    type Item = Result<RawRecord, BatchError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.read()
    }

    /// At most as many as the header of the batch says.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.left as usize).saturating_add(1)))
    }
}
