//! Commits positions over connections of its own, so that a commit never waits behind a fetch, a heartbeat or a join.

use super::ConsumerError;
use super::cursor::{Cursor, doubled};
use super::note::{self, Note};
use super::outage_notice::OutageNotice;
use super::state::Shared;
use crate::kafka::cluster::{Cluster, ClusterError, Connections, Target};
use crate::kafka::config::{Config, Share};
use crate::kafka::group::exchange::Stamp;
use crate::kafka::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::kafka::protocol::{ApiKey, ErrorCode, Uuid};
use crate::record::{Checkpoint, Partition};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A commit is split into requests of about this many bytes: each has to fit into one record of `__consumer_offsets`.
const MOST_BYTES: usize = 500_000;

/// The shortest and the longest rest of a partition whose position was refused; others don't wait for it. The first ones
/// are short, so that the last commit of a run is tried again in the little time that is left.
pub const REFUSED_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// Commits positions for the group.
pub struct Committer {
    connections: Connections,
    config: Arc<Config>,
    shared: Arc<Shared>,
    coordinator: Option<i32>,
    refusals: Refusals,
    outage_notice: OutageNotice,
}

/// The partitions whose positions were refused by themselves: each rests before it is committed again.
#[derive(Debug, Default)]
struct Refusals(BTreeMap<Partition, Refusal>);

#[derive(Debug)]
struct Refusal {
    code: ErrorCode,
    /// How many times in a row.
    times: u32,
    again: Instant,
}

impl Refusals {
    /// Forgets what nobody has asked for since it was due: the partition is probably assigned to another member.
    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, refusal| now < refusal.again + REFUSED_AGAIN.1);
    }

    /// Why the partition rests, if it does.
    fn resting(&self, partition: &Partition, now: Instant) -> Option<ErrorCode> {
        self.0.get(partition).filter(|refusal| now < refusal.again).map(|refusal| refusal.code)
    }

    fn refused(&mut self, partition: &Partition, code: ErrorCode, now: Instant) {
        let times = self.0.get(partition).map_or(1, |before| before.times.saturating_add(1));
        let again = now + doubled(REFUSED_AGAIN, times);
        self.0.insert(partition.clone(), Refusal { code, times, again });
    }

    fn accepted(&mut self, partition: &Partition) {
        self.0.remove(partition);
    }
}

/// Why positions were not committed.
#[derive(Debug)]
pub enum CommitFailure {
    /// Those of some partitions were refused for now; the others were committed. A notice says why.
    Partitions {
        /// Those that were refused.
        refused: Vec<Partition>,
        /// Why, of one of them.
        cause: ConsumerError,
    },
    /// The metadata beside the positions is too large: it may be accepted with less.
    Metadata,
    /// This client is not a member of the group at present.
    NotMember,
    /// The commit carries another generation or member than the group has. If partitions are lost, an event says so.
    Membership(Stamp, ErrorCode),
    /// Another broker coordinates the group, or none does for now.
    Coordinator(ErrorCode),
    /// Anything else.
    Other(ConsumerError),
}

impl CommitFailure {
    /// Whether a retry would fail in the same way.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Other(error) if error.is_fatal())
    }
}

impl fmt::Display for CommitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(cause) if !self.is_fatal() => write!(f, "the commit failed: {cause}"),
            Self::Partitions { cause, .. } | Self::Other(cause) => cause.fmt(f),
            Self::Metadata => f.write_str("the broker refused the commit's metadata"),
            Self::NotMember => f.write_str("the commit failed: not a member of the group at present"),
            Self::Membership(_, code) => {
                write!(f, "the commit waits for the group: the broker answered {code}")
            }
            Self::Coordinator(code) => write!(f, "the commit failed: the broker answered {code}"),
        }
    }
}

impl From<ClusterError> for CommitFailure {
    fn from(error: ClusterError) -> Self {
        Self::Other(error.into())
    }
}

impl Error for CommitFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Partitions { cause, .. } | Self::Other(cause) => Some(cause),
            Self::Membership(_, code) | Self::Coordinator(code) => Some(code),
            Self::Metadata | Self::NotMember => None,
        }
    }
}

impl Committer {
    pub(super) fn new(connections: Connections, config: Arc<Config>, shared: Arc<Shared>) -> Self {
        let outage_notice = OutageNotice::new("all positions are committed again");
        Self { connections, config, shared, coordinator: None, refusals: Refusals::default(), outage_notice }
    }

