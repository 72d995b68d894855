//! Why a consumer can't go on, and what else people should know of it: facts, without advice.

use super::cursor::{PositionChange, Trouble};
use crate::kafka::cluster::ClusterError;
use crate::kafka::group::error::GroupError;
use crate::kafka::protocol::ErrorCode;
use crate::notice::Severity;
use crate::record::Partition;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// At most this many partitions are named in a notice.
const MOST_NAMES: usize = 5;

/// Why a consumer can't go on, or can't for now.
#[derive(Debug)]
pub enum ConsumerError {
    /// A request failed.
    Cluster(ClusterError),
    /// The brokers know none of these topics.
    TopicsMissing(Vec<String>),
    /// The brokers refuse to describe these topics.
    TopicsRefused(Vec<(Arc<str>, ErrorCode)>),
    /// A partition that was asked for does not exist.
    NoPartition {
        /// Its topic.
        topic: Arc<str>,
        /// Its number.
        partition: i32,
        /// How many partitions the topic has.
        count: i32,
    },
    /// None of the assigned partitions can be read.
    NothingReadable(Vec<Partition>),
    /// These partitions can't be read to their ends.
    EndUnreachable(Vec<Partition>),
    /// A position is not valid in its log, and positions are not to be reset.
    PositionLost {
        /// The partition.
        partition: Partition,
        /// What has become of the position.
        change: PositionChange,
    },
    /// The coordinator refuses this member.
    Group {
        /// The group's name.
        group: String,
        /// The instance id of a static member.
        instance_id: Option<String>,
        /// Its error.
        error: GroupError,
    },
    /// The coordinator assigns the partitions itself (KIP-848), so no leader splits the group's limit.
    LimitNotSplit {
        /// The group's name.
        group: String,
    },
    /// The group's members send to another destination, and came first.
    SendsElsewhere {
        /// The group's name.
        group: String,
    },
    /// Fixed partitions can't be committed for a group that has members.
    GroupInUse {
        /// The group's name.
        group: String,
        /// The coordinator's error code.
        code: ErrorCode,
    },
    /// The coordinator does not accept the position of a partition.
    CommitRefused {
        /// The partition.
        partition: Partition,
        /// Its error code.
        code: ErrorCode,
    },
    /// Settings that make no sense.
    Settings(String),
    /// A thread can't be started.
    Thread(io::Error),
    /// A thread of this client panicked; its name.
    Panicked(&'static str),
}

impl ConsumerError {
    /// Whether it ends the consumer: a retry would fail in the same way until somebody changes something.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_fatal(),
            Self::CommitRefused { .. } => false,
            _ => true,
        }
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(error) => error.fmt(f),
            Self::TopicsMissing(topics) => {
                let names: Vec<String> = topics.iter().map(|topic| format!("'{topic}'")).collect();
                let (noun, verb) = if names.len() == 1 { ("topic", "does") } else { ("topics", "do") };
                write!(f, "{noun} {} {verb} not exist", names.join(" and "))
            }
            Self::TopicsRefused(topics) => {
                for (place, (topic, code)) in topics.iter().enumerate() {
                    let between = if place == 0 { "" } else { "; " };
                    write!(f, "{between}topic {topic}: the broker answered {code}")?;
                }
                Ok(())
            }
            Self::NoPartition { topic, partition, count } => {
                write!(f, "topic {topic} has no partition {partition}: it has {count}")
            }
            Self::NothingReadable(partitions) => {
                write!(f, "nothing is left that can be read: {}. The lines above say why", list(partitions))
            }
            Self::EndUnreachable(partitions) => {
                write!(f, "{} can't be read to the end: the lines above say why", list(partitions))
            }
            Self::PositionLost { partition, change } => change.write(f, partition),
            Self::Group { group, instance_id, error } => {
                refused_member(f, group, instance_id.as_deref(), *error)
            }
            Self::LimitNotSplit { group } => write!(
                f,
                "group {group} has members with group.protocol=consumer, so the broker assigns the partitions and \
                 nobody splits the group's limit"
            ),
            Self::SendsElsewhere { group } => write!(
                f,
                "group {group} has members that send to another destination, and this one would take a part of their \
                 records"
            ),
            Self::GroupInUse { group, code } => write!(
                f,
                "group {group} has members that share its topics, so positions of fixed partitions can't be committed \
                 for it ({code})"
            ),
            Self::CommitRefused { partition, code } => {
                write!(f, "the position of {partition} can't be committed: the broker answered {code}")
            }
            Self::Settings(text) => f.write_str(text),
            Self::Thread(error) => write!(f, "no thread can be started: {error}"),
            Self::Panicked(name) => write!(f, "the {name} thread panicked; please report this"),
        }
    }
}

