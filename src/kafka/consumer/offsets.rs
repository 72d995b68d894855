//! Questions about offsets: what a group has committed, where logs begin and end, where a leader's reign ended. Each
//! is one request for many partitions, and one partition's error is its own.

use super::cursor::{Bounds, Committed, EpochEnd};
use super::note::Note;
use crate::kafka::cluster::{ClusterError, Connections, Target};
use crate::kafka::protocol::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use crate::kafka::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use crate::kafka::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestPartition, OffsetForLeaderEpochRequestTopic,
};
use crate::kafka::protocol::{ApiKey, ErrorCode, Uuid};
use crate::record::Partition;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// `timestamp` of a ListOffsets request: behind the last record that may be read.
pub const LATEST: i64 = -1;
/// `timestamp` of a ListOffsets request: the first record.
pub const EARLIEST: i64 = -2;

/// What was asked of each partition, or why the broker doesn't say. One that is missing was not answered for.
pub type Answers<T> = HashMap<Partition, Result<T, ErrorCode>>;

/// Partitions by topic, as requests want them.
fn by_topic<'a, T>(partitions: impl IntoIterator<Item = (&'a Partition, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut topics: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (partition, asked) in partitions {
        topics.entry(partition.topic()).or_default().push(asked);
    }
    topics
}

/// What the group has committed for these partitions, `None` where it has committed nothing. `coordinator` is found
/// anew where it is not known, and forgotten where it turned out to be another.
pub fn committed(
    connections: &mut Connections,
    coordinator: &mut Option<i32>,
    group: &str,
    partitions: &[Partition],
) -> Result<Answers<Option<Committed>>, ClusterError> {
    let id = connections.coordinator_unless(coordinator, group)?;
    let cluster = Arc::clone(connections.cluster());
    let topics = by_topic(partitions.iter().map(|partition| (partition, partition.number())));
    let names: HashMap<Uuid, &str> = topics.keys().map(|name| (cluster.topic_id(name), *name)).collect();
    let topics = topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopic {
        name,
        topic_id: cluster.topic_id(name),
        partition_indexes,
    });
    let request =
        OffsetFetchRequest { group_id: group, topics: Some(topics.collect()), ..Default::default() };
    let answer = connections.call(Target::Broker(id), &request, |answer| {
        let mut found = Answers::new();
        match answer.error_code {
            ErrorCode::NONE => {}
            // Some brokers say so of a group that has committed nothing yet.
            ErrorCode::GROUP_ID_NOT_FOUND => {
                found.extend(partitions.iter().map(|partition| (partition.clone(), Ok(None))));
                return Ok(found);
            }
            code => return Err(ClusterError::of_group(ApiKey::OffsetFetch, group, code)),
        }
        for topic in &answer.topics {
            let name =
                if topic.name.is_empty() { names.get(&topic.topic_id).copied() } else { Some(topic.name) };
            let Some(name) = name else { continue };
            for partition in &topic.partitions {
                let committed = Committed {
                    next: partition.committed_offset,
                    epoch: partition.committed_leader_epoch,
                    note: partition.metadata.and_then(Note::decode),
                };
                let committed = match partition.error_code {
                    ErrorCode::NONE => Ok(Some(committed).filter(|committed| committed.next >= 0)),
                    code => Err(code),
                };
                found.insert(Partition::new(name, partition.partition_index), committed);
            }
        }
        Ok(found)
    });
    let answer = answer.and_then(|found| found);
    if answer.is_err() {
        *coordinator = None;
    }
    answer
}

/// The offsets that belong to `timestamp` (milliseconds, [`LATEST`] or [`EARLIEST`]) in partitions that `broker`
/// leads, each with the leader epoch that is known; `None` where no record is as late. The latest is behind the last
/// record whose transaction is decided, or with `uncommitted` behind the last at all.
pub fn list_at(
    connections: &mut Connections,
    broker: i32,
    timestamp: i64,
    partitions: &[(&Partition, i32)],
    uncommitted: bool,
) -> Result<Answers<Option<i64>>, ClusterError> {
    let asked = partitions.iter().map(|(partition, current_leader_epoch)| {
        let (partition_index, current_leader_epoch) = (partition.number(), *current_leader_epoch);
        (*partition, ListOffsetsRequestPartition { partition_index, current_leader_epoch, timestamp })
    });
    let topics = by_topic(asked).into_iter();
    let topics = topics.map(|(name, partitions)| ListOffsetsRequestTopic { name, partitions }).collect();
    let timeout_ms = i32::try_from(connections.timeout().as_millis()).unwrap_or(i32::MAX);
    let request =
        ListOffsetsRequest { replica_id: -1, isolation_level: i8::from(!uncommitted), topics, timeout_ms };
    connections.call(Target::Broker(broker), &request, |answer| {
        let mut found = Answers::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let offset = match partition.error_code {
                    ErrorCode::NONE => Ok(Some(partition.offset).filter(|offset| *offset >= 0)),
                    code => Err(code),
                };
                found.insert(Partition::new(topic.name, partition.partition_index), offset);
            }
        }
        found
    })
}

