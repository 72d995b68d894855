//! A record as places in the bytes that it came in.

use crate::record::{HeaderRange, Offset, Partition, Record};
use std::ops::Range;
use std::sync::Arc;

/// A record as ranges of its batch's payload.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970; -1 if unknown.
    pub timestamp: i64,
    /// The range of its key, if it has one.
    pub key: Option<Range<u32>>,
    /// The range of its value; `None` for a tombstone.
    pub value: Option<Range<u32>>,
    /// The ranges of its headers, in order.
    pub headers: Box<[HeaderRange]>,
}

impl RawRecord {
    /// The record of `partition` in the `payload` of its batch. `None` if the ranges don't fit the payload.
    #[inline]
    pub fn within(self, payload: &Arc<[u8]>, partition: &Partition) -> Option<Record> {
        let Self { offset, timestamp, key, value, headers } = self;
        let (partition, payload) = (partition.clone(), Arc::clone(payload));
        Record::from_shared(partition, Offset(offset), timestamp, payload, key, value, headers)
    }
}
