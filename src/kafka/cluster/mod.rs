//! The cluster's metadata, and the connections of one thread to its brokers.
//!
//! [`Cluster`] is shared by all threads of a client and does no I/O. [`Connections`] belongs to one thread: one
//! connection per broker, opened on first use and reopened after a failure, so that no thread waits for another one's
//! response.
//!
//! | room | what it is |
//! |---|---|
//! | [catalog] | [`Cluster`]'s metadata |
//! | `connections` | [`Connections`] |
//! | `error` | [`ClusterError`] |

pub mod catalog;
mod connections;
mod error;

use super::connection::Connector;
use super::protocol::metadata::MetadataResponse;
use super::protocol::{ErrorCode, Uuid};
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
    /// A host name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The TCP port.
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
    /// Parses `HOST:PORT`, with an IPv6 address in brackets. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
            .filter(|address| !address.host.is_empty())
    }
}

/// The metadata of a cluster, shared by the threads of a client.
#[derive(Debug)]
pub struct Cluster {
    connector: Connector,
    bootstrap: Vec<Address>,
    known: Mutex<Catalog>,
}

impl Cluster {
    /// A cluster of which only the bootstrap addresses are known. Contacts nobody.
    pub fn new(connector: Connector, bootstrap: Vec<Address>) -> Self {
        Self { connector, bootstrap, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Catalog> {
        // A panic can't leave an entry half written: each change replaces whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The brokers by id, from the latest metadata.
    pub fn brokers(&self) -> BTreeMap<i32, Address> {
        self.known().brokers().clone()
    }

    /// The cluster id, if a broker has reported it.
    pub(crate) fn id(&self) -> Option<Arc<str>> {
        self.known().id().cloned()
    }

    /// The id of a topic; zero if it is not known.
    pub(crate) fn topic_id(&self, topic: &str) -> Uuid {
        self.known().topic_id(topic)
    }

    /// The metadata of a partition.
    pub fn place(&self, topic: &str, partition: i32) -> Place {
        self.known().place(topic, partition)
    }

    /// The broker id and the epoch of a partition's leader.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        self.place(topic, partition).leader.map(|leader| (leader.broker, leader.epoch))
    }

    /// The number of partitions of each known topic.
    pub(crate) fn sizes(&self) -> TopicSizes {
        self.known().sizes()
    }

    /// The number of partitions of a topic, if it is known.
    pub(crate) fn size(&self, topic: &str) -> Option<i32> {
        self.known().size(topic)
    }

    /// Learns from a metadata response.
    fn learn(&self, answer: &MetadataResponse<'_>, about_all: bool) -> Result<(), ClusterError> {
        match self.known().learn(answer, about_all) {
            true => Ok(()),
            false => Err(ClusterError::EmptyMetadata),
        }
    }

    /// The known leader has denied that it leads: the next metadata is accepted whatever its epoch.
    pub(crate) fn leader_refused(&self, topic: &str, partition: i32) {
        self.known().leader_refused(topic, partition);
    }

    /// A broker has answered a request about the topic of this id with an error. If it doesn't know the topic, metadata
    /// that names a former id is believed sooner.
    pub(crate) fn topic_refused(&self, topic: &str, id: Uuid, code: ErrorCode) {
        self.known().topic_refused(topic, id, code);
    }

    /// A broker has answered a fetch that named the topic by this id: a lagging broker can't bring back a former one.
    pub(crate) fn topic_served(&self, topic: &str, id: Uuid) {
        self.known().topic_served(topic, id);
    }
}
