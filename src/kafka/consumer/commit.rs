//! Commits positions, over a connection of its own: never behind a fetch, a heartbeat or a join that waits.

use super::state::Shared;
use crate::kafka::cluster::{ClusterError, Links, Target, of_code};
use crate::kafka::config::{Config, Share};
use crate::kafka::group::exchange::Stamp;
use crate::kafka::protocol::ErrorCode;
use crate::kafka::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponseTopic,
};
use crate::relay::record::{Checkpoint, Partition};
use crate::relay::source::{Commit, CommitError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Commits for the group.
pub(super) struct Committer {
    links: Links,
    config: Arc<Config>,
    shared: Arc<Shared>,
    coordinator: Option<i32>,
}

/// The first error that an answer holds, by what it asks for.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Without metadata it may be taken.
    Metadata,
    /// We are not, or no longer, the member that may commit this.
    Membership(Stamp, ErrorCode),
    /// Another broker coordinates.
    Coordinator(ErrorCode),
    /// Anything else.
    Other(ClusterError),
}

impl Committer {
    pub(super) fn new(links: Links, config: Arc<Config>, shared: Arc<Shared>) -> Self {
        Self { links, config, shared, coordinator: None }
    }

    /// Commits these, once more without their metadata if the broker finds it too large.
    fn commit_current(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let shared = Arc::clone(&self.shared);
        let outcome = match self.attempt(&shared, checkpoints, true) {
            Err(Refused::Metadata) => self.attempt(&shared, checkpoints, false),
            outcome => outcome,
        };
        outcome.map_err(|refused| match refused {
            Refused::Metadata => CommitError::Retriable("the broker refused the commit's metadata".into()),
            Refused::Coordinator(code) => {
                self.coordinator = None;
                CommitError::Retriable(format!("the commit failed: the broker answered {code}"))
            }
            Refused::Membership(_, code) if matches!(self.config.share, Share::Fixed(_)) => {
                CommitError::Fatal(format!(
                    "group {} has members that share its topics, so positions of --partitions can't be committed for \
                     it ({code}): take another --group",
                    self.config.group
                ))
            }
            Refused::Membership(stamp, code) => {
                shared.lock().commit_errors.push((stamp, code));
                shared.wake();
                // What is lost, if anything, the membership tells: the generation that refused the commit may be
                // one that we are about to enter, with these very partitions.
                CommitError::Retriable(format!("the commit waits for the group: the broker answered {code}"))
            }
            Refused::Other(ClusterError::Fatal(text)) => CommitError::Fatal(text),
            Refused::Other(ClusterError::Retriable(text)) => {
                self.coordinator = None;
                CommitError::Retriable(format!("the commit failed: {text}"))
            }
        })
    }

    fn attempt(
        &mut self,
        shared: &Shared,
        checkpoints: &[Checkpoint],
        with_metadata: bool,
    ) -> Result<(), Refused> {
        let Self { links, config, coordinator, .. } = self;
        let (stamp, epochs) = {
            let state = shared.lock();
            let epoch = |c: &Checkpoint| {
                let cursor = state.cursors.get(&c.position.partition);
                cursor.map_or(-1, |cursor| cursor.epoch_before(c.position.next.0))
            };
            (state.stamp.clone(), checkpoints.iter().map(epoch).collect::<Vec<i32>>())
        };
        let stamp = match (&config.share, stamp) {
            (Share::Group(_), None) => {
                let text = "not a member of the group at the moment".to_owned();
                return Err(Refused::Other(ClusterError::Retriable(text)));
            }
            (Share::Group(_), Some(stamp)) => stamp,
            (Share::Fixed(_), _) => Stamp { generation: -1, member_id: String::new(), instance_id: None },
        };
        let id = links.coordinator_unless(coordinator, &config.group).map_err(Refused::Other)?;
        let request = OffsetCommitRequest {
            group_id: &config.group,
            generation_id: stamp.generation,
            member_id: &stamp.member_id,
            group_instance_id: stamp.instance_id.as_deref(),
            topics: topics(checkpoints, &epochs, with_metadata),
            ..OffsetCommitRequest::default()
        };
        let answer = links.call(Target::Broker(id), &request, |answer| {
            let of_topic = |topic: &OffsetCommitResponseTopic<'_>| {
                let failed = topic.partitions.iter().filter(|p| p.error_code != ErrorCode::NONE);
                let failed = failed.map(|p| (Partition::new(topic.name, p.partition_index), p.error_code));
                failed.collect::<Vec<_>>()
            };
            answer.topics.iter().flat_map(of_topic).collect::<Vec<_>>()
        });
        let mut refused = answer.map_err(Refused::Other)?;
        // What was done of a topic that is no more can't be committed, and need not be.
        let sizes = links.cluster().sizes();
        refused.retain(|(partition, code)| {
            *code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION || sizes.contains_key(partition.topic())
        });
        match refused.first() {
            None => Ok(()),
            Some((partition, code)) => Err(meaning(partition, *code, stamp)),
        }
    }
}

impl Commit for Committer {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let shared = Arc::clone(&self.shared);
        let current = {
            let state = shared.lock();
            // A checkpoint of an assignment that is over speaks of another's records, or of a log that is no more.
            checkpoints.iter().filter(|one| state.is_current(one)).cloned().collect::<Vec<_>>()
        };
        if current.is_empty() {
            return Ok(());
        }
        self.commit_current(&current)?;
        let mut state = shared.lock();
        for checkpoint in &current {
            let is_current = state.is_current(checkpoint);
            if let Some(cursor) = state.cursors.get_mut(&checkpoint.position.partition).filter(|_| is_current)
            {
                cursor.committed = cursor.committed.max(checkpoint.position.next.0);
            }
        }
        Ok(())
    }
}

fn topics<'a>(
    checkpoints: &'a [Checkpoint],
    epochs: &[i32],
    with_metadata: bool,
) -> Vec<OffsetCommitRequestTopic<'a>> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'a>>> = BTreeMap::new();
    for (Checkpoint { position, metadata, .. }, epoch) in checkpoints.iter().zip(epochs) {
        let partition = OffsetCommitRequestPartition {
            partition_index: position.partition.number(),
            committed_offset: position.next.0,
            committed_leader_epoch: *epoch,
            committed_metadata: Some(if with_metadata { metadata } else { "" }),
        };
        topics.entry(position.partition.topic()).or_default().push(partition);
    }
    let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
    topics.into_iter().map(topic).collect()
}

fn meaning(partition: &Partition, code: ErrorCode, stamp: Stamp) -> Refused {
    match code {
        ErrorCode::OFFSET_METADATA_TOO_LARGE | ErrorCode::INVALID_COMMIT_OFFSET_SIZE => Refused::Metadata,
        ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::FENCED_INSTANCE_ID
        | ErrorCode::REBALANCE_IN_PROGRESS => Refused::Membership(stamp, code),
        ErrorCode::NOT_COORDINATOR
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Refused::Coordinator(code),
        code => Refused::Other(of_code(code, &format!("committing {partition}"))),
    }
}
