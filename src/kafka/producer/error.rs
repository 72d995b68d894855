//! Why records could not be written to a topic.

use crate::kafka::cluster::ClusterError;
use crate::kafka::protocol::ErrorCode;
use std::error::Error;
use std::fmt;
use std::io;

/// Why a send failed, as a whole or in part.
#[derive(Debug)]
pub enum ProducerError {
    /// A request failed.
    Cluster(ClusterError),
    /// The same, where the topic accepted records before: a right that was revoked may be granted again.
    Revoked(ClusterError),
    /// The topic does not exist; nobody creates it here.
    TopicMissing(String),
    /// The topic has no partitions.
    NoPartitions(String),
    /// The principal may not write to the topic.
    NotWritable(String),
    /// The topic is one of Kafka's own.
    Internal(String),
    /// One record is larger than the topic accepts.
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// The size of the batch with this record alone, in bytes, compressed.
        size: usize,
        /// The broker's error code.
        code: ErrorCode,
    },
    /// The topic accepts neither a record's own timestamp nor the present time nor none.
    TimestampRefused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The topic does not accept a record.
    RecordRefused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's error code.
        code: ErrorCode,
        /// The broker's own words, shortened; may be empty.
        message: String,
    },
    /// A batch can't be written.
    Unwritable(io::Error),
    /// There was no time for an attempt.
    NoAttempt,
}

impl ProducerError {
    /// Whether a retry would fail in the same way until somebody changes rights, settings or the record.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_fatal(),
            Self::Revoked(_) | Self::TopicMissing(_) | Self::NoPartitions(_) | Self::NoAttempt => false,
            Self::NotWritable(_) | Self::Internal(_) | Self::RecordTooLarge { .. } => true,
            Self::TimestampRefused { .. } | Self::RecordRefused { .. } | Self::Unwritable(_) => true,
        }
    }
}

impl fmt::Display for ProducerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(error) | Self::Revoked(error) => error.fmt(f),
            Self::TopicMissing(topic) => write!(f, "the topic '{topic}' does not exist"),
            Self::NoPartitions(topic) => write!(f, "the topic '{topic}' has no partitions"),
            Self::NotWritable(topic) => write!(f, "this principal may not write to topic '{topic}'"),
            Self::Internal(topic) => write!(f, "the topic '{topic}' is Kafka's own"),
            Self::RecordTooLarge { topic, size, code } => write!(
                f,
                "a record takes {size} bytes, compressed and with what is noted in its headers, more than topic \
                 '{topic}' takes: the broker answered {code}"
            ),
            Self::TimestampRefused { topic, partition } => write!(
                f,
                "topic '{topic}' partition {partition} takes no record, not even with the present time or none: the \
                 broker answered {}",
                ErrorCode::INVALID_TIMESTAMP
            ),
            Self::RecordRefused { topic, partition, code, message } => {
                write!(f, "topic '{topic}' partition {partition} does not take the record: {code}")?;
                if message.is_empty() { Ok(()) } else { write!(f, " ({message})") }
            }
            Self::Unwritable(error) => write!(f, "a batch can't be written: {error}"),
            Self::NoAttempt => f.write_str("no attempt was made"),
        }
    }
}

impl Error for ProducerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cluster(error) | Self::Revoked(error) => Some(error),
            Self::RecordTooLarge { code, .. } | Self::RecordRefused { code, .. } => Some(code),
            Self::Unwritable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ClusterError> for ProducerError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}
