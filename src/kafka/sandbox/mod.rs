//! A small Kafka broker in this process: topics in memory, consumer groups, real TCP, faults on demand.
//!
//! For trying things out, for `demo` and for client tests. It has no disk, no replicas, no transactions and no
//! security, and its records are gone when it stops. Otherwise it behaves like a real broker towards any client,
//! including Java's and librdkafka's.
//!
//! It uses the same [`protocol`](super::protocol) codec as the client, in all its versions or in those of a
//! [table](SandboxSettings::versions).
//!
//! | room | what it is |
//! |---|---|
//! | `log` | the log of a partition; pure |
//! | `group` | a consumer group with its rebalances; pure |
//! | `state` | topics, groups and pending faults; pure |
//! | `rules` | pending faults: which responses fail, and how; pure |
//! | `broker` | the state behind its lock, and the path from a request to its response |
//! | `topics` | creates and grows topics |
//! | `serve`, `coordinate`, `admin` | the requests: records, groups, cluster |
//! | `configs` | configs of topics and brokers |
//! | `server` | sockets and threads |
//! | `report` | log lines about closed connections |
//! | `faults` | the handle by which tests inject faults |
//!
//! ```
//! use sluicegate::kafka::record_batch::NewRecord;
//! use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
//!
//! let sandbox = Sandbox::start(SandboxSettings::default())?;
//! let record = NewRecord { timestamp: -1, key: None, value: Some(b"{}"), headers: &[] };
//! assert_eq!(sandbox.produce("orders", 0, &[record])?, 0);
//! println!("kcat -b {} -C -t orders", sandbox.address());
//! # Ok::<(), std::io::Error>(())
//! ```

mod admin;
mod broker;
mod configs;
mod coordinate;
pub mod faults;
mod group;
mod log;
mod report;
mod rules;
mod serve;
mod server;
mod state;
mod topics;

pub use group::{LARGEST_METADATA, LONGEST_REBALANCE, MOST_MEMBERS, SESSION_TIMEOUTS};
pub use log::{LARGEST_BATCH, PARTITION_BYTES};
pub use report::{LARGEST_REQUEST, Report};
pub use server::MOST_CONNECTIONS;
pub use state::MOST_GROUPS;
pub use topics::{MOST_PARTITIONS, MOST_TOPICS};

use super::protocol::{ApiKey, ErrorCode, Uuid};
use super::record_batch::{BatchWriter, Compression, NewRecord};
use crate::record::Partition;
use broker::Broker;
use faults::Faults;
use server::Server;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The most nodes of a sandbox.
const MOST_NODES: usize = 9;

/// The settings of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The number of partitions of auto-created topics (`num.partitions`).
    pub partitions: i32,
    /// Whether topics are created on first use (`auto.create.topics.enable`).
    pub make_topics: bool,
    /// The number of brokers in the cluster, 1 to 9. All but the first listen on free ports.
    pub nodes: usize,
    /// The most bytes a partition keeps (`retention.bytes`).
    pub partition_bytes: usize,
    /// The API versions to advertise, to imitate another broker; `None` for all that are supported. Unsupported
    /// versions in the table are advertised too; using one closes the connection.
    pub versions: Option<BTreeMap<ApiKey, RangeInclusive<i16>>>,
    /// Receives a line for each connection that the sandbox closes, with the client and the reason.
    pub report: Report,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            partitions: 4,
            make_topics: true,
            nodes: 1,
            partition_bytes: PARTITION_BYTES,
            versions: None,
            report: Report::default(),
        }
    }
}

/// A snapshot of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: &'static str,
    /// The current generation.
    pub generation: i32,
    /// The member ids.
    pub members: Vec<String>,
}

/// A running sandbox. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    broker: Arc<Broker>,
    server: Server,
}

impl Sandbox {
    /// Starts listening, and serves on background threads until dropped.
    ///
    /// # Errors
    /// The address is in use, or isn't an address of this machine.
    pub fn start(settings: SandboxSettings) -> io::Result<Self> {
        let mut listeners = vec![TcpListener::bind(settings.listen)?];
        for _ in 1..settings.nodes.min(MOST_NODES) {
            listeners.push(TcpListener::bind((settings.listen.ip(), 0))?);
        }
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let address = addresses.first().copied().unwrap_or(settings.listen);
        let ports = addresses.iter().map(SocketAddr::port).collect();
        let broker = Arc::new(Broker::new(settings, ports, RandomState::new().hash_one(address)));
        let server = Server::start(Arc::clone(&broker), listeners)?;
        Ok(Self { address, broker, server })
    }