    /// Commits positions, within the request timeout. A checkpoint of an assignment that is over is left out.
    ///
    /// # Errors
    /// Why not all of them are committed.
    pub fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitFailure> {
        let now = Instant::now();
        self.refusals.expire(now);
        let (mut asked, mut left) = (Vec::new(), Vec::new());
        for checkpoint in checkpoints {
            match self.refusals.resting(&checkpoint.position.partition, now) {
                None => asked.push(checkpoint.clone()),
                Some(code) => left.push((checkpoint.position.partition.clone(), code)),
            }
        }
        let refused = if asked.is_empty() { Vec::new() } else { self.commit_current(&asked)? };
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        for checkpoint in &asked {
            let partition = &checkpoint.position.partition;
            let code = refused.iter().find(|(one, _)| one == partition).map(|(_, code)| *code);
            match code {
                None => self.refusals.accepted(partition),
                Some(code) => self.refusals.refused(partition, code, now),
            }
            let is_current = state.is_current(checkpoint);
            let Some(cursor) = state.cursors.get_mut(partition).filter(|_| is_current) else { continue };
            match code {
                None => cursor.committed_to(checkpoint.position.next.0),
                Some(code) => cursor.commit_refused(code, now),
            }
        }
        drop(state);
        // Partitions that waited for their first commit can be fetched now.
        shared.wake_fetchers();
        if !asked.is_empty() {
            match refused.first() {
                None => self.outage_notice.recovered(&shared),
                Some((partition, code)) => {
                    let (partition, code) = (partition.clone(), *code);
                    self.outage_notice.failed(&shared, &ConsumerError::CommitRefused { partition, code });
                }
            }
        }
        left.extend(refused);
        let Some((partition, code)) = left.first().cloned() else { return Ok(()) };
        let cause = ConsumerError::CommitRefused { partition, code };
        let refused = left.into_iter().map(|(partition, _)| partition).collect();
        Err(CommitFailure::Partitions { refused, cause })
    }

    /// Commits these positions, and retries with less metadata if the broker finds it too large. Returns the partitions
    /// that were refused.
    fn commit_current(
        &mut self,
        checkpoints: &[Checkpoint],
    ) -> Result<Vec<(Partition, ErrorCode)>, CommitFailure> {
        let shared = Arc::clone(&self.shared);
        let mut outcome = Err(CommitFailure::Metadata);
        for detail in [Detail::All, Detail::Identity, Detail::Nothing] {
            if matches!(outcome, Err(CommitFailure::Metadata)) {
                outcome = self.attempt(&shared, checkpoints, detail);
            }
        }
        outcome.map_err(|failure| match failure {
            CommitFailure::Membership(_, code) if matches!(self.config.share, Share::Fixed(_)) => {
                CommitFailure::Other(ConsumerError::GroupInUse { group: self.config.group.clone(), code })
            }
            CommitFailure::Membership(stamp, code) => {
                shared.lock().commit_errors.push((stamp.clone(), code));
                shared.wake();
                // Whether partitions are lost is up to the membership: the generation that refused the commit may be
                // one that this member is about to enter with the same partitions.
                CommitFailure::Membership(stamp, code)
            }
            failure @ (CommitFailure::Coordinator(_) | CommitFailure::Other(_)) => {
                self.coordinator = None;
                failure
            }
            failure => failure,
        })
    }

