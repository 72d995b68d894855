//! `OffsetCommit`: commits the positions of a group.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid, newest_with_ids};

describe! {
    /// How far it has come.
    pub struct OffsetCommitRequest<'a> {
        group_id: &'a str => 0..; "The group's name."
        generation_id: i32 = -1 => 1.., ignorable;
            "The generation in which the records were handled; -1 outside of a group's membership."
        member_id: &'a str => 1.., ignorable;
            "The member that handled them; empty outside of a group's membership."
        group_instance_id: Option<&'a str> => 7..; "The id that the operator gave."
        retention_time_ms: i64 = -1 => 2..=4, ignorable; "The time period in ms to retain the offset."
        topics: Vec<OffsetCommitRequestTopic<'a>> => 0..; "The topics."
    }

    /// Partitions of one topic.
    pub struct OffsetCommitRequestTopic<'a> {
        name: &'a str => 0..=9, ignorable; "The topic's name."
        topic_id: Uuid => 10.., ignorable; "The topic ID."
        partitions: Vec<OffsetCommitRequestPartition<'a>> => 0..; "The partitions."
    }

    /// A position to keep.
    pub struct OffsetCommitRequestPartition<'a> {
        partition_index: i32 => 0..; "The partition's number."
        committed_offset: i64 => 0..; "The offset of the next record to handle."
        committed_leader_epoch: i32 = -1 => 6.., ignorable;
            "The epoch of the leader that wrote the last one handled; -1 if that isn't known."
        committed_metadata: Option<&'a str> = Some("") => 0..; "Words to keep with it."
    }

    /// What was kept.
    pub struct OffsetCommitResponse<'a> {
        throttle_time_ms: i32 => 3.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        topics: Vec<OffsetCommitResponseTopic<'a>> => 0..; "The topics."
    }

    /// Partitions of one topic.
    pub struct OffsetCommitResponseTopic<'a> {
        name: &'a str => 0..=9, ignorable; "The topic's name."
        topic_id: Uuid => 10.., ignorable; "The topic ID."
        partitions: Vec<OffsetCommitResponsePartition> => 0..; "The partitions."
    }

    /// Whether one position was kept.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32 => 0..; "The partition's number."
        error_code: ErrorCode => 0..; "Why it wasn't."
    }
}

request!(OffsetCommitRequest<'_>, OffsetCommit, 'r OffsetCommitResponse<'r> {
    fn newest(&self) -> i16 {
        newest_with_ids(Self::API, 9, self.topics.iter().map(|topic| topic.topic_id))
    }
});
