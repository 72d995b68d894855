//! Questions about offsets: what a group has committed, where logs begin and end, where a leader's reign ended.

use crate::kafka::cluster::{ClusterError, Links, Target, of_code};
use crate::kafka::protocol::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use crate::kafka::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use crate::kafka::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestPartition, OffsetForLeaderEpochRequestTopic,
};
use crate::kafka::protocol::{ApiKey, ErrorCode};
use crate::relay::record::Partition;
use std::collections::{BTreeMap, HashMap};

/// `timestamp` of a ListOffsets request: behind the last record that may be read.
pub const LATEST: i64 = -1;
/// `timestamp` of a ListOffsets request: the first record.
pub const EARLIEST: i64 = -2;

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first offset that is not done.
    pub next: i64,
    /// The leader epoch of the last record that is done; -1 where unknown.
    pub epoch: i32,
    /// What was noted beside it.
    pub metadata: String,
}

/// Numbers by topic, as requests want them.
fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic()).or_default().push(partition.number());
    }
    topics
}

/// What the group has committed for these partitions; one without a commit is not in the answer. `coordinator` is
/// found anew where it is not known, and forgotten where it turned out to be another.
pub fn committed(
    links: &mut Links,
    coordinator: &mut Option<i32>,
    group: &str,
    partitions: &[Partition],
) -> Result<HashMap<Partition, Committed>, ClusterError> {
    let id = links.coordinator_unless(coordinator, group)?;
    let topics = by_topic(partitions).into_iter();
    let topics = topics.map(|(name, partition_indexes)| OffsetFetchRequestTopic {
        name,
        partition_indexes,
        ..Default::default()
    });
    let request =
        OffsetFetchRequest { group_id: group, topics: Some(topics.collect()), ..Default::default() };
    let what = format!("reading the positions of group {group}");
    let answer = links.call(Target::Broker(id), &request, |answer| {
        if answer.error_code != ErrorCode::NONE {
            return Err(of_code(answer.error_code, &what));
        }
        let mut found = HashMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                match partition.error_code {
                    ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {}
                    code => return Err(of_code(code, &what)),
                }
                if partition.committed_offset >= 0 {
                    let committed = Committed {
                        next: partition.committed_offset,
                        epoch: partition.committed_leader_epoch,
                        metadata: partition.metadata.unwrap_or_default().to_owned(),
                    };
                    found.insert(Partition::new(topic.name, partition.partition_index), committed);
                }
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

/// Offsets that were asked for.
#[derive(Debug, Default)]
pub struct Listed {
    /// By partition; `None` where no record is as late as the timestamp. What failed is not in it.
    pub offsets: HashMap<Partition, Option<i64>>,
    /// The first thing that failed, if any did: for other partitions than those above.
    pub failed: Option<ClusterError>,
}

impl Listed {
    /// The offset of a partition that has one.
    pub fn get(&self, partition: &Partition) -> Option<i64> {
        self.offsets.get(partition).copied().flatten()
    }
}

/// The offsets that belong to `timestamp` (milliseconds, [`LATEST`] or [`EARLIEST`]) in these partitions; the latest
/// is behind the last record that is committed, or with `uncommitted` behind the last at all.
pub fn list(links: &mut Links, timestamp: i64, partitions: &[Partition], uncommitted: bool) -> Listed {
    let mut listed = Listed::default();
    let mut leaders: BTreeMap<i32, Vec<(&Partition, i32)>> = BTreeMap::new();
    for partition in partitions {
        match links.cluster().leader(partition.topic(), partition.number()) {
            Some((leader, epoch)) => leaders.entry(leader).or_default().push((partition, epoch)),
            None => {
                let text = format!("{partition} has no leader now");
                listed.failed.get_or_insert(ClusterError::Retriable(text));
            }
        }
    }
    for (leader, of_leader) in leaders {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsRequestPartition>> = BTreeMap::new();
        for (partition, current_leader_epoch) in of_leader {
            let partition_index = partition.number();
            let asked = ListOffsetsRequestPartition { partition_index, current_leader_epoch, timestamp };
            topics.entry(partition.topic()).or_default().push(asked);
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsRequestTopic { name, partitions })
            .collect();
        let isolation_level = i8::from(!uncommitted);
        let timeout_ms = i32::try_from(links.timeout().as_millis()).unwrap_or(i32::MAX);
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, timeout_ms };
        let cluster = std::sync::Arc::clone(links.cluster());
        let called = links.call(Target::Broker(leader), &request, |answer| {
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = Partition::new(topic.name, partition.partition_index);
                    if partition.error_code == ErrorCode::NONE {
                        listed.offsets.insert(at, Some(partition.offset).filter(|offset| *offset >= 0));
                        continue;
                    }
                    if partition.error_code == ErrorCode::UNKNOWN_LEADER_EPOCH {
                        cluster.forget_leader(topic.name, partition.partition_index);
                    }
                    let error = of_code(partition.error_code, &format!("finding an offset of {at}"));
                    listed.failed.get_or_insert(error);
                }
            }
        });
        if let Err(error) = called {
            listed.failed.get_or_insert(error);
        }
    }
    listed
}

/// Where the log of a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// Before this offset.
    At(i64),
    /// The leader knows neither this epoch nor one before it.
    Unknown,
    /// The broker can't be asked: it has no such API. The check is left out then, as Java's client does.
    Unchecked,
}

/// Where the log of this leader epoch, or of the newest one before it, ends at the present leader (KIP-320).
pub fn epoch_end(links: &mut Links, partition: &Partition, epoch: i32) -> Result<EpochEnd, ClusterError> {
    let Some((leader, current_leader_epoch)) = links.cluster().leader(partition.topic(), partition.number())
    else {
        return Err(ClusterError::Retriable(format!("{partition} has no leader now")));
    };
    if !links.supports(Target::Broker(leader), ApiKey::OffsetForLeaderEpoch)? {
        return Ok(EpochEnd::Unchecked);
    }
    let asked = OffsetForLeaderEpochRequestPartition {
        partition: partition.number(),
        current_leader_epoch,
        leader_epoch: epoch,
    };
    let topics = vec![OffsetForLeaderEpochRequestTopic { topic: partition.topic(), partitions: vec![asked] }];
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
    let cluster = std::sync::Arc::clone(links.cluster());
    links.call(Target::Broker(leader), &request, |answer| {
        let found = answer.topics.iter().flat_map(|topic| &topic.partitions).next();
        match found.map(|found| (found.error_code, found.leader_epoch, found.end_offset)) {
            Some((ErrorCode::NONE, epoch, end)) if epoch >= 0 && end >= 0 => Ok(EpochEnd::At(end)),
            Some((ErrorCode::NONE, ..)) | None => Ok(EpochEnd::Unknown),
            Some((ErrorCode::UNKNOWN_LEADER_EPOCH, ..)) => {
                cluster.forget_leader(partition.topic(), partition.number());
                Err(ClusterError::Retriable(format!("the leader of {partition} is not the one we know")))
            }
            Some((code, ..)) => {
                Err(of_code(code, &format!("asking for the last leader epochs of {partition}")))
            }
        }
    })?
}