    fn attempt(
        &mut self,
        shared: &Shared,
        checkpoints: &[Checkpoint],
        detail: Detail,
    ) -> Result<Vec<(Partition, ErrorCode)>, CommitFailure> {
        let Self { connections, config, coordinator, .. } = self;
        let cluster = Arc::clone(connections.cluster());
        let name = cluster.id().map(|id| note::cluster_name(&id)).unwrap_or_default();
        let (stamp, entries) = {
            let state = shared.lock();
            let entry = |checkpoint: &Checkpoint| {
                let cursor = state.cursors.get(&checkpoint.position.partition)?;
                Some(Entry::new(checkpoint, cursor, &name, detail))
            };
            // A checkpoint of a former assignment is about somebody else's records, or about a former log.
            let current = checkpoints.iter().filter(|one| state.is_current(one));
            (state.stamp.clone(), current.filter_map(entry).collect::<Vec<Entry>>())
        };
        let stamp = match (&config.share, stamp) {
            (Share::Group(_), None) => return Err(CommitFailure::NotMember),
            (Share::Group(_), Some(stamp)) => stamp,
            (Share::Fixed(_), _) => Stamp { generation: -1, member_id: String::new(), instance_id: None },
        };
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let id = connections.coordinator_unless(coordinator, &config.group)?;
        let mut left = Vec::new();
        for entries in split(&entries) {
            let request = OffsetCommitRequest {
                group_id: &config.group,
                generation_id: stamp.generation,
                member_id: &stamp.member_id,
                group_instance_id: stamp.instance_id.as_deref(),
                topics: topics(entries),
                ..OffsetCommitRequest::default()
            };
            let answer = connections.call(Target::Broker(id), &request, |answer| refusals(&answer, entries));
            let mut refused = answer?;
            for (entry, code) in refused.iter().filter_map(|(of, code)| Some((find(entries, of)?, *code))) {
                cluster.topic_refused(entry.partition.topic(), entry.topic, code);
            }
            // Positions of a deleted topic can't be committed, and need not be.
            refused.retain(|(partition, code)| {
                let unknown = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::UNKNOWN_TOPIC_ID];
                if unknown.contains(code) {
                    shared.want_metadata();
                }
                !unknown.contains(code) || is_there(&cluster, entries, partition)
            });
            for (partition, code) in refused {
                // Most error codes concern the group, and so the whole request.
                match meaning(code, &stamp, &config.group) {
                    Some(refused) => return Err(refused),
                    None => left.push((partition, code)),
                }
            }
        }
        Ok(left)
    }
}

/// How much metadata is committed with a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// The whole note.
    All,
    /// The identity of the log, without the records done beyond the position.
    Identity,
    /// None.
    Nothing,
}

/// A position in a commit request.
struct Entry {
    partition: Partition,
    topic: Uuid,
    next: i64,
    epoch: i32,
    metadata: String,
}

impl Entry {
    fn new(checkpoint: &Checkpoint, cursor: &Cursor, cluster: &str, detail: Detail) -> Self {
        let Checkpoint { position, metadata, reach, .. } = checkpoint;
        let next = position.next.0;
        let reach = if detail == Detail::All { reach.0.max(next) } else { next };
        let note = Note {
            topic: cursor.topic(),
            cluster: cluster.to_owned(),
            position: next,
            reach,
            epoch: cursor.epoch_before(reach),
            text: if detail == Detail::All { metadata.clone() } else { String::new() },
        };
        Self {
            partition: position.partition.clone(),
            topic: cursor.topic(),
            next,
            epoch: cursor.epoch_before(next),
            metadata: if detail == Detail::Nothing { String::new() } else { note.encode() },
        }
    }

    /// Its approximate size in a request, in bytes.
    fn size(&self) -> usize {
        const FIXED: usize = 64;
        FIXED + self.metadata.len() + self.partition.topic().len()
    }
}

/// Splits the entries into requests that a broker accepts.
fn split(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut requests = Vec::new();
    let (mut rest, mut at, mut bytes) = (entries, 0, 0_usize);
    while let Some(entry) = rest.get(at) {
        bytes = bytes.saturating_add(entry.size());
        if bytes > MOST_BYTES && at > 0 {
            let (request, others) = rest.split_at(at);
            requests.push(request);
            (rest, at, bytes) = (others, 0, 0);
        } else {
            at += 1;
        }
    }
    if !rest.is_empty() {
        requests.push(rest);
    }
    requests
}

fn find<'a>(entries: &'a [Entry], partition: &Partition) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.partition == *partition)
}

/// Whether the topic that was read still exists, according to the metadata.
fn is_there(cluster: &Cluster, entries: &[Entry], partition: &Partition) -> bool {
    let read = find(entries, partition).map(|entry| entry.topic);
    let known = cluster.topic_id(partition.topic());
    let size = cluster.size(partition.topic());
    size.is_some_and(|size| partition.number() < size) && read.is_none_or(|read| known == read)
}

/// The partitions that a response refuses. From version 10 it names topics by their ids.
fn refusals(answer: &OffsetCommitResponse<'_>, entries: &[Entry]) -> Vec<(Partition, ErrorCode)> {
    let mut refused = Vec::new();
    for topic in &answer.topics {
        let of_id = || entries.iter().find(|entry| entry.topic == topic.topic_id);
        let name = match topic.name {
            "" => of_id().map_or("", |entry| entry.partition.topic()),
            name => name,
        };
        let failed = topic.partitions.iter().filter(|partition| partition.error_code != ErrorCode::NONE);
        refused.extend(failed.map(|p| (Partition::new(name, p.partition_index), p.error_code)));
    }
    refused
}

