//! Encodes records into a batch.

use super::batch::{CHECKED_FROM, CONTROL_BIT, HEADER, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT};
use super::fields::{PREFIX, put_varlong, varlong_len};
use super::pack::pack;
use super::{Compression, Control, TimestampType};
use crate::record::Header;
use std::io;

const MAGIC: u8 = 2;
const NO_EPOCH: i32 = -1;

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [Header<'a>],
}

/// The producer state in a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer's id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerState {
    /// A producer that is neither idempotent nor transactional.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };
}

/// Encodes records one by one into a batch of format v2. Offsets begin at 0: the broker [places](place) the batch.
#[derive(Clone, Debug)]
pub struct BatchWriter {
    compression: Compression,
    timestamp_type: TimestampType,
    producer: ProducerState,
    transactional: bool,
    control: bool,
    base_timestamp: i64,
    max_timestamp: i64,
    next_delta: i32,
    last_delta: i32,
    count: i32,
    plain: Vec<u8>,
}

impl BatchWriter {
    /// An empty batch.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            timestamp_type: TimestampType::CreateTime,
            producer: ProducerState::NONE,
            transactional: false,
            control: false,
            base_timestamp: -1,
            max_timestamp: -1,
            next_delta: 0,
            last_delta: 0,
            count: 0,
            plain: Vec::new(),
        }
    }

    /// A marker that ends a producer's transaction: a whole batch.
    pub fn marker(control: Control, producer: ProducerState, timestamp: i64) -> Vec<u8> {
        let mut batch = Self::new(Compression::None).producer(producer).transactional();
        batch.control = true;
        let version = 0i16.to_be_bytes();
        let key = [version, control.id().to_be_bytes()].concat();
        // The value: its version, and the coordinator's epoch.
        let value = [0; 6];
        batch.push(&NewRecord { timestamp, key: Some(&key), value: Some(&value), headers: &[] });
        batch.sealed(&batch.plain)
    }

    /// Sets the producer state.
    pub fn producer(self, producer: ProducerState) -> Self {
        Self { producer, ..self }
    }

    /// Makes it part of the producer's transaction.
    pub fn transactional(self) -> Self {
        Self { transactional: true, ..self }
    }

    /// Sets the meaning of its timestamps. With [`TimestampType::LogAppendTime`] the latest is that of all records.
    pub fn timestamp_type(self, timestamp_type: TimestampType) -> Self {
        Self { timestamp_type, ..self }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
            self.max_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.next_delta);
        let length = 1
            + varlong_len(timestamp_delta)
            + varlong_len(offset_delta)
            + part_len(record.key)
            + part_len(record.value)
            + varlong_len(record.headers.len() as i64)
            + record.headers.iter().map(|h| part_len(Some(h.name)) + part_len(h.value)).sum::<usize>();
        let out = &mut self.plain;
        put_varlong(out, length as i64);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varlong(out, offset_delta);
        put_part(out, record.key);
        put_part(out, record.value);
        put_varlong(out, record.headers.len() as i64);
        for header in record.headers {
            put_part(out, Some(header.name));
            put_part(out, header.value);
        }
        self.last_delta = self.next_delta;
        self.next_delta = self.next_delta.saturating_add(1);
        self.count = self.count.saturating_add(1);
    }

    /// Skips an offset, as compaction does, perhaps at the end.
    pub fn skip(&mut self) {
        self.last_delta = self.next_delta;
        self.next_delta = self.next_delta.saturating_add(1);
    }

    /// The number of its records.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Its size before compression, in bytes.
    pub fn plain_len(&self) -> usize {
        HEADER.saturating_add(self.plain.len())
    }

    /// The encoded batch.
    ///
    /// # Errors
    /// A failure of the compression, which happens only above 4 GiB.
    pub fn finish(&self) -> io::Result<Vec<u8>> {
        if self.compression == Compression::None || self.count == 0 {
            return Ok(self.sealed(&self.plain));
        }
        let mut packed = Vec::new();
        pack(self.compression, &self.plain, &mut packed)?;
        Ok(self.sealed(&packed))
    }

    /// The header followed by `body`.
    fn sealed(&self, body: &[u8]) -> Vec<u8> {
        let mut attributes = if self.count == 0 { 0 } else { i16::from(self.compression.id()) };
        let append_time = self.timestamp_type == TimestampType::LogAppendTime;
        for (set, bit) in [
            (append_time, TIMESTAMP_TYPE_BIT),
            (self.transactional, TRANSACTIONAL_BIT),
            (self.control, CONTROL_BIT),
        ] {
            attributes |= if set { bit } else { 0 };
        }
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend(0i64.to_be_bytes());
        out.extend(((HEADER - PREFIX + body.len()) as i32).to_be_bytes());
        out.extend(NO_EPOCH.to_be_bytes());
        out.push(MAGIC);
        out.extend([0; 4]);
        out.extend(attributes.to_be_bytes());
        out.extend(self.last_delta.to_be_bytes());
        out.extend(self.base_timestamp.to_be_bytes());
        out.extend(self.max_timestamp.to_be_bytes());
        out.extend(self.producer.id.to_be_bytes());
        out.extend(self.producer.epoch.to_be_bytes());
        out.extend(self.producer.base_sequence.to_be_bytes());
        out.extend(self.count.to_be_bytes());
        out.extend_from_slice(body);
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

fn part_len(part: Option<&[u8]>) -> usize {
    part.map_or(varlong_len(-1), |part| varlong_len(part.len() as i64) + part.len())
}

fn put_part(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => put_varlong(out, -1),
        Some(part) => {
            put_varlong(out, part.len() as i64);
            out.extend_from_slice(part);
        }
    }
}

/// Sets the base offset and leader epoch of a v2 batch, which its checksum does not cover. Returns `false` if `batch`
/// is too short.
pub fn place(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) -> bool {
    let Some(head) = batch.first_chunk_mut::<16>() else { return false };
    head[..8].copy_from_slice(&base_offset.to_be_bytes());
    head[12..].copy_from_slice(&partition_leader_epoch.to_be_bytes());
    true
}
