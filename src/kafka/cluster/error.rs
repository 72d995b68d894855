//! Why a request to a cluster failed.

use super::Address;
use crate::kafka::connection::ConnectionError;
use crate::kafka::protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use crate::record::Partition;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A request that failed. [`is_fatal`](Self::is_fatal) says whether it is worth retrying.
#[derive(Debug)]
pub enum ClusterError {
    /// The connection could not be opened, or it ended before the response.
    Connection(ConnectionError),
    /// A broker does not answer at the address that the metadata gives for it.
    Unreachable {
        /// The broker's id.
        broker: i32,
        /// Its advertised address.
        address: Address,
        /// What happened there.
        reason: Box<ConnectionError>,
    },
    /// None of the brokers tried has answered.
    NoBroker {
        /// What happened at each of them, in order.
        failed: Vec<ConnectionError>,
        /// How many of them do not speak Kafka's protocol.
        foreign: usize,
        /// No metadata is known yet, so only the bootstrap addresses were tried.
        at_first: bool,
    },
    /// A broker answered with an error code.
    Broker {
        /// The request.
        api: ApiKey,
        /// What it was about.
        subject: Subject,
        /// The error code.
        code: ErrorCode,
    },
    /// A response lacks what was asked for.
    Incomplete {
        /// The request.
        api: ApiKey,
        /// What it was about.
        subject: Subject,
    },
    /// The metadata names no broker with this id.
    UnknownBroker(i32),
    /// A broker's metadata lists no brokers.
    EmptyMetadata,
    /// The brokers do not offer this API.
    NoApi(ApiKey),
    /// A partition has no leader at present.
    NoLeader(Partition),
    /// No coordinator of the group is known.
    NoCoordinator,
    /// Another member's bytes can't be decoded.
    Unreadable {
        /// Which bytes.
        what: &'static str,
        /// What is wrong with them.
        reason: DecodeError,
    },
    /// Bytes for other members can't be encoded.
    Unwritable {
        /// Which bytes.
        what: &'static str,
        /// What is wrong with them.
        reason: EncodeError,
    },
    /// The request was cancelled before its response came.
    Cancelled,
    /// The deadline passed before the request was sent.
    OutOfTime,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The cluster as a whole, or many things at once.
    Cluster,
    /// A topic.
    Topic(Arc<str>),
    /// A partition.
    Partition(Partition),
    /// A consumer group.
    Group(Arc<str>),
}

impl ClusterError {
    /// An error code in the response to a request about the cluster as a whole.
    pub(crate) fn of_cluster(api: ApiKey, code: ErrorCode) -> Self {
        Self::Broker { api, subject: Subject::Cluster, code }
    }

    /// An error code in the response to a request about a topic.
    pub(crate) fn of_topic(api: ApiKey, topic: &str, code: ErrorCode) -> Self {
        Self::Broker { api, subject: Subject::Topic(topic.into()), code }
    }

    /// An error code in the response to a request about a partition.
    pub(crate) fn of_partition(api: ApiKey, partition: &Partition, code: ErrorCode) -> Self {
        Self::Broker { api, subject: Subject::Partition(partition.clone()), code }
    }

    /// An error code in the response to a request about a group.
    pub(crate) fn of_group(api: ApiKey, group: &str, code: ErrorCode) -> Self {
        Self::Broker { api, subject: Subject::Group(group.into()), code }
    }

    /// Whether a retry would fail in the same way until somebody changes credentials, certificates, rights, names or
    /// versions.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_fatal(),
            Self::NoBroker { failed, foreign, at_first } => {
                // At first one broker's refusal is enough. Later, while brokers are replaced one by one, all of them
                // have to refuse.
                let fatal = failed.iter().filter(|error| error.is_fatal()).count();
                let all = |count: usize| count == failed.len();
                all(fatal) || (*at_first && (fatal > 0 || all(*foreign)))
            }
            Self::Broker { code, .. } => is_fatal(*code),
            Self::NoApi(_) | Self::Unwritable { .. } => true,
            Self::Unreachable { .. } | Self::UnknownBroker(_) | Self::EmptyMetadata => false,
            Self::NoLeader(_) | Self::NoCoordinator | Self::Unreadable { .. } => false,
            Self::Incomplete { .. } | Self::Cancelled | Self::OutOfTime => false,
        }
    }

    /// The broker's error code, where a broker has answered with one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Whether an error code stays the same until somebody changes something.
