//! What is known of the brokers: addresses, leaders, coordinators; and the connections of one thread to them.
//!
//! [`Cluster`] is shared and does no I/O. [`Connections`] belongs to one thread: one connection a broker, opened when it
//! is first needed and again after a fault, so that no thread ever waits for another one's answer.

mod catalog;
mod connections;

use super::connection::{ConnectionError, Connector};
use super::group::assignor::TopicSizes;
use super::protocol::metadata::MetadataResponse;
use super::protocol::{ErrorCode, Uuid};
use catalog::Catalog;
pub use catalog::{CONSISTENT, Leader, Place};
pub use connections::{Connections, Target};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why nothing came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// It may work when tried again.
    Retriable(String),
    /// It never will: credentials, certificates, versions, rights.
    Fatal(String),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Retriable(text) | Self::Fatal(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for ClusterError {}

impl From<ConnectionError> for ClusterError {
    fn from(error: ConnectionError) -> Self {
        match error.is_fatal() {
            true => Self::Fatal(error.to_string()),
            false => Self::Retriable(error.to_string()),
        }
    }
}

/// Where a broker listens, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// Reads `HOST:PORT`, the host of IPv6 in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
            .filter(|address| !address.host.is_empty())
    }
}

/// What is known of the brokers. It is shared by the threads of a client.
#[derive(Debug)]
pub struct Cluster {
    connector: Connector,
    bootstrap: Vec<Address>,
    known: Mutex<Catalog>,
}

impl Cluster {
    /// Nothing is known yet but where to ask.
    pub fn new(connector: Connector, bootstrap: Vec<Address>) -> Self {
        Self { connector, bootstrap, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Catalog> {
        // Each change replaces whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The brokers that the newest metadata names.
    pub fn brokers(&self) -> BTreeMap<i32, Address> {
        self.known().brokers().clone()
    }

    /// The cluster's id, where it has told one.
    pub fn id(&self) -> Option<Arc<str>> {
        self.known().id().cloned()
    }

    /// The id of a topic; zero where none is known.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.known().topic_id(topic)
    }

    /// What is known of a partition.
    pub fn place(&self, topic: &str, partition: i32) -> Place {
        self.known().place(topic, partition)
    }

    /// The leader of a partition and its epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        self.place(topic, partition).leader.map(|leader| (leader.broker, leader.epoch))
    }

    /// How many partitions each known topic has.
    pub fn sizes(&self) -> TopicSizes {
        self.known().sizes()
    }

    /// Takes a metadata answer in.
    fn learn(&self, answer: &MetadataResponse<'_>, about_all: bool) -> Result<(), ClusterError> {
        match self.known().learn(answer, about_all) {
            true => Ok(()),
            false => Err(ClusterError::Retriable("a broker answered that there are no brokers".into())),
        }
    }

    /// The leader that is known proved to be none: the next metadata counts, whatever its epoch.
    pub fn leader_refused(&self, topic: &str, partition: i32) {
        self.known().leader_refused(topic, partition);
    }
}

/// A broker's error in words, and whether it makes sense to try again.
pub fn of_code(code: ErrorCode, what: &str) -> ClusterError {
    let advice = match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => ": allow this principal to read the topic",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => ": allow this principal to read the group",
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED => ": allow this principal to do this on the cluster",
        ErrorCode::INVALID_GROUP_ID => ": take another --group",
        ErrorCode::INVALID_TOPIC_EXCEPTION => ": check --topic",
        ErrorCode::UNSUPPORTED_VERSION | ErrorCode::SASL_AUTHENTICATION_FAILED => "",
        _ => return ClusterError::Retriable(format!("{what}: the broker answered {code}")),
    };
    ClusterError::Fatal(format!("{what}: the broker answered {code}{advice}"))
}
