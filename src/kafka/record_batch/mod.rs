//! The encoding of records: batches of format v2, message sets of v0 and v1, their checksums and compression. Knows
//! neither sockets nor topics.
//!
//! | room | what it is |
//! |---|---|
//! | `batches` | the [batches](Batches) in a fetch response |
//! | `batch` | a [batch](Batch) by the fields of its header |
//! | `formats` | what differs between formats: header, checksum, the way to the records |
//! | `records`, `raw_record` | the [records](Records) of a batch, decoded one by one over one shared payload |
//! | `message_set`, `message` | the same for v0 and v1 |
//! | `unpack`, `lz4`, `scratch` | decompression, [bounded](MAX_UNPACKED) |
//! | `writer`, `pack` | encoding: a [batch made of records](BatchWriter) |
//! | `transactions` | which batches are delivered under `read_committed` |
//! | `fields`, `error` | fields read from untrusted bytes, and what can be wrong with them |
//!
//! The bytes are untrusted: each length is checked against the bytes that are left, nothing panics, and nothing is
//! allocated beyond the limit.
//!
//! Layouts: <https://kafka.apache.org/documentation/#messageformat>, KIP-98 (v2), KIP-32 (v1), KIP-534 (compaction).

mod batch;
mod batches;
mod error;
mod fields;
mod formats;
mod lz4;
mod message;
mod message_set;
mod pack;
mod raw_record;
mod records;
mod scratch;
pub mod transactions;
mod unpack;
mod writer;

pub use batch::Batch;
pub use batches::Batches;
pub use error::BatchError;
pub use raw_record::RawRecord;
pub use records::Records;
pub use unpack::Unpacker;
pub use writer::{BatchWriter, NewRecord, ProducerState, place};

use std::fmt;

/// The default maximum uncompressed size of a batch, in bytes: more than a hundred times the default size of a batch.
/// It is also the largest window that zstd's own decoder accepts.
pub const MAX_UNPACKED: usize = 128 << 20;

/// The compression of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Snappy: raw as librdkafka writes it, or in the framing of Java's xerial.
    Snappy,
    /// LZ4 in its frame format.
    Lz4,
    /// Zstandard, RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    /// All compressions.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Its number in a batch's attributes.
    pub(crate) fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.id() == id)
    }

    /// Its name in Kafka's settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The meaning of a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The time when the producer created the record.
    CreateTime,
    /// The time when the broker appended it.
    LogAppendTime,
}

/// The marker of a control batch: the end of a transaction, or one of the brokers' own kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// The producer's transaction was aborted: its records must not be delivered.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Another kind, by its number; it concerns no records.
    Other(i16),
}

impl Control {
    fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        }
    }

    fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(other) => other,
        }
    }
}
