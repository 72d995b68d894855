//! Batches of records: what is written is read, what real producers wrote is read, and what is damaged is refused.

mod cost;
mod golden;
mod hostile;
mod java;
mod round_trip;
mod schedules;

use sluicegate::kafka::record_batch::{BatchError, BatchWriter, Batches, MAX_UNPACKED, NewRecord, Unpacker};
use sluicegate::record::{Header, Partition, Record};

/// A record that owns its parts.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    /// A record at `offset` that has but a value.
    fn value(offset: i64, timestamp: i64, value: &[u8]) -> Self {
        Self { offset, timestamp, key: None, value: Some(value.to_vec()), headers: Vec::new() }
    }

    /// Appends it.
    fn push_to(&self, writer: &mut BatchWriter) {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        writer.push(&NewRecord {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        });
    }
}

impl From<Record> for Owned {
    fn from(record: Record) -> Self {
        Self {
            offset: record.offset().0,
            timestamp: record.timestamp(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers().map(|h| (h.name.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// Every record from offset `from` on in the batches of `bytes`, checksums looked at; also what a broken end leaves.
fn read(bytes: &[u8], from: i64, limit: usize) -> (Vec<Owned>, Option<BatchError>) {
    let partition = Partition::new("t", 0);
    let (mut unpacker, mut found) = (Unpacker::new(), Vec::new());
    for batch in Batches::new(bytes) {
        let records = batch.and_then(|batch| {
            batch.check_crc()?;
            batch.records(&mut unpacker, from, limit)
        });
        let records = match records {
            Ok(records) => records,
            Err(error) => return (found, Some(error)),
        };
        let payload = records.payload().clone();
        for record in records {
            match record {
                Ok(record) => found.push(record.within(&payload, &partition).unwrap().into()),
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// The records of bytes that are sound.
fn sound(bytes: &[u8]) -> Vec<Owned> {
    match read(bytes, 0, MAX_UNPACKED) {
        (records, None) => records,
        (_, Some(error)) => panic!("{error}"),
    }
}
