//! `Produce`: append records to partitions.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid, newest_with_ids};

describe! {
    /// The records.
    pub struct ProduceRequest<'a> {
        transactional_id: Option<&'a str> => 3..; "The transaction they belong to."
        acks: i16 => 0..;
            "Who has them before the answer: -1 all replicas in sync, 1 the leader, 0 nobody (and no answer)."
        timeout_ms: i32 => 0..; "For how long the leader may wait for the replicas, in milliseconds."
        topic_data: Vec<ProduceRequestTopic<'a>> => 0..; "The topics."
    }

    /// Records for one topic.
    pub struct ProduceRequestTopic<'a> {
        name: &'a str => 0..=12, ignorable; "The topic's name."
        topic_id: Uuid => 13.., ignorable; "The unique topic ID."
        partition_data: Vec<ProduceRequestPartition<'a>> => 0..; "The partitions."
    }

    /// Records for one partition.
    pub struct ProduceRequestPartition<'a> {
        index: i32 => 0..; "The partition's number."
        records: Option<&'a [u8]> => 0..; "One record batch."
    }

    /// What was appended.
    pub struct ProduceResponse<'a> {
        responses: Vec<ProduceResponseTopic<'a>> => 0..; "The topics."
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        node_endpoints: Vec<ProduceResponseNode<'a>> => 10.., tag 0;
            "Where the leaders are that `current_leader` names (KIP-951)."
    }

    /// Where the leaders are that `current_leader` names (KIP-951).
    pub struct ProduceResponseNode<'a> {
        node_id: i32 => 10..; "The ID of the associated node."
        host: &'a str => 10..; "The node's hostname."
        port: i32 => 10..; "The node's port."
        rack: Option<&'a str> => 10..; "The rack of the node, or null if it has not been assigned to a rack."
    }

    /// Partitions of one topic.
    pub struct ProduceResponseTopic<'a> {
        name: &'a str => 0..=12, ignorable; "The topic's name."
        topic_id: Uuid => 13.., ignorable; "The unique topic ID."
        partition_responses: Vec<ProduceResponsePartition<'a>> => 0..; "The partitions."
    }

    /// What was appended to one partition.
    pub struct ProduceResponsePartition<'a> {
        index: i32 => 0..; "The partition's number."
        error_code: ErrorCode => 0..; "Why nothing was."
        base_offset: i64 => 0..; "The offset of the first record."
        log_append_time_ms: i64 = -1 => 2.., ignorable;
            "When, where the topic's timestamps are the broker's; else -1. In milliseconds."
        log_start_offset: i64 = -1 => 5.., ignorable; "The first offset of the partition."
        record_errors: Vec<ProduceResponseRecordError<'a>> => 8.., ignorable;
            "The records on whose account nothing was appended (KIP-467)."
        error_message: Option<&'a str> => 8.., ignorable; "The error in words."
        current_leader: ProduceResponseLeader => 10.., tag 0;
            "The leader broker that the producer should use for future requests."
    }

    /// The leader broker that the producer should use for future requests.
    pub struct ProduceResponseLeader {
        leader_id: i32 = -1 => 10..; "The ID of the current leader or -1 if the leader is unknown."
        leader_epoch: i32 = -1 => 10..; "The latest known leader epoch."
    }

    /// A record that the broker doesn't accept.
    pub struct ProduceResponseRecordError<'a> {
        batch_index: i32 => 8..; "Its place in the batch."
        batch_index_error_message: Option<&'a str> => 8..; "Why."
    }
}

request!(ProduceRequest<'_>, Produce, 'r ProduceResponse<'r> {
    fn newest(&self) -> i16 {
        newest_with_ids(Self::API, 12, self.topic_data.iter().map(|topic| topic.topic_id))
    }
});
