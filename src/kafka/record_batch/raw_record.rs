//! A record as places in the bytes that it came in.

use crate::record::{HeaderRange, Offset, Partition, Record};
use std::ops::Range;
use std::sync::Arc;

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

impl RawRecord {
    /// The record itself, of `partition` and in `payload`, which is its batch's. `None` if that is another's.
    #[inline]
    pub fn within(self, payload: &Arc<[u8]>, partition: &Partition) -> Option<Record> {
        let Self { offset, timestamp, key, value, headers } = self;
        let (partition, payload) = (partition.clone(), Arc::clone(payload));
        Record::from_shared(partition, Offset(offset), timestamp, payload, key, value, headers)
    }
}
