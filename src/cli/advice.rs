//! Advice for people: what to do about an error of the Kafka client, in terms of our flags and of Kafka's settings. The
//! client itself states facts only, since it does not know who runs it.

use crate::kafka::cluster::ClusterError;
use crate::kafka::consumer::cursor::{PositionChange, Trouble};
use crate::kafka::consumer::{ConsumerError, ConsumerNotice};
use crate::kafka::group::error::GroupError;
use crate::kafka::producer::ProducerError;
use crate::kafka::protocol::ErrorCode;
use std::borrow::Cow;
use std::error::Error;

/// Follows the fact, with its own punctuation.
type Advice = Cow<'static, str>;

/// An error or a notice as a person reads it: the fact, and what to do about it.
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    format!("{error}{}", advice(error).unwrap_or_default())
}

/// The advice of the outermost error of the chain that has any.
fn advice(error: &(dyn Error + 'static)) -> Option<Advice> {
    let own = if let Some(error) = error.downcast_ref::<ConsumerError>() {
        of_consumer(error)
    } else if let Some(notice) = error.downcast_ref::<ConsumerNotice>() {
        of_notice(notice)
    } else if let Some(error) = error.downcast_ref::<ProducerError>() {
        of_producer(error)
    } else if let Some(error) = error.downcast_ref::<ClusterError>() {
        of_cluster(error)
    } else {
        None
    };
    own.or_else(|| error.source().and_then(advice))
}

fn of_cluster(error: &ClusterError) -> Option<Advice> {
    let text = match error {
        ClusterError::Unreachable { .. } => {
            ". If this goes on, check its advertised.listeners and the network path to it"
        }
        ClusterError::Broker { code, .. } => return of_code(*code),
        _ => return None,
    };
    Some(text.into())
}

/// For whoever reads; a producer has its own.
fn of_code(code: ErrorCode) -> Option<Advice> {
    let text = match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => ": allow this principal to read the topic",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => ": allow this principal to read the group",
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED => ": allow this principal to do this on the cluster",
        ErrorCode::INVALID_GROUP_ID => ": take another --group",
        ErrorCode::INVALID_TOPIC_EXCEPTION => ": check --topic",
        _ => return None,
    };
    Some(text.into())
}

fn of_consumer(error: &ConsumerError) -> Option<Advice> {
    let text = match error {
        ConsumerError::TopicsMissing(_) => ": check --topic, or create it",
        ConsumerError::TopicsRefused(topics) => {
            return topics.iter().find_map(|(_, code)| of_code(*code));
        }
        ConsumerError::NoPartition { .. } => ". Check --partitions",
        ConsumerError::PositionLost { .. } => ". --offset-reset fail ends the run here",
        ConsumerError::Group { error, .. } => return of_group(*error),
        ConsumerError::LimitNotSplit { .. } => {
            " (--group-max-concurrency): give those members group.protocol=classic, take another --group, or run \
             without that flag"
        }
        ConsumerError::SendsElsewhere { group } => {
            let text = format!(
                ": give this run a --group of its own. If the URL has changed, stop the members with the old one \
                 first; to mix them all the same, say --group {group}"
            );
            return Some(text.into());
        }
        ConsumerError::GroupInUse { .. } => ": take another --group, or leave out --partitions",
        _ => return None,
    };
    Some(text.into())
}

