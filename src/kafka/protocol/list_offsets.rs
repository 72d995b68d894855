//! `ListOffsets`: the first offset of a partition, the next, or the first at or after a time.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks a leader for offsets.
    pub struct ListOffsetsRequest<'a> {
        replica_id: i32 => 0..; "-1 for a client."
        isolation_level: i8 => 2..;
            "1 if \"the next\" is to be the end of what is decided (`read_committed`), 0 if of all."
        topics: Vec<ListOffsetsRequestTopic<'a>> => 0..; "The topics."
        timeout_ms: i32 => 10.., ignorable;
            "How long the broker may look into tiered storage, in milliseconds."
    }

    /// Partitions of one topic.
    pub struct ListOffsetsRequestTopic<'a> {
        name: &'a str => 0..; "The topic's name."
        partitions: Vec<ListOffsetsRequestPartition> => 0..; "The partitions."
    }

    /// A partition asked for.
    pub struct ListOffsetsRequestPartition {
        partition_index: i32 => 0..; "Its number."
        current_leader_epoch: i32 = -1 => 4.., ignorable;
            "The leader's epoch as this client knows it; -1 if it doesn't."
        timestamp: i64 => 0..; "In milliseconds; -1 for the next offset, -2 for the first."
    }

    /// The offsets.
    pub struct ListOffsetsResponse<'a> {
        throttle_time_ms: i32 => 2.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        topics: Vec<ListOffsetsResponseTopic<'a>> => 0..; "The topics."
    }

    /// Partitions of one topic.
    pub struct ListOffsetsResponseTopic<'a> {
        name: &'a str => 0..; "The topic's name."
        partitions: Vec<ListOffsetsResponsePartition> => 0..; "The partitions."
    }

    /// An offset found.
    pub struct ListOffsetsResponsePartition {
        partition_index: i32 => 0..; "The partition's number."
        error_code: ErrorCode => 0..; "Why none was found."
        timestamp: i64 = -1 => 1..;
            "The time of the record at that offset, in milliseconds; -1 if no time was asked for."
        offset: i64 = -1 => 1..; "The offset; -1 if no record is that late."
        leader_epoch: i32 = -1 => 4..;
            "The epoch of the leader that wrote the record there; -1 if that isn't known."
    }
}

request!(ListOffsetsRequest<'_>, ListOffsets, 'r ListOffsetsResponse<'r>);
