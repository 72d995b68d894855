//! `OffsetForLeaderEpoch`: the end offsets of leader epochs, which reveal a truncated log.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks a leader.
    pub struct OffsetForLeaderEpochRequest<'a> {
        replica_id: i32 = -2 => 3.., ignorable; "-1 for a client."
        topics: Vec<OffsetForLeaderEpochRequestTopic<'a>> => 0..; "The topics."
    }

    /// Partitions of one topic.
    pub struct OffsetForLeaderEpochRequestTopic<'a> {
        topic: &'a str => 0..; "The topic's name."
        partitions: Vec<OffsetForLeaderEpochRequestPartition> => 0..; "The partitions."
    }

    /// A reign asked for.
    pub struct OffsetForLeaderEpochRequestPartition {
        partition: i32 => 0..; "The partition's number."
        current_leader_epoch: i32 = -1 => 2.., ignorable;
            "The present leader's epoch as this client knows it; -1 if it doesn't."
        leader_epoch: i32 => 0..; "The epoch asked for."
    }

    /// The ends.
    pub struct OffsetForLeaderEpochResponse<'a> {
        throttle_time_ms: i32 => 2.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        topics: Vec<OffsetForLeaderEpochResponseTopic<'a>> => 0..; "The topics."
    }

    /// Partitions of one topic.
    pub struct OffsetForLeaderEpochResponseTopic<'a> {
        topic: &'a str => 0..; "The topic's name."
        partitions: Vec<OffsetForLeaderEpochResponsePartition> => 0..; "The partitions."
    }

    /// Where a reign ended.
    pub struct OffsetForLeaderEpochResponsePartition {
        error_code: ErrorCode => 0..; "Why that isn't known."
        partition: i32 => 0..; "The partition's number."
        leader_epoch: i32 = -1 => 1.., ignorable;
            "The last epoch not after the one asked for; -1 if there is none."
        end_offset: i64 = -1 => 0..; "The offset behind its last record; -1 if there is none."
    }
}

request!(OffsetForLeaderEpochRequest<'_>, OffsetForLeaderEpoch, 'r OffsetForLeaderEpochResponse<'r>);