fn refused_member(
    f: &mut fmt::Formatter<'_>,
    group: &str,
    instance_id: Option<&str>,
    error: GroupError,
) -> fmt::Result {
    match error {
        GroupError::InconsistentGroupProtocol => {
            write!(f, "group {group} has members with other assignors than this one")
        }
        GroupError::InvalidGroupId => write!(f, "{group:?} is not a valid group name"),
        GroupError::InvalidSessionTimeout => {
            write!(f, "the brokers don't allow this session timeout for group {group}")
        }
        GroupError::GroupAuthorizationFailed => write!(f, "this principal may not read with group {group}"),
        GroupError::UnsupportedVersion => {
            write!(
                f,
                "the coordinator of group {group} does not speak the group protocol in a version used here"
            )
        }
        GroupError::GroupMaxSizeReached => write!(f, "group {group} is full"),
        GroupError::FencedInstanceId => write!(
            f,
            "another member of group {group} has joined with the instance id {}",
            instance_id.unwrap_or("of this one")
        ),
        error => write!(f, "the coordinator of group {group} answered {error}"),
    }
}

impl Error for ConsumerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cluster(error) => Some(error),
            Self::TopicsRefused(topics) => topics.first().map(|(_, code)| code as _),
            Self::Group { error, .. } => Some(error),
            Self::GroupInUse { code, .. } | Self::CommitRefused { code, .. } => Some(code),
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ClusterError> for ConsumerError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// Something that people should know while the consumer goes on. It is an [`Error`] so that it can be
/// [explained](crate::kafka::config::Explain) as errors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerNotice {
    /// A position is elsewhere than where the last record was read.
    Moved {
        /// The partition.
        partition: Partition,
        /// Why.
        change: PositionChange,
        /// The position now.
        next: i64,
    },
    /// A partition is not read any further.
    Stopped {
        /// The partition.
        partition: Partition,
        /// Why.
        trouble: Trouble,
    },
    /// Partitions that have the same trouble for a while; they are retried.
    Stalled {
        /// The partitions.
        partitions: Vec<Partition>,
        /// The trouble.
        trouble: String,
        /// Since how many seconds.
        seconds: u64,
    },
    /// These partitions, stalled before, are read again.
    Recovered(Vec<Partition>),
    /// Partitions without a committed position.
    NothingCommitted {
        /// Their topic.
        topic: String,
        /// How many there are.
        partitions: usize,
        /// How many records lie before the positions where they begin.
        before: i64,
        /// How many records lie behind them.
        behind: i64,
    },
    /// Positions that were moved by hand or copied from another cluster.
    Copied(Vec<Partition>),
    /// The brokers have no topic ids.
    NoTopicIds,
    /// This member's part of the group's limit is zero for now.
    NoPartOfLimit,
    /// The group's leader does not split the limit, so nothing may be sent.
    LeaderIgnoresLimit,
    /// Members of the group send to different destinations.
    DestinationsDiffer {
        /// The group's name.
        group: String,
    },
    /// After [`DestinationsDiffer`](Self::DestinationsDiffer): they send to the same one now.
    DestinationsAgree {
        /// The group's name.
        group: String,
    },
    /// This many notices were left out.
    Omitted(usize),
}

