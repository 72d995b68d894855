//! `Fetch`: records of partitions, from an offset on, waiting for them if there are none yet.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid, newest_with_ids};

describe! {
    /// Asks a broker for records.
    pub struct FetchRequest<'a> {
        cluster_id: Option<&'a str> => 12.., tag 0, ignorable; "The cluster that is meant; for controllers."
        replica_id: i32 = -1 => 0..=14; "-1 for a client."
        replica_state: FetchRequestReplicaState => 15.., tag 1; "The state of the replica in the follower."
        max_wait_ms: i32 => 0..; "For how long to wait for `min_bytes`, in milliseconds."
        min_bytes: i32 => 0..; "How many bytes are worth an answer."
        max_bytes: i32 = i32::MAX => 3.., ignorable;
            "About how many bytes to answer with at most; the first batch comes whole (KIP-74)."
        isolation_level: i8 => 4.., ignorable;
            "1 to read no further than what is decided, with the list of aborted transactions; else 0."
        session_id: i32 => 7.., ignorable; "The fetch session (KIP-227); 0 for none."
        session_epoch: i32 = -1 => 7.., ignorable; "The place within the session; -1 for no session."
        topics: Vec<FetchRequestTopic<'a>> => 0..; "What to read."
        forgotten_topics_data: Vec<FetchRequestForgottenTopic<'a>> => 7..;
            "What to read no longer in this session."
        rack_id: &'a str => 11.., ignorable;
            "This client's rack, so that it may be sent to a nearer replica (KIP-392); empty for none."
    }

    /// Partitions of one topic to read no longer.
    pub struct FetchRequestForgottenTopic<'a> {
        topic: &'a str => 7..=12, ignorable; "The topic's name."
        topic_id: Uuid => 13.., ignorable; "The unique topic ID."
        partitions: Vec<i32> => 7..; "The partitions' numbers."
    }

    /// Partitions of one topic.
    pub struct FetchRequestTopic<'a> {
        topic: &'a str => 0..=12, ignorable; "The topic's name."
        topic_id: Uuid => 13.., ignorable; "The unique topic ID."
        partitions: Vec<FetchRequestPartition> => 0..; "The partitions."
    }

    /// A partition to read.
    pub struct FetchRequestPartition {
        partition: i32 => 0..; "Its number."
        current_leader_epoch: i32 = -1 => 9.., ignorable;
            "The leader's epoch as this client knows it; -1 if it doesn't."
        fetch_offset: i64 => 0..; "The first offset wanted."
        last_fetched_epoch: i32 = -1 => 12..; "The epoch of the last fetched record or -1 if there is none."
        log_start_offset: i64 = -1 => 5.., ignorable; "-1 for a client; a follower's first offset."
        partition_max_bytes: i32 => 0..; "About how many bytes of this partition to answer with at most."
        replica_directory_id: Uuid => 17.., tag 0, ignorable; "The directory id of the follower fetching."
        high_watermark: i64 = i64::MAX => 18.., tag 1, ignorable; "The high-watermark known by the replica."
    }

    /// The state of the replica in the follower.
    pub struct FetchRequestReplicaState {
        replica_id: i32 = -1 => 15..;
            "The replica ID of the follower, or -1 if this request is from a consumer."
        replica_epoch: i64 = -1 => 15..; "The epoch of this follower, or -1 if not available."
    }

    /// The records.
    pub struct FetchResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 7.., ignorable; "What was wrong with the whole request."
        session_id: i32 => 7..; "The fetch session; 0 for none."
        responses: Vec<FetchResponseTopic<'a>> => 0..; "The topics."
        node_endpoints: Vec<FetchResponseNode<'a>> => 16.., tag 0;
            "Where the leaders are that `current_leader` names (KIP-951)."
    }

    /// Where the leaders are that `current_leader` names (KIP-951).
    pub struct FetchResponseNode<'a> {
        node_id: i32 => 16..; "The ID of the associated node."
        host: &'a str => 16..; "The node's hostname."
        port: i32 => 16..; "The node's port."
        rack: Option<&'a str> => 16..; "The rack of the node, or null if it has not been assigned to a rack."
    }

    /// Partitions of one topic.
    pub struct FetchResponseTopic<'a> {
        topic: &'a str => 0..=12, ignorable; "The topic's name."
        topic_id: Uuid => 13.., ignorable; "The unique topic ID."
        partitions: Vec<FetchResponsePartition<'a>> => 0..; "The partitions."
    }

    /// What was read of a partition.
    pub struct FetchResponsePartition<'a> {
        partition_index: i32 => 0..; "Its number."
        error_code: ErrorCode => 0..; "Why nothing could be read."
        high_watermark: i64 => 0..; "The offset up to which all replicas in sync have the records."
        last_stable_offset: i64 = -1 => 4.., ignorable;
            "The offset up to which all transactions are decided; -1 if that isn't known."
        log_start_offset: i64 = -1 => 5.., ignorable; "The first offset there is; -1 if that isn't known."
        diverging_epoch: FetchResponseEpochEnd => 12.., tag 0;
            "Where this log and the reader's part, if `last_fetched_epoch` shows that they do (KIP-595)."
        current_leader: FetchResponseLeader => 12.., tag 1; "The current leader of the partition."
        snapshot_id: FetchResponseSnapshot => 12.., tag 2;
            "The snapshot to read in place of records that are gone; for controllers."
        aborted_transactions: Option<Vec<FetchResponseAbortedTransaction>> = Some(Vec::new()) => 4.., ignorable;
            "Transactions of which these records must be left out, where `isolation_level` was 1."
        preferred_read_replica: i32 = -1 => 11..;
            "The broker to read from instead (KIP-392); -1 for this one."
        records: Option<&'a [u8]> => 0..; "Record batches, the last perhaps cut short, undecoded."
    }

    /// An aborted transaction.
    pub struct FetchResponseAbortedTransaction {
        producer_id: i64 => 4..; "Its producer."
        first_offset: i64 => 4..; "Its first record."
    }

    /// The snapshot to read in place of records that are gone; for controllers.
    pub struct FetchResponseSnapshot {
        end_offset: i64 = -1 => 0..; "The end offset of the epoch."
        epoch: i32 = -1 => 0..; "The largest epoch."
    }

    /// The current leader of the partition.
    pub struct FetchResponseLeader {
        leader_id: i32 = -1 => 12..; "The ID of the current leader or -1 if the leader is unknown."
        leader_epoch: i32 = -1 => 12..; "The latest known leader epoch."
    }

    /// Where this log and the reader's part, if `last_fetched_epoch` shows that they do (KIP-595).
    pub struct FetchResponseEpochEnd {
        epoch: i32 = -1 => 12..; "The largest epoch."
        end_offset: i64 = -1 => 12..; "The end offset of the epoch."
    }
}

request!(FetchRequest<'_>, Fetch, 'r FetchResponse<'r> {
    fn newest(&self) -> i16 {
        newest_with_ids(Self::API, 12, self.topics.iter().map(|topic| topic.topic_id))
    }
});