fn of_group(error: GroupError) -> Option<Advice> {
    let text = match error {
        GroupError::InconsistentGroupProtocol => {
            ": let all of them offer the same one, or take another --group"
        }
        GroupError::InvalidGroupId => ": take another --group",
        GroupError::InvalidSessionTimeout => {
            ": choose a --session-timeout between their group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        GroupError::GroupAuthorizationFailed => ": allow this principal to read the group",
        GroupError::UnsupportedVersion => ": use Kafka 2.4 or later, or what is compatible with it",
        GroupError::GroupMaxSizeReached => ": run fewer members, or raise group.max.size on the brokers",
        GroupError::FencedInstanceId => ": give each instance its own --instance-id",
        _ => return None,
    };
    Some(text.into())
}

fn of_notice(notice: &ConsumerNotice) -> Option<Advice> {
    let text = match notice {
        ConsumerNotice::Moved {
            change:
                PositionChange::Deleted { .. }
                | PositionChange::BeyondEnd { .. }
                | PositionChange::Diverged { .. },
            ..
        } => " (--offset-reset)",
        ConsumerNotice::Stopped { trouble: Trouble::Corrupt(_), .. } => {
            ". Mend the log or move the group's position past it, then start again"
        }
        ConsumerNotice::Stopped { trouble: Trouble::TooLarge(_), .. } => {
            ". Raise --max-batch-bytes, then start again"
        }
        ConsumerNotice::Stopped { .. } => ". Mend that, then start again",
        ConsumerNotice::NothingCommitted { .. } => " (--start)",
        ConsumerNotice::NoPartOfLimit => " (--group-max-concurrency)",
        ConsumerNotice::LeaderIgnoresLimit => ": give --group-max-concurrency to all instances of the group",
        ConsumerNotice::DestinationsDiffer { .. } => ": give each destination its own --group",
        _ => return None,
    };
    Some(text.into())
}

fn of_producer(error: &ProducerError) -> Option<Advice> {
    let text = match error {
        ProducerError::Cluster(error) | ProducerError::Revoked(error) => match error.code() {
            Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => {
                ": allow this principal to describe the topic and to write to it"
            }
            Some(ErrorCode::INVALID_TOPIC_EXCEPTION) => ": choose another topic",
            _ => return None,
        },
        ProducerError::TopicMissing(_) => ": create it (sluicegate never creates topics)",
        ProducerError::NotWritable(_) => ": allow it in the topic's ACLs",
        ProducerError::Internal(_) => ": choose another",
        ProducerError::RecordTooLarge { code, .. } => {
            let setting = match *code {
                ErrorCode::RECORD_LIST_TOO_LARGE => "segment.bytes",
                _ => "max.message.bytes",
            };
            return Some(format!("; raise the topic's {setting} above that").into());
        }
        ProducerError::TimestampRefused { .. } => {
            "; raise the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        }
        ProducerError::RecordRefused { code: ErrorCode::INVALID_RECORD, .. } => {
            ". A topic with cleanup.policy=compact takes no record without a key, and keeps only the last one of each \
             key: give dead letters a topic with cleanup.policy=delete"
        }
        _ => return None,
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::cluster::Address;
    use crate::kafka::connection::ConnectionError;
    use crate::kafka::protocol::ApiKey;
    use crate::record::Partition;

    #[test]
    fn the_advice_follows_the_fact() {
        let partition = Partition::new("t", 3);
        let of_code = |code| ClusterError::of_topic(ApiKey::Metadata, "t", code);
        let group = |error| ConsumerError::Group { group: "g".into(), instance_id: None, error };
        let stopped = |trouble| ConsumerNotice::Stopped { partition: partition.clone(), trouble };
        let unreachable = ClusterError::Unreachable {
            broker: 2,
            address: Address { host: "b".into(), port: 9092 },
            reason: Box::new(ConnectionError::Unusable { broker: "b:9092".into() }),
        };
        let errors: [(Box<dyn Error>, &str); 16] = [
            (Box::new(unreachable), "check its advertised.listeners and the network path to it"),
            (Box::new(of_code(ErrorCode::INVALID_TOPIC_EXCEPTION)), ": check --topic"),
            (Box::new(ConsumerError::from(of_code(ErrorCode::INVALID_GROUP_ID))), ": take another --group"),
            (
                Box::new(ConsumerError::TopicsMissing(vec!["t".into()])),
                "topic 't' does not exist: check --topic, or create it",
            ),
            (
                Box::new(ConsumerError::NoPartition { topic: "t".into(), partition: 9, count: 3 }),
                "topic t has no partition 9: it has 3. Check --partitions",
            ),
            (
                Box::new(ConsumerError::TopicsRefused(vec![(
                    "t".into(),
                    ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                )])),
                ": allow this principal to read the topic",
            ),
            (
                Box::new(group(GroupError::InvalidGroupId)),
                "\"g\" is not a valid group name: take another --group",
            ),
            (Box::new(group(GroupError::FencedInstanceId)), ": give each instance its own --instance-id"),
            (
                Box::new(ConsumerNotice::LeaderIgnoresLimit),
                "--group-max-concurrency to all instances of the group",
            ),
            (
                Box::new(ConsumerError::SendsElsewhere { group: "g".into() }),
                "to mix them all the same, say --group g",
            ),
            (
                Box::new(ConsumerNotice::DestinationsDiffer { group: "g".into() }),
                ": give each destination its own --group",
            ),
            (
                Box::new(stopped(Trouble::TooLarge("too large".into()))),
                ". Raise --max-batch-bytes, then start again",
            ),
            (Box::new(stopped(Trouble::Leaderless)), ". Mend that, then start again"),
            (
                Box::new(ProducerError::from(of_code(ErrorCode::TOPIC_AUTHORIZATION_FAILED))),
                ": allow this principal to describe the topic and to write to it",
            ),
            (
                Box::new(ProducerError::TopicMissing("t".into())),
                ": create it (sluicegate never creates topics)",
            ),
            (Box::new(of_code(ErrorCode::NOT_COORDINATOR)), &ErrorCode::NOT_COORDINATOR.to_string()),
        ];
        for (error, ending) in errors {
            let text = sentence(&*error);
            assert!(text.starts_with(&error.to_string()) && text.ends_with(ending), "{text}");
        }
    }
}