pub(in crate::kafka) fn is_fatal(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
            | ErrorCode::GROUP_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::INVALID_GROUP_ID
            | ErrorCode::INVALID_TOPIC_EXCEPTION
            | ErrorCode::UNSUPPORTED_VERSION
            | ErrorCode::SASL_AUTHENTICATION_FAILED
    )
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => Ok(()),
            Self::Topic(topic) => write!(f, " for topic '{topic}'"),
            Self::Partition(partition) => write!(f, " for {partition}"),
            Self::Group(group) => write!(f, " for group {group}"),
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Unreachable { broker, address, reason } => {
                write!(f, "broker {broker} says that it is at {address}, and there: {reason}")
            }
            Self::NoBroker { failed, .. } => {
                f.write_str("the brokers can't be reached: ")?;
                for (place, error) in failed.iter().enumerate() {
                    write!(f, "{}{error}", if place == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Broker { api, subject, code } => write!(f, "{api}{subject}: the broker answered {code}"),
            Self::Incomplete { api, subject } => {
                write!(f, "{api}{subject}: the broker's answer lacks what was asked for")
            }
            Self::UnknownBroker(id) => write!(f, "the metadata names no broker {id}"),
            Self::EmptyMetadata => f.write_str("a broker answered that there are no brokers"),
            Self::NoApi(api) => write!(f, "the brokers do not offer {api}"),
            Self::NoLeader(partition) => write!(f, "{partition} has no leader at present"),
            Self::NoCoordinator => f.write_str("no coordinator is known"),
            Self::Unreadable { what, reason } => write!(f, "{what} can't be read: {reason}"),
            Self::Unwritable { what, reason } => write!(f, "{what} can't be written: {reason}"),
            Self::Cancelled => f.write_str("the request was cancelled"),
            Self::OutOfTime => f.write_str("the deadline passed before the request was sent"),
        }
    }
}

impl Error for ClusterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Unreachable { reason, .. } => Some(&**reason),
            Self::NoBroker { failed, .. } => failed.first().map(|error| error as _),
            Self::Broker { code, .. } => Some(code),
            Self::Unreadable { reason, .. } => Some(reason),
            Self::Unwritable { reason, .. } => Some(reason),
            Self::Incomplete { .. } | Self::UnknownBroker(_) | Self::EmptyMetadata | Self::NoApi(_) => None,
            Self::NoLeader(_) | Self::NoCoordinator | Self::Cancelled | Self::OutOfTime => None,
        }
    }
}

impl From<ConnectionError> for ClusterError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NetError;

    fn timeout() -> ConnectionError {
        NetError::Timeout { host: "b1:9092".into() }.into()
    }

    fn refused() -> ConnectionError {
        ConnectionError::Unsupported { broker: "b2:9092".into(), missing: Vec::new() }
    }

    #[test]
    fn one_refusal_is_final_at_first_and_later_only_that_of_all_brokers() {
        let error = |failed: Vec<ConnectionError>, foreign, at_first| {
            ClusterError::NoBroker { failed, foreign, at_first }.is_fatal()
        };
        assert!(error(vec![timeout(), refused()], 0, true));
        assert!(!error(vec![timeout(), refused()], 0, false));
        assert!(error(vec![refused(), refused()], 0, false));
        assert!(!error(vec![timeout()], 0, true));
        assert!(error(vec![timeout()], 1, true), "what listens there is no broker");
        assert!(!error(vec![timeout()], 1, false));
    }

    #[test]
    fn the_cause_is_kept_and_named_once() {
        let error = ClusterError::Unreachable {
            broker: 2,
            address: Address { host: "b2".into(), port: 9092 },
            reason: Box::new(timeout()),
        };
        assert!(error.to_string().starts_with("broker 2 says that it is at b2:9092, and there: "), "{error}");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<ConnectionError>());
        assert!(cause.is_some_and(ConnectionError::is_timeout));
        let error = ClusterError::of_group(ApiKey::OffsetCommit, "g", ErrorCode::NOT_COORDINATOR);
        assert!(error.to_string().starts_with("OffsetCommit for group g: the broker answered NOT_COORD"));
        assert_eq!((error.is_fatal(), error.code()), (false, Some(ErrorCode::NOT_COORDINATOR)));
        assert!(ClusterError::of_topic(ApiKey::Fetch, "t", ErrorCode::INVALID_TOPIC_EXCEPTION).is_fatal());
    }
}