    /// The address of its first node.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a topic unless it exists.
    ///
    /// # Errors
    /// The name is invalid, or there are too many topics.
    pub fn create(&self, topic: &str, partitions: i32) -> io::Result<()> {
        self.broker.make_topic(&mut self.broker.lock(), topic, partitions).map_err(refused)
    }

    /// Creates a topic whose leader epochs start at `epoch`.
    ///
    /// # Errors
    /// The topic exists, the name is invalid, or there are too many topics.
    pub fn create_at_epoch(&self, topic: &str, partitions: i32, leader_epoch: i32) -> io::Result<()> {
        self.broker.new_topic(&mut self.broker.lock(), topic, partitions, leader_epoch).map_err(refused)
    }

    /// Deletes a topic and the offsets committed for it. A topic created later under the same name gets another id.
    ///
    /// # Errors
    /// The topic doesn't exist.
    pub fn delete(&self, topic: &str) -> io::Result<()> {
        let deleted = self.broker.lock().delete_topic(topic);
        self.broker.wake();
        deleted.map_err(refused)
    }

    /// Grows a topic to `total` partitions.
    ///
    /// # Errors
    /// The topic doesn't exist, or has that many already.
    pub fn add_partitions(&self, topic: &str, total: i32) -> io::Result<()> {
        self.broker.add_partitions(&mut self.broker.lock(), topic, total).map_err(refused)
    }

    /// The id of a topic, if it exists.
    pub fn topic_id(&self, topic: &str) -> Option<Uuid> {
        Some(self.broker.lock().id(topic)).filter(|id| *id != Uuid::ZERO)
    }

    /// The leader epoch of a partition.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> Option<i32> {
        self.broker.lock().log_mut(topic, partition).map(|log| log.epoch())
    }

    /// Appends records as one batch and returns the offset of the first. Creates the topic if necessary.
    ///
    /// # Errors
    /// The partition doesn't exist, or the records don't fit into a batch.
    pub fn produce(&self, topic: &str, partition: i32, records: &[NewRecord<'_>]) -> io::Result<i64> {
        let mut writer = BatchWriter::new(Compression::None);
        records.iter().for_each(|record| writer.push(record));
        self.append(topic, partition, &writer.finish()?)
    }

    /// Appends an encoded batch and returns the offset of its first record. Creates the topic if necessary.
    ///
    /// # Errors
    /// The partition doesn't exist, or the bytes are not a valid batch.
    pub fn append(&self, topic: &str, partition: i32, batch: &[u8]) -> io::Result<i64> {
        let mut state = self.broker.lock();
        self.broker.make_topic(&mut state, topic, self.broker.settings.partitions).map_err(refused)?;
        let log = state.log_mut(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let offset = log.and_then(|log| log.append(batch)).map_err(refused);
        drop(state);
        self.broker.wake();
        offset
    }

    /// The log start offset and the log end offset of a partition.
    pub fn range(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        self.broker.lock().log_mut(topic, partition).map(|log| (log.start(), log.end()))
    }

    /// The offset that a group committed for a partition.
    pub fn committed(&self, group: &str) -> BTreeMap<Partition, i64> {
        let state = self.broker.lock();
        let committed = state.groups.get(group).into_iter().flat_map(|group| &group.committed);
        committed.map(|(partition, committed)| (partition.clone(), committed.next)).collect()
    }

    /// A snapshot of a group, if it exists.
    pub fn group(&self, group: &str) -> Option<GroupView> {
        let state = self.broker.lock();
        state.groups.get(group).map(|group| GroupView {
            state: group.phase.name(),
            generation: group.generation,
            members: group.members.keys().cloned().collect(),
        })
    }

    /// The handle to inject faults.
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.broker))
    }

    /// Closes all connections; clients may reconnect.
    pub fn disconnect(&self) {
        self.server.disconnect();
    }
}

fn refused(code: ErrorCode) -> io::Error {
    io::Error::other(format!("the sandbox refuses: {code}"))
}