/// Where the logs begin and end of partitions that `broker` leads, and with which record a time begins.
pub fn bounds(
    connections: &mut Connections,
    broker: i32,
    partitions: &[(&Partition, i32)],
    uncommitted: bool,
    at: Option<i64>,
) -> Result<Answers<Bounds>, ClusterError> {
    let mut firsts = list_at(connections, broker, EARLIEST, partitions, uncommitted)?;
    let mut ends = list_at(connections, broker, LATEST, partitions, uncommitted)?;
    let mut times = match at {
        Some(at) => list_at(connections, broker, at, partitions, uncommitted)?,
        None => Answers::new(),
    };
    let mut found = Answers::new();
    for (partition, _) in partitions {
        let take = |of: &mut Answers<Option<i64>>| of.remove(*partition).transpose().map(Option::flatten);
        let bounds = match (take(&mut firsts), take(&mut ends), take(&mut times)) {
            (Ok(Some(first)), Ok(Some(end)), Ok(at)) => Ok(Bounds { first, end, at }),
            (Err(code), ..) | (_, Err(code), _) | (.., Err(code)) => Err(code),
            // An answer without what was asked for.
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        };
        found.insert((*partition).clone(), bounds);
    }
    Ok(found)
}

/// Offsets that were asked for of many brokers.
#[derive(Debug, Default)]
pub struct Listed {
    /// By partition; `None` where no record is as late as the timestamp. What failed is not in it.
    pub offsets: HashMap<Partition, Option<i64>>,
    /// The first thing that failed, if any did: for other partitions than those above.
    pub failed: Option<ClusterError>,
}

impl Listed {
    /// All offsets, or the first error.
    pub fn all(self) -> Result<HashMap<Partition, Option<i64>>, ClusterError> {
        self.failed.map_or(Ok(self.offsets), Err)
    }

    /// The offset of a partition that has one.
    pub fn get(&self, partition: &Partition) -> Option<i64> {
        self.offsets.get(partition).copied().flatten()
    }
}

/// The same as [`list_at`], asked of each partition's leader.
pub fn list(
    connections: &mut Connections,
    timestamp: i64,
    partitions: &[Partition],
    uncommitted: bool,
) -> Listed {
    let mut listed = Listed::default();
    let mut leaders: BTreeMap<i32, Vec<(&Partition, i32)>> = BTreeMap::new();
    for partition in partitions {
        match connections.cluster().leader(partition.topic(), partition.number()) {
            Some((leader, epoch)) => leaders.entry(leader).or_default().push((partition, epoch)),
            None => {
                listed.failed.get_or_insert(ClusterError::NoLeader(partition.clone()));
            }
        }
    }
    for (leader, of_leader) in leaders {
        match list_at(connections, leader, timestamp, &of_leader, uncommitted) {
            Err(error) => {
                listed.failed.get_or_insert(error);
            }
            Ok(found) => {
                for (partition, offset) in found {
                    match offset {
                        Ok(offset) => {
                            listed.offsets.insert(partition, offset);
                        }
                        Err(code) => {
                            let error = ClusterError::of_partition(ApiKey::ListOffsets, &partition, code);
                            listed.failed.get_or_insert(error);
                        }
                    }
                }
            }
        }
    }
    listed
}

/// Where the logs of leader epochs, or of the newest ones before them, end at `broker` (KIP-320); each partition with
/// the leader epoch that is known and the epoch that is asked for.
pub fn epoch_ends(
    connections: &mut Connections,
    broker: i32,
    partitions: &[(&Partition, i32, i32)],
) -> Result<Answers<EpochEnd>, ClusterError> {
    if !connections.supports(Target::Broker(broker), ApiKey::OffsetForLeaderEpoch)? {
        let unchecked =
            |(partition, ..): &(&Partition, i32, i32)| ((*partition).clone(), Ok(EpochEnd::Unchecked));
        return Ok(partitions.iter().map(unchecked).collect());
    }
    let asked = partitions.iter().map(|(partition, current_leader_epoch, leader_epoch)| {
        let asked = OffsetForLeaderEpochRequestPartition {
            partition: partition.number(),
            current_leader_epoch: *current_leader_epoch,
            leader_epoch: *leader_epoch,
        };
        (*partition, asked)
    });
    let topics = by_topic(asked).into_iter();
    let topics = topics.map(|(topic, partitions)| OffsetForLeaderEpochRequestTopic { topic, partitions });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect() };
    connections.call(Target::Broker(broker), &request, |answer| {
        let mut found = Answers::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let (epoch, end) = (partition.leader_epoch, partition.end_offset);
                let ends = match partition.error_code {
                    ErrorCode::NONE if epoch >= 0 && end >= 0 => Ok(EpochEnd::At { epoch, end }),
                    ErrorCode::NONE => Ok(EpochEnd::Unknown),
                    code => Err(code),
                };
                found.insert(Partition::new(topic.topic, partition.partition), ends);
            }
        }
        found
    })
}
