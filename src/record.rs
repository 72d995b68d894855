//! Records, partitions, offsets and checkpoints: what every room stands on.
//!
//! A record's key, value and headers are slices of one shared buffer (the payload a fetch brought), so that
//! a record costs no copy. Nothing here knows where the bytes came from or where they go.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    topic: Arc<str>,
    number: i32,
}

impl Partition {
    /// The partition `number` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, number: i32) -> Self {
        Self { topic: topic.into(), number }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number within its topic, counted from 0.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of a record in its partition. Not a count: offsets may have holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Offset {
    /// The next offset: what is committed once this record is done.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How far a partition is done: the offset of the first record that is *not* done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Which partition.
    pub partition: Partition,
    /// The first offset that is not done; all before it are.
    pub next: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.next)
    }
}

/// A position as it is committed, with what the core noted beside it: the committed offset's metadata, in Kafka's
/// words. Sources carry it and don't look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the partition is done without a gap.
    pub position: Position,
    /// What the core wants back with this position; empty for nothing.
    pub metadata: String,
    /// Behind the last record that is done, as far as the metadata tells; the position itself where nothing is done
    /// beyond it.
    pub reach: Offset,
    /// The assignment of the partition that it was made under: the source's number, handed back to it, so that a
    /// commit which comes late is not applied to a later assignment, or to another log of the same name.
    pub assignment: u64,
}

impl From<Position> for Checkpoint {
    fn from(position: Position) -> Self {
        Self { reach: position.next, position, metadata: String::new(), assignment: 0 }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.position, f)
    }
}

impl Checkpoint {
    /// Positions in order, for people: `orders-0@17, orders-1@4`.
    pub(crate) fn list(checkpoints: &[Self]) -> String {
        let mut names: Vec<String> = checkpoints.iter().map(Self::to_string).collect();
        names.sort();
        names.join(", ")
    }
}

/// A header of a record. Names may repeat, and order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as it stands in the record; by Kafka's convention UTF-8.
    pub name: &'a [u8],
    /// The value; Kafka tells an absent one from an empty one.
    pub value: Option<&'a [u8]>,
}

/// Where a header's name and value lie in the payload.
#[derive(Clone, Debug)]
pub struct HeaderRange {
    /// The name's place.
    pub name: Range<u32>,
    /// The value's place, if there is one.
    pub value: Option<Range<u32>>,
}

/// One event: a record of a topic.
#[derive(Clone)]
pub struct Record {
    partition: Partition,
    offset: Offset,
    timestamp: i64,
    payload: Arc<[u8]>,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Box<[HeaderRange]>,
}

impl Record {
    /// A record that owns copies of `key` and `value` and has no headers.
    pub fn new(
        partition: Partition,
        offset: Offset,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        Self::with_headers(partition, offset, timestamp, key, value, &[])
    }

    /// A record that owns copies of all its parts. Parts beyond 4 GiB in all are cut off; Kafka's own limit on
    /// a record is 2 GiB.
    pub fn with_headers(
        partition: Partition,
        offset: Offset,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Self {
        let length_of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let of_headers: usize = headers.iter().map(|h| h.name.len() + length_of(h.value)).sum();
        let mut payload = Vec::with_capacity(length_of(key) + length_of(value) + of_headers);
        let mut keep = |bytes: &[u8]| {
            let room = (u32::MAX as usize).saturating_sub(payload.len());
            let start = payload.len() as u32;
            payload.extend_from_slice(&bytes[..bytes.len().min(room)]);
            start..payload.len() as u32
        };
        let key = key.map(&mut keep);
        let value = value.map(&mut keep);
        let headers = headers
            .iter()
            .map(|h| HeaderRange { name: keep(h.name), value: h.value.map(&mut keep) })
            .collect();
        Self { partition, offset, timestamp, payload: payload.into(), key, value, headers }
    }

    /// A record whose parts are slices of `payload`, which other records may share. `None` if a range lies
    /// outside of it.
    #[inline]
    pub fn from_shared(
        partition: Partition,
        offset: Offset,
        timestamp: i64,
        payload: Arc<[u8]>,
        key: Option<Range<u32>>,
        value: Option<Range<u32>>,
        headers: Box<[HeaderRange]>,
    ) -> Option<Self> {
        let within = |r: &Range<u32>| r.start <= r.end && r.end as usize <= payload.len();
        let all_within = key.as_ref().is_none_or(within)
            && value.as_ref().is_none_or(within)
            && headers.iter().all(|h| within(&h.name) && h.value.as_ref().is_none_or(within));
        all_within.then_some(Self { partition, offset, timestamp, payload, key, value, headers })
    }

    /// The record with a payload of its own, where the shared one is more than twice as large as its parts: who
    /// keeps a record for long would keep all that was fetched with it.
    pub(crate) fn detach(self) -> Self {
        if self.payload.len() / 2 <= self.len() {
            return self;
        }
        let headers: Vec<Header<'_>> = self.headers().collect();
        let partition = self.partition.clone();
        Self::with_headers(partition, self.offset, self.timestamp, self.key(), self.value(), &headers)
    }

    /// The bytes that it shares with the records that were fetched with it, its own parts included.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.payload.len()
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.payload[range.start as usize..range.end as usize]
    }

