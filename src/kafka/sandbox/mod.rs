//! A small Kafka broker in this process: topics in memory, consumer groups, real TCP, faults on demand.
//!
//! It is for trying things out, for `demo` and for tests of clients, and it is no place to keep records: it has no
//! disk, no replicas, no transactions and no security, and whatever it holds is gone with it. What it does do it
//! does as a broker would, towards any client: our own, Java's, librdkafka's.
//!
//! Requests are read and responses written by the same [`protocol`](super::protocol) that the client uses, in all of
//! its versions or in those of a [table](SandboxSettings::versions).
//!
//! | room | what it is |
//! |---|---|
//! | `log` | the log of a partition; pure |
//! | `group` | a consumer group with its rebalances; pure |
//! | `topics` | the topics with their ids |
//! | `broker` | topics and groups behind one lock; from a request to its answer |
//! | `serve`, `coordinate`, `admin` | the requests: about records, about groups, about the cluster |
//! | `configs` | the settings that topics and brokers have |
//! | `server` | sockets and threads |
//! | `report` | what is said of connections that are closed |
//! | `faults` | misbehaviour on demand |
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
mod serve;
mod server;
mod topics;

pub use broker::MOST_GROUPS;
pub use group::{LARGEST_METADATA, LONGEST_REBALANCE, MOST_MEMBERS, SESSION_TIMEOUTS};
pub use log::{LARGEST_BATCH, PARTITION_BYTES};
pub use report::Report;
pub use server::{LARGEST_REQUEST, MOST_CONNECTIONS};
pub use topics::{MOST_PARTITIONS, MOST_TOPICS};

use super::protocol::{ApiKey, ErrorCode, Uuid};
use super::record_batch::{BatchWriter, Compression, NewRecord};
use crate::relay::record::Partition;
use broker::Broker;
use faults::Faults;
use server::Server;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The most nodes a sandbox plays.
const MOST_NODES: usize = 9;

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many partitions a topic gets that is made because somebody asks for it.
    pub partitions: i32,
    /// Whether topics are made because somebody asks for them (`auto.create.topics.enable`).
    pub make_topics: bool,
    /// As how many brokers of one cluster it appears, from 1 to 9. The second and further listen on free ports.
    pub nodes: usize,
    /// How many bytes a partition keeps.
    pub partition_bytes: usize,
    /// The APIs that it offers with their versions, as another broker would; `None` for all that it knows. Versions
    /// that it doesn't know are offered all the same, and whoever uses one loses the connection.
    pub versions: Option<BTreeMap<ApiKey, RangeInclusive<i16>>>,
    /// Hears, in a line each, of the connections that the sandbox closes: who was there, and why it was let go.
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

/// A group, as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: &'static str,
    /// How many rebalances there were.
    pub generation: i32,
    /// The ids of the members.
    pub members: Vec<String>,
}

/// A running sandbox; dropped, it stops.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    broker: Arc<Broker>,
    server: Server,
}

impl Sandbox {
    /// Listens, and serves in threads of its own until it is dropped.
    ///
    /// # Errors
    /// Those of the sockets: the address is taken, or isn't this machine's.
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

    /// Where its first node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a topic unless it is there.
    ///
    /// # Errors
    /// A name that no topic can have, or too many topics.
    pub fn create(&self, topic: &str, partitions: i32) -> io::Result<()> {
        self.broker.make_topic(&mut self.broker.lock(), topic, partitions).map_err(refused)
    }

    /// Makes a topic whose partitions begin with this leader epoch.
    ///
    /// # Errors
    /// There is such a topic; a name that no topic can have, or too many topics.
    pub fn create_at_epoch(&self, topic: &str, partitions: i32, leader_epoch: i32) -> io::Result<()> {
        self.broker.new_topic(&mut self.broker.lock(), topic, partitions, leader_epoch).map_err(refused)
    }

    /// Deletes a topic, and with it what groups have committed for it. One that is made under the same name has
    /// another id.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn delete(&self, topic: &str) -> io::Result<()> {
        let deleted = self.broker.lock().delete_topic(topic);
        self.broker.wake();
        deleted.map_err(refused)
    }

    /// Lets a topic have `total` partitions.
    ///
    /// # Errors
    /// There is no such topic, or it has as many already.
    pub fn add_partitions(&self, topic: &str, total: i32) -> io::Result<()> {
        self.broker.add_partitions(&mut self.broker.lock(), topic, total).map_err(refused)
    }

    /// The id of a topic, if there is one of that name.
    pub fn topic_id(&self, topic: &str) -> Option<Uuid> {
        Some(self.broker.lock().id(topic)).filter(|id| *id != Uuid::ZERO)
    }

    /// The epoch of a partition's leader.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> Option<i32> {
        self.broker.lock().log_mut(topic, partition).map(|log| log.epoch())
    }

    /// Appends records as one batch, making the topic if there is none. Gives the offset of the first.
    ///
    /// # Errors
    /// No such partition, or more records than fit into a batch.
    pub fn produce(&self, topic: &str, partition: i32, records: &[NewRecord<'_>]) -> io::Result<i64> {
        let mut writer = BatchWriter::new(Compression::None);
        records.iter().for_each(|record| writer.push(record));
        self.append(topic, partition, &writer.finish()?)
    }

    /// Appends a batch as its producer made it, making the topic if there is none. Gives the offset of its first
    /// record.
    ///
    /// # Errors
    /// No such partition, or bytes that are no batch.
    pub fn append(&self, topic: &str, partition: i32, batch: &[u8]) -> io::Result<i64> {
        let mut state = self.broker.lock();
        self.broker.make_topic(&mut state, topic, self.broker.settings.partitions).map_err(refused)?;
        let log = state.log_mut(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let offset = log.and_then(|log| log.append(batch)).map_err(refused);
        drop(state);
        self.broker.wake();
        offset
    }

    /// The first offset of a partition and that of its next record.
    pub fn range(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        self.broker.lock().log_mut(topic, partition).map(|log| (log.start(), log.end()))
    }

    /// How far a group has come.
    pub fn committed(&self, group: &str) -> BTreeMap<Partition, i64> {
        let state = self.broker.lock();
        let committed = state.groups.get(group).into_iter().flat_map(|group| &group.committed);
        committed.map(|(partition, committed)| (partition.clone(), committed.next)).collect()
    }

    /// Who is in a group.
    pub fn group(&self, group: &str) -> Option<GroupView> {
        let state = self.broker.lock();
        state.groups.get(group).map(|group| GroupView {
            state: group.phase.name(),
            generation: group.generation,
            members: group.members.keys().cloned().collect(),
        })
    }

    /// What makes it misbehave.
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.broker))
    }

    /// Closes every connection; clients may open others.
    pub fn disconnect(&self) {
        self.server.disconnect();
    }
}

fn refused(code: ErrorCode) -> io::Error {
    io::Error::other(format!("the sandbox refuses: {code}"))
}
