//! The records of a batch, decoded one by one over one shared payload.
//!
//! This is the hot path: a record without headers allocates nothing, and its parts are places in the payload.

use super::error::BatchError;
use super::fields::Fields;
use super::message_set::{self, OldFrame};
use crate::relay::record::{HeaderRange, Offset, Partition, Record};
use std::ops::Range;
use std::sync::Arc;

/// The smallest record: length, attributes, timestamp, offset, key, value and headers at a byte each.
const SMALLEST_RECORD: usize = 7;
/// The smallest header: the lengths of name and value.
const SMALLEST_HEADER: usize = 2;
/// How many headers a record may have. Kafka has no limit but the record's size; this many need 2 MB, twice what a
/// broker accepts by default.
const MAX_HEADERS: usize = 1 << 20;

/// A record as places in its batch's payload.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970; -1 where unknown.
    pub timestamp: i64,
    /// Where its key lies, if it has one.
    pub key: Option<Range<u32>>,
    /// Where its value lies; `None` is a tombstone.
    pub value: Option<Range<u32>>,
    /// Where its headers lie, in order.
    pub headers: Box<[HeaderRange]>,
}

/// What the records of a v2 batch take from its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub base_offset: i64,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    /// The timestamp of all of them, if the broker gave it.
    pub append_time: Option<i64>,
    /// The lowest offset that is wanted.
    pub from: i64,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Batch(Frame),
    MessageSet(OldFrame),
}

/// The records of a batch, in order. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Records {
    payload: Arc<[u8]>,
    /// Where the next record begins.
    at: usize,
    /// How many records are left.
    left: u32,
    /// The last record's offset less the base; records go upwards.
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

    /// What the places of the records mean: the plain bytes of the batch's records.
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// The records as records of `partition`.
    pub fn of(self, partition: &Partition) -> OfPartition<'_> {
        OfPartition { records: self, partition }
    }

    fn read(&mut self) -> Result<Option<RawRecord>, &'static str> {
        match &self.layout {
            Layout::MessageSet(frame) => {
                while self.left > 0 {
                    self.left -= 1;
                    let (record, end) = message_set::record(&self.payload, self.at, frame)?;
                    self.at = end;
                    if record.offset >= frame.from {
                        return Ok(Some(record));
                    }
                }
            }
            Layout::Batch(frame) => {
                while self.left > 0 {
                    self.left -= 1;
                    let mut record = Fields(self.payload.get(self.at..).ok_or(CUT)?);
                    let length =
                        record.varint().and_then(|length| usize::try_from(length).ok()).ok_or(CUT)?;
                    let mut body = Fields(record.bytes(length).ok_or(CUT)?);
                    // The payload is at most 4 GiB: see `Unpacker::payload`.
                    self.at = self.payload.len() - record.remaining();
                    let _attributes = body.i8().ok_or(CUT)?;
                    let timestamp_delta = body.varlong().ok_or(CUT)?;
                    let offset_delta = body.varint().ok_or(CUT)?;
                    if offset_delta <= self.previous || offset_delta > frame.last_offset_delta {
                        return Err("its records' offsets don't go upwards within its own");
                    }
                    self.previous = offset_delta;
                    let offset = frame.base_offset.saturating_add(i64::from(offset_delta));
                    if offset < frame.from {
                        continue;
                    }
                    let timestamp =
                        frame.append_time.unwrap_or(frame.base_timestamp.wrapping_add(timestamp_delta));
                    let end = self.at as u32;
                    let key = part(&mut body, end)?;
                    let value = part(&mut body, end)?;
                    let headers = headers(&mut body, end)?;
                    return Ok(Some(RawRecord { offset, timestamp, key, value, headers }));
                }
            }
        }
        match self.at == self.payload.len() {
            true => Ok(None),
            false => Err("there are bytes behind its last record"),
        }
    }

    fn base_offset(&self) -> i64 {
        match &self.layout {
            Layout::Batch(frame) => frame.base_offset,
            Layout::MessageSet(frame) => frame.offset,
        }
    }

    fn fail(&mut self, what: &'static str) -> BatchError {
        let base_offset = self.base_offset();
        self.left = 0;
        self.at = self.payload.len();
        BatchError::Malformed { base_offset, what }
    }
}

const CUT: &str = "a record ends in its middle";

/// The place of a key or value within a record that ends at `end`.
#[inline]
fn part(body: &mut Fields<'_>, end: u32) -> Result<Option<Range<u32>>, &'static str> {
    let length = body.varint().ok_or(CUT)?;
    if length < 0 {
        return if length == -1 { Ok(None) } else { Err("a part of a record has a negative length") };
    }
    let start = end - body.remaining() as u32;
    body.bytes(length as usize).ok_or(CUT)?;
    Ok(Some(start..start + length as u32))
}

#[inline]
fn headers(body: &mut Fields<'_>, end: u32) -> Result<Box<[HeaderRange]>, &'static str> {
    match body.0 {
        [0] => Ok(Box::default()),
        _ => some_headers(body, end),
    }
}

#[inline(never)]
fn some_headers(body: &mut Fields<'_>, end: u32) -> Result<Box<[HeaderRange]>, &'static str> {
    let count = body
        .varint()
        .and_then(|count| usize::try_from(count).ok())
        .ok_or("a record has no count of headers")?;
    if count > body.remaining() / SMALLEST_HEADER || count > MAX_HEADERS {
        return Err("a record counts more headers than it can hold");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = part(body, end)?.ok_or("a header has no name")?;
        headers.push(HeaderRange { name, value: part(body, end)? });
    }
    match body.remaining() {
        0 => Ok(headers.into_boxed_slice()),
        _ => Err("a record has bytes behind its headers"),
    }
}

impl Iterator for Records {
    type Item = Result<RawRecord, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(|what| self.fail(what)).transpose()
    }

    /// No more than the batch says.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.left as usize).saturating_add(1)))
    }
}

/// [`Records`] as records of a partition, each a holder of the shared payload.
#[derive(Clone, Debug)]
pub struct OfPartition<'a> {
    records: Records,
    partition: &'a Partition,
}

impl Iterator for OfPartition<'_> {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let raw = match self.records.read() {
            Ok(raw) => raw?,
            Err(what) => return Some(Err(self.records.fail(what))),
        };
        let record = Record::from_shared(
            self.partition.clone(),
            Offset(raw.offset),
            raw.timestamp,
            Arc::clone(&self.records.payload),
            raw.key,
            raw.value,
            raw.headers,
        );
        Some(record.ok_or_else(|| self.records.fail(CUT)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}