    /// The partition it belongs to.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Its place in the partition.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Its timestamp in milliseconds since 1970; below 0 where the source knows none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|r| self.slice(r))
    }

    /// Its value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|r| self.slice(r))
    }

    /// Its headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.headers
            .iter()
            .map(|h| Header { name: self.slice(&h.name), value: h.value.as_ref().map(|r| self.slice(r)) })
    }

    /// What it weighs in memory, in bytes: its own parts and a fixed share for the bookkeeping.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.headers.len() * size_of::<HeaderRange>() + self.len()
    }

    /// The bytes of its own parts.
    fn len(&self) -> usize {
        let len = |r: &Range<u32>| (r.end - r.start) as usize;
        let part = |r: &Option<Range<u32>>| r.as_ref().map_or(0, len);
        let headers: usize = self.headers.iter().map(|h| len(&h.name) + part(&h.value)).sum();
        part(&self.key) + part(&self.value) + headers
    }
}

/// Shows where the record is from and how large it is, never what it says.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.partition, self.offset, self.value().map_or(0, <[u8]>::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_part_apart() {
        let headers = [
            Header { name: b"a", value: Some(b"1") },
            Header { name: b"a", value: None },
            Header { name: b"", value: Some(b"") },
        ];
        let record =
            Record::with_headers(Partition::new("t", 3), Offset(7), 42, Some(b""), Some(b"value"), &headers);
        assert_eq!(record.key(), Some(&b""[..]));
        assert_eq!(record.value(), Some(&b"value"[..]));
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(Record::new(Partition::new("t", 3), Offset(7), 42, None, None).value(), None);
    }

    #[test]
    fn refuses_a_range_outside_the_payload() {
        let make = |key, value| {
            Record::from_shared(
                Partition::new("t", 0),
                Offset(0),
                0,
                Arc::from(&b"abc"[..]),
                key,
                value,
                Box::new([]),
            )
        };
        assert!(make(Some(0..1), Some(1..3)).is_some());
        assert!(make(Some(0..4), None).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
        let reversed = 2..1;
        assert!(make(None, Some(reversed)).is_none());
    }

    #[test]
    fn a_detached_record_is_the_same_and_keeps_no_other_in_memory() {
        let payload: Arc<[u8]> = Arc::from(&b"..kvnh......................"[..]);
        let make = |headers| {
            let partition = Partition::new("t", 0);
            Record::from_shared(
                partition,
                Offset(3),
                9,
                Arc::clone(&payload),
                Some(2..3),
                Some(3..4),
                headers,
            )
        };
        let record = make(Box::new([HeaderRange { name: 4..5, value: Some(5..6) }])).unwrap();
        let detached = record.clone().detach();
        assert!(record.headers().eq(detached.headers()));
        assert_eq!((record.key(), record.value()), (detached.key(), detached.value()));
        assert_eq!((detached.offset(), detached.timestamp()), (Offset(3), 9));
        assert_eq!((record.weight(), detached.payload.len()), (detached.weight(), 4));
        assert!(Arc::ptr_eq(&detached.payload, &detached.clone().detach().payload), "nothing to gain twice");
    }

    #[test]
    fn debug_shows_no_content() {
        let record = Record::new(Partition::new("t", 0), Offset(9), 0, Some(b"secret"), Some(b"secret"));
        assert_eq!(format!("{record:?}"), "t-0@9 (6 bytes)");
    }
}
