//! Errors of a batch.

use super::Compression;
use std::error::Error;
use std::fmt;

/// A batch that can't be read. Each error names the batch by its base offset (a message of v0 or v1 by its own); the
/// caller knows topic and partition. Such a batch must not be skipped silently: its records would not be delivered.
#[derive(Debug)]
pub enum BatchError {
    /// The bytes don't match the format.
    Malformed {
        /// The base offset of the batch.
        base_offset: i64,
        /// Which part does not match.
        what: &'static str,
    },
    /// The checksum does not match.
    Checksum {
        /// The base offset of the batch.
        base_offset: i64,
        /// The checksum in the batch.
        stored: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// An unknown format, or no batch at all.
    UnknownFormat {
        /// The base offset of the batch.
        base_offset: i64,
        /// The number of the format (magic).
        magic: i8,
    },
    /// An unknown compression.
    UnknownCompression {
        /// The base offset of the batch.
        base_offset: i64,
        /// The number of the compression.
        id: u8,
    },
    /// The records can't be decompressed.
    Unpack {
        /// The base offset of the batch.
        base_offset: i64,
        /// How they are compressed.
        compression: Compression,
        /// The decoder's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The uncompressed records are larger than allowed.
    TooLarge {
        /// The base offset of the batch.
        base_offset: i64,
        /// How they are compressed.
        compression: Compression,
        /// The maximum uncompressed size in bytes.
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
