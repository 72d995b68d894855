//! The consumer as a [`Source`]: its events in the relay's terms. With [dead letters](super::dead_letters) the only
//! place of the native client that knows the relay.

use super::cluster::Address;
use super::config::{Config, Explain, GroupLimit, Share};
use super::connection::Connector;
use super::consumer::note::LONGEST_TEXT;
use super::consumer::{
    AssignedPartition, CommitFailure, Committer, Consumer, ConsumerError, ConsumerEvent, MaxPoll, Unreachable,
};
use super::group::limit_shares::GroupShare;
use crate::record::{Checkpoint, Offset, Partition};
use crate::relay::group_limit::GroupPermits;
use crate::relay::offset_runs;
use crate::relay::source::{Assigned, Commit, CommitError, Outage, PollLimit, Polled, Source, SourceError};
use crate::timing::lease::Lease;
use std::sync::Arc;
use std::time::Duration;

// What the relay commits beside a position fits beside what the consumer does.
const _: () = assert!(offset_runs::LONGEST <= LONGEST_TEXT);

/// A consumer as the relay's source.
pub struct KafkaSource {
    consumer: Consumer,
    permits: GroupPermits,
    explain: Explain,
}

impl KafkaSource {
    /// [Opens](Consumer::open) a consumer. With a `limit`, what the group grants bounds the relay's requests.
    ///
    /// # Errors
    /// Those of the consumer, in words.
    pub fn open(
        config: Config,
        limit: Option<GroupLimit>,
        connector: Connector,
        brokers: Vec<Address>,
    ) -> Result<Self, SourceError> {
        let explain = config.explain;
        let permits = match (limit, &config.share) {
            (Some(_), Share::Group(_)) => GroupPermits::none(),
            _ => GroupPermits::unlimited(),
        };
        let share = || Arc::new(permits.clone()) as Arc<dyn GroupShare>;
        let limit = limit.map(|limit| (limit, share()));
        let consumer =
            Consumer::open(config, limit, connector, brokers).map_err(|error| said(explain, &error))?;
        Ok(Self { consumer, permits, explain })
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        let PollLimit { records, bytes } = want;
        match self.consumer.poll(MaxPoll { records, bytes }, wait) {
            Ok(event) => Ok(event.map_or(Polled::Nothing, polled)),
            Err(error) => Err(said(self.explain, &error)),
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(KafkaCommits { committer: self.consumer.committer(), explain: self.explain })
    }

    fn hold(&mut self, partitions: &[Partition]) -> bool {
        self.consumer.throttle(partitions);
        true
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.consumer.release(partitions);
    }

    fn ends(&self) -> Vec<(Partition, Offset)> {
        self.consumer.end_offsets()
    }

    fn stalled(&self) -> usize {
        self.consumer.stalled()
    }

    fn lease(&self) -> Lease {
        self.consumer.lease()
    }

    fn share(&self) -> GroupPermits {
        self.permits.clone()
    }

    fn outage(&self) -> Option<Outage> {
        self.consumer.unreachable().map(|Unreachable { since, cause }| Outage { since, cause })
    }

    fn close(&mut self) {
        self.consumer.close();
    }
}

impl GroupShare for GroupPermits {
    fn grant(&self, granted: u32) {
        Self::grant(self, granted);
    }

    fn granted_and_used(&self) -> (u32, u32) {
        Self::granted_and_used(self)
    }
}

struct KafkaCommits {
    committer: Committer,
    explain: Explain,
}

impl Commit for KafkaCommits {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        self.committer.commit(checkpoints).map_err(|failure| not_committed(failure, self.explain))
    }
}

fn said(explain: Explain, error: &ConsumerError) -> SourceError {
    SourceError(explain(error))
}

fn polled(event: ConsumerEvent) -> Polled {
    let assigned = |AssignedPartition { checkpoint, uncommitted }| Assigned { checkpoint, uncommitted };
    match event {
        ConsumerEvent::Records(records) => Polled::Records(records),
        ConsumerEvent::Skipped(positions) => Polled::Skipped(positions),
        ConsumerEvent::Assigned(partitions) => {
            Polled::Assigned(partitions.into_iter().map(assigned).collect())
        }
        ConsumerEvent::Revoked(partitions) => Polled::Revoked(partitions),
        ConsumerEvent::Lost(partitions) => Polled::Lost(partitions),
        ConsumerEvent::Notice(notice) => Polled::Notice(notice),
        ConsumerEvent::End => Polled::End,
    }
}

fn not_committed(failure: CommitFailure, explain: Explain) -> CommitError {
    let is_fatal = failure.is_fatal();
    match failure {
        CommitFailure::Partitions { refused, cause } => {
            CommitError::Partial { partitions: refused, cause: explain(&cause) }
        }
        CommitFailure::Other(cause) if is_fatal => CommitError::Fatal(explain(&cause)),
        CommitFailure::Other(cause) => {
            CommitError::Retriable(format!("the commit failed: {}", explain(&cause)))
        }
        failure => CommitError::Retriable(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::consumer::REFUSED_AGAIN;
    use crate::kafka::group::exchange::Stamp;
    use crate::kafka::protocol::ErrorCode;
    use crate::relay::control::FINISH_TIMEOUT;

    fn shouted(error: &(dyn std::error::Error + 'static)) -> String {
        error.to_string().to_uppercase()
    }

    #[test]
    fn only_what_no_retry_can_mend_ends_a_run_and_causes_are_put_into_words() {
        let partition = Partition::new("topic", 1);
        let refused = |code| ConsumerError::CommitRefused { partition: partition.clone(), code };
        let stamp = Stamp { generation: 3, member_id: "m".into(), instance_id: None };
        let code = ErrorCode::UNKNOWN_MEMBER_ID;
        let in_use = ConsumerError::GroupInUse { group: "g".into(), code };
        let (partial, fatal) = (refused(ErrorCode::KAFKA_STORAGE_ERROR), shouted(&in_use));
        let cause = shouted(&partial);
        for (failure, told) in [
            (
                CommitFailure::Partitions { refused: vec![partition.clone()], cause: partial },
                CommitError::Partial { partitions: vec![partition.clone()], cause },
            ),
            (CommitFailure::Other(in_use), CommitError::Fatal(fatal)),
            (
                CommitFailure::Other(refused(code)),
                CommitError::Retriable(format!("the commit failed: {}", shouted(&refused(code)))),
            ),
            (
                CommitFailure::Membership(stamp, code),
                CommitError::Retriable(format!("the commit waits for the group: the broker answered {code}")),
            ),
        ] {
            assert_eq!(not_committed(failure, shouted), told);
        }
    }

    #[test]
    fn a_refused_position_is_committed_again_before_a_run_ends() {
        // Each rest is at most twice the one before it.
        let (first, longest) = REFUSED_AGAIN;
        let rests = [first, 2 * first, 4 * first].map(|rest| rest.min(longest));
        assert!(rests.iter().sum::<Duration>() < FINISH_TIMEOUT, "three more times");
    }
}