fn topics(entries: &[Entry]) -> Vec<OffsetCommitRequestTopic<'_>> {
    let mut topics: BTreeMap<(&str, Uuid), Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
    for Entry { partition, topic, next, epoch, metadata } in entries {
        let asked = OffsetCommitRequestPartition {
            partition_index: partition.number(),
            committed_offset: *next,
            committed_leader_epoch: *epoch,
            committed_metadata: Some(metadata),
        };
        topics.entry((partition.topic(), *topic)).or_default().push(asked);
    }
    let topic = |((name, topic_id), partitions)| OffsetCommitRequestTopic { name, topic_id, partitions };
    topics.into_iter().map(topic).collect()
}

/// What an error code means for the whole request; `None` if it concerns its partition alone.
fn meaning(code: ErrorCode, stamp: &Stamp, group: &str) -> Option<CommitFailure> {
    match code {
        ErrorCode::OFFSET_METADATA_TOO_LARGE | ErrorCode::INVALID_COMMIT_OFFSET_SIZE => {
            Some(CommitFailure::Metadata)
        }
        ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::FENCED_INSTANCE_ID
        | ErrorCode::REBALANCE_IN_PROGRESS => Some(CommitFailure::Membership(stamp.clone(), code)),
        ErrorCode::NOT_COORDINATOR
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Some(CommitFailure::Coordinator(code)),
        ErrorCode::GROUP_AUTHORIZATION_FAILED | ErrorCode::INVALID_GROUP_ID => {
            Some(ClusterError::of_group(ApiKey::OffsetCommit, group, code).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i32, metadata: usize) -> Entry {
        let (partition, metadata) = (Partition::new("topic", number), "x".repeat(metadata));
        Entry { partition, topic: Uuid::ZERO, next: 1, epoch: 0, metadata }
    }

    #[test]
    fn a_refused_position_rests_a_little_longer_each_time() {
        let (start, partition) = (Instant::now(), Partition::new("topic", 0));
        let at = |millis| start + Duration::from_millis(millis);
        let mut refusals = Refusals::default();
        let mut asked = Vec::new();
        for millis in (0..12_000).step_by(100) {
            refusals.expire(at(millis));
            if refusals.resting(&partition, at(millis)).is_none() {
                asked.push(millis);
                refusals.refused(&partition, ErrorCode::KAFKA_STORAGE_ERROR, at(millis));
            }
        }
        assert_eq!(asked, [0, 500, 1_500, 3_500, 6_500, 9_500]);
        assert_eq!(refusals.resting(&partition, at(12_000)), Some(ErrorCode::KAFKA_STORAGE_ERROR));
        assert_eq!(refusals.resting(&Partition::new("topic", 1), at(12_000)), None, "others don't wait");

        // Once it is committed, or not asked for any more, it begins anew.
        refusals.accepted(&partition);
        refusals.refused(&partition, ErrorCode::KAFKA_STORAGE_ERROR, at(12_000));
        assert_eq!(refusals.resting(&partition, at(12_500)), None);
        refusals.refused(&partition, ErrorCode::KAFKA_STORAGE_ERROR, at(12_500));
        refusals.expire(at(20_000));
        refusals.refused(&partition, ErrorCode::KAFKA_STORAGE_ERROR, at(20_000));
        assert_eq!(refusals.resting(&partition, at(20_500)), None);
    }

    #[test]
    fn what_a_broker_would_refuse_as_too_large_goes_in_several_requests() {
        assert!(split(&[]).is_empty());
        // As much as a group of 1,000 partitions may have to say.
        let entries: Vec<Entry> = (0..1_000).map(|number| entry(number, 4_096)).collect();
        let requests = split(&entries);
        let size = |request: &&[Entry]| request.iter().map(Entry::size).sum::<usize>();
        assert!(requests.len() > 8 && requests.iter().all(|request| size(request) <= MOST_BYTES));
        let numbers = requests.into_iter().flatten().map(|entry| entry.partition.number());
        assert!(numbers.eq(0..1_000), "each once, in order");
        // One that is too large by itself is still asked for.
        let huge = [entry(0, 1), entry(1, 2 * MOST_BYTES), entry(2, 1)];
        assert_eq!(split(&huge).iter().map(|request| request.len()).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
