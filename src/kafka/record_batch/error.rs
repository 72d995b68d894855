//! What can be wrong with a batch.

use super::Compression;
use std::error::Error;
use std::fmt;

/// A batch that can't be read. Each names the batch by its base offset (a message of v0 or v1 by its own offset); the
/// caller knows topic and partition. None of them may be skipped silently: the records are there and not delivered.
#[derive(Debug)]
pub enum BatchError {
    /// The bytes don't follow the layout.
    Malformed {
        /// The batch.
        base_offset: i64,
        /// What doesn't fit.
        what: &'static str,
    },
    /// The bytes are not those that were written.
    Checksum {
        /// The batch.
        base_offset: i64,
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A format from the future, or no batch at all.
    UnknownFormat {
        /// The batch.
        base_offset: i64,
        /// The number in the place of the format.
        magic: i8,
    },
    /// A compression from the future.
    UnknownCompression {
        /// The batch.
        base_offset: i64,
        /// Its number.
        id: u8,
    },
    /// The compressed records can't be unpacked.
    Unpack {
        /// The batch.
        base_offset: i64,
        /// How they are compressed.
        compression: Compression,
        /// What the decoder says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The records unpack to more than is allowed.
    TooLarge {
        /// The batch.
        base_offset: i64,
        /// How they are compressed.
        compression: Compression,
        /// The most they may unpack to, in bytes.
        limit: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { base_offset, what } => {
                write!(f, "the record batch at offset {base_offset} is malformed: {what}")
            }
            Self::Checksum { base_offset, stored, computed } => write!(
                f,
                "the record batch at offset {base_offset} is damaged: its checksum is {stored:08x}, \
                 its bytes give {computed:08x}"
            ),
            Self::UnknownFormat { base_offset, magic } => {
                write!(f, "the record batch at offset {base_offset} has format {magic}; known are 0 to 2")
            }
            Self::UnknownCompression { base_offset, id } => write!(
                f,
                "the record batch at offset {base_offset} is compressed in a way that is not known (number {id})"
            ),
            Self::Unpack { base_offset, compression, source } => write!(
                f,
                "the record batch at offset {base_offset} can't be unpacked ({compression}): {source}"
            ),
            Self::TooLarge { base_offset, compression, limit } => write!(
                f,
                "the record batch at offset {base_offset} ({compression}) unpacks to more than {limit} bytes"
            ),
        }
    }
}

impl Error for BatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unpack { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
