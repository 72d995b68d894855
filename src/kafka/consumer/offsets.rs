//! Requests about offsets: committed positions, the bounds of logs, the ends of leader epochs. Each is one request for
//! many partitions, each of which has its own error.

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

/// `timestamp` of a ListOffsets request: the end of the log.
pub(crate) const LATEST: i64 = -1;
/// `timestamp` of a ListOffsets request: the first record.
pub(crate) const EARLIEST: i64 = -2;

/// The answer or the error code of each partition. A partition that the response lacks is missing.
pub(crate) type Answers<T> = HashMap<Partition, Result<T, ErrorCode>>;

/// Groups partitions by topic, as requests need them.
fn by_topic<'a, T>(partitions: impl IntoIterator<Item = (&'a Partition, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut topics: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (partition, asked) in partitions {
        topics.entry(partition.topic()).or_default().push(asked);
    }
    topics
}

/// The group's committed positions of these partitions; `None` where nothing is committed. Looks up the `coordinator`
/// if it is not known, and forgets it after an error.
pub(crate) fn committed(
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
            // Some brokers answer this for a group that has committed nothing yet.
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

/// The first offset at or after `timestamp` (milliseconds since 1970, [`LATEST`] or [`EARLIEST`]) of partitions that
/// `broker` leads, given with their leader epochs; `None` if all records are older. The latest offset is the last
/// stable one, or with `uncommitted` the high watermark.
pub(crate) fn list_at(
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

/// The bounds of the logs that `broker` leads, and the first offset at or after the time `at`.
pub(crate) fn bounds(
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
            // The response lacks the partition.
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        };
        found.insert((*partition).clone(), bounds);
    }
    Ok(found)
}

/// Offsets collected from several brokers.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// By partition; `None` if all records are older than the timestamp. Without those that failed.
    pub(crate) offsets: HashMap<Partition, Option<i64>>,
    /// The first error, of partitions that are not in `offsets`.
    pub failed: Option<ClusterError>,
}

impl Listed {
    /// All offsets, or the first error.
    pub(crate) fn all(self) -> Result<HashMap<Partition, Option<i64>>, ClusterError> {
        self.failed.map_or(Ok(self.offsets), Err)
    }
}

/// Like [`list_at`], for partitions of any leaders.
pub(crate) fn list(
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

/// The end offsets of leader epochs, or of the largest epochs before them, at `broker` (KIP-320). Each partition comes
/// with the current leader epoch and the epoch in question.
pub(crate) fn epoch_ends(
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