impl ConsumerNotice {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Stopped { .. } => Severity::Error,
            Self::Recovered(_) | Self::NoTopicIds | Self::DestinationsAgree { .. } => Severity::Info,
            Self::NothingCommitted { before, .. } if *before == 0 => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

impl fmt::Display for ConsumerNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { partition, change, next } => {
                change.write(f, partition)?;
                write!(f, ". Going on at {next}")
            }
            Self::Stopped { partition, trouble } => write!(
                f,
                "topic {} partition {}: {trouble}; nothing more is read of this partition, and nothing of it is \
                 skipped",
                partition.topic(),
                partition.number()
            ),
            Self::Stalled { partitions, trouble, seconds } => write!(
                f,
                "nothing can be read of {} for {seconds} s: {trouble}; trying again. Other partitions go on",
                names(partitions)
            ),
            Self::Recovered(partitions) => write!(f, "reading {} again", names(partitions)),
            Self::NothingCommitted { topic, partitions, before, behind } => write!(
                f,
                "topic {topic}: nothing is committed for {partitions} partition{}; beginning with {behind} records \
                 there, and {before} before them that are not read",
                if *partitions == 1 { "" } else { "s" }
            ),
            Self::Copied(partitions) => write!(
                f,
                "the positions of {} were moved or copied from another cluster; they are kept, but what was done \
                 beyond them is not known and is sent again",
                names(partitions)
            ),
            Self::NoTopicIds => f.write_str(
                "these brokers have no topic ids: a topic that is deleted and created again is recognised only by its \
                 leader epochs and by the bounds of its log",
            ),
            Self::NoPartOfLimit => f.write_str(
                "this instance has no part of the group's limit for now: others still use it, or there are more \
                 instances with partitions than it allows at once",
            ),
            Self::LeaderIgnoresLimit => {
                f.write_str("the leader of the group does not split the group's limit, so nothing is sent")
            }
            Self::DestinationsDiffer { group } => write!(
                f,
                "members of group {group} send to different destinations, so each record goes to only one of them"
            ),
            Self::DestinationsAgree { group } => {
                write!(f, "all members of group {group} send to the same destination again")
            }
            Self::Omitted(count) => {
                write!(f, "and {count} more lines of that kind, for other partitions")
            }
        }
    }
}

impl Error for ConsumerNotice {}

fn list(partitions: &[Partition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// A few names, and how many more there are.
fn names(partitions: &[Partition]) -> String {
    match partitions.split_at_checked(MOST_NAMES) {
        Some((named, more)) if !more.is_empty() => format!("{} and {} more", list(named), more.len()),
        _ => list(partitions),
    }
}

impl PositionChange {
    /// The change as a clause about a partition.
    fn write(&self, f: &mut fmt::Formatter<'_>, partition: &Partition) -> fmt::Result {
        match self {
            Self::Deleted { position, bounds } => write!(
                f,
                "the position {position} of {partition} is outside of its log, which holds {} to {}: {} offsets up to \
                 {} were deleted before they were read",
                bounds.first,
                bounds.end,
                bounds.first - position,
                bounds.first
            ),
            Self::BeyondEnd { position, bounds } => write!(
                f,
                "the position {position} of {partition} is outside of its log, which holds {} to {}: the topic was \
                 created anew, or its log was cut off",
                bounds.first, bounds.end
            ),
            Self::Truncated { position, at } => write!(
                f,
                "the log of {partition} was cut off at offset {at}, below our position {position}: records from there \
                 on that were already sent are no longer in the topic"
            ),
            Self::Diverged { position, bounds } => write!(
                f,
                "the log of {partition}, which holds {} to {}, is not the one that was read up to {position}: its \
                 leader epochs went backwards, as after a restore from a backup, and where the two part is unknown. \
                 Records may be sent again",
                bounds.first, bounds.end
            ),
            Self::TopicRecreated { position } => write!(
                f,
                "topic {} was deleted and created anew; partition {} was read up to {position}, and is read from its \
                 beginning now",
                partition.topic(),
                partition.number()
            ),
            Self::ProgressDropped { position, reach } => write!(
                f,
                "the log of {partition} was cut off between the position {position} and {reach}: records there that \
                 were done already may be sent again"
            ),
            Self::Copied { position } => {
                write!(f, "the position {position} of {partition} was moved or copied")
            }
            Self::First { next, .. } => {
                write!(f, "nothing is committed for {partition}: it begins at {next}")
            }
        }
    }
}
