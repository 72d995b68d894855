//! What is known of the brokers: addresses, leaders, coordinators; and the connections of one thread to them.
//!
//! [`Cluster`] is shared and does no I/O. [`Connections`] belongs to one thread: one connection a broker, opened when it
//! is first needed and again after a fault, so that no thread ever waits for another one's answer.

mod catalog;
mod connections;
mod error;

use super::connection::Connector;
use super::protocol::Uuid;
use super::protocol::metadata::MetadataResponse;
use catalog::Catalog;
pub use catalog::{CONSISTENT, Leader, Place};
pub use connections::{Connections, Target};
pub(super) use error::is_fatal;
pub use error::{ClusterError, Subject};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of partitions of each known topic.
pub type TopicSizes = BTreeMap<Arc<str>, i32>;

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
            false => Err(ClusterError::EmptyMetadata),
        }
    }

    /// The leader that is known proved to be none: the next metadata counts, whatever its epoch.
    pub fn leader_refused(&self, topic: &str, partition: i32) {
        self.known().leader_refused(topic, partition);
    }
}
