//! What is known of the brokers: addresses, leaders, coordinators; and the connections of one thread to them.
//!
//! [`Cluster`] is shared and does no I/O. [`Links`] belongs to one thread: one connection a broker, opened when it
//! is first needed and again after a fault, so that no thread ever waits for another one's answer.

mod links;

use super::connection::{ConnectionError, Connector};
use super::group::assignor::TopicSizes;
use super::protocol::metadata::MetadataResponse;
use super::protocol::{ErrorCode, Uuid};
pub use links::{Links, Target};
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

/// A topic, by the newest metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// For each partition the leader and its epoch, where there is one.
    pub leaders: Vec<Option<(i32, i32)>>,
    /// Its id; zero where the broker has none to tell.
    pub id: Uuid,
}

#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<i32, Address>,
    topics: BTreeMap<Arc<str>, Topic>,
}

/// What is known of the brokers. It is shared by the threads of a client.
#[derive(Debug)]
pub struct Cluster {
    connector: Connector,
    bootstrap: Vec<Address>,
    known: Mutex<Known>,
}

impl Cluster {
    /// Nothing is known yet but where to ask.
    pub fn new(connector: Connector, bootstrap: Vec<Address>) -> Self {
        Self { connector, bootstrap, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change replaces whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The brokers that the newest metadata names.
    pub fn brokers(&self) -> BTreeMap<i32, Address> {
        self.known().brokers.clone()
    }

    /// The leader of a partition and its epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let place = usize::try_from(partition).ok()?;
        self.known().topics.get(topic)?.leaders.get(place).copied().flatten()
    }

    /// How many partitions each known topic has.
    pub fn sizes(&self) -> TopicSizes {
        let size = |topic: &Topic| i32::try_from(topic.leaders.len()).unwrap_or(i32::MAX);
        self.known().topics.iter().map(|(name, topic)| (Arc::clone(name), size(topic))).collect()
    }

    /// Takes an answer in. Topics it doesn't name stay as they were, unless it is about all of them.
    fn learn(&self, answer: &MetadataResponse<'_>, about_all: bool) {
        let mut known = self.known();
        let port = |port: i32| u16::try_from(port).unwrap_or(0);
        known.brokers = answer
            .brokers
            .iter()
            .map(|b| (b.node_id, Address { host: b.host.to_owned(), port: port(b.port) }))
            .collect();
        if about_all {
            known.topics.clear();
        }
        for topic in &answer.topics {
            // Only who asks by ids may get an answer without a name.
            let Some(name) = topic.name else { continue };
            if topic.error_code != ErrorCode::NONE && topic.partitions.is_empty() {
                known.topics.remove(name);
                continue;
            }
            let before = known.topics.remove(name).unwrap_or_default();
            let highest = topic.partitions.iter().map(|p| p.partition_index).max().unwrap_or(-1);
            let mut leaders =
                vec![None; usize::try_from(highest + 1).unwrap_or(0).min(topic.partitions.len())];
            for partition in &topic.partitions {
                let place = usize::try_from(partition.partition_index).ok();
                let Some((place, slot)) = place.and_then(|at| leaders.get_mut(at).map(|slot| (at, slot)))
                else {
                    continue;
                };
                let leader = (partition.leader_id, partition.leader_epoch);
                // A broker that lags behind may still name a former leader.
                let newer =
                    before.leaders.get(place).copied().flatten().filter(|(_, epoch)| *epoch > leader.1);
                *slot = newer.or((leader.0 >= 0).then_some(leader));
            }
            known.topics.insert(Arc::from(name), Topic { leaders, id: topic.topic_id });
        }
    }

    /// What is known of a topic's leaders proved wrong: the next metadata counts whatever its epoch.
    pub fn forget_leader(&self, topic: &str, partition: i32) {
        let mut known = self.known();
        let slot =
            usize::try_from(partition).ok().and_then(|at| known.topics.get_mut(topic)?.leaders.get_mut(at));
        if let Some(slot) = slot {
            *slot = None;
        }
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
