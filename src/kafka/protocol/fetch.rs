//! `Fetch`: records of partitions, from an offset on, waiting for them if there are none yet.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks a broker for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// -1 for a client.
    pub replica_id: i32,
    /// For how long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes are worth an answer.
    pub min_bytes: i32,
    /// About how many bytes to answer with at most; the first batch comes whole (KIP-74).
    pub max_bytes: i32,
    /// 1 to read no further than what is decided, with the list of aborted transactions; else 0.
    pub isolation_level: i8,
    /// The fetch session (KIP-227); 0 for none.
    pub session_id: i32,
    /// The place within the session; -1 for no session.
    pub session_epoch: i32,
    /// What to read.
    pub topics: Vec<FetchRequestTopic<'a>>,
    /// What to read no longer in this session.
    pub forgotten_topics_data: Vec<FetchRequestForgottenTopic<'a>>,
    /// This client's rack, so that it may be sent to a nearer replica (KIP-392); empty for none.
    pub rack_id: &'a str,
}

impl Request for FetchRequest<'_> {
    const API: ApiKey = ApiKey::Fetch;
    type Response<'r> = FetchResponse<'r>;
}

impl Encode for FetchRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.replica_id);
        writer.int32(self.max_wait_ms);
        writer.int32(self.min_bytes);
        writer.int32(self.max_bytes);
        writer.int8(self.isolation_level);
        writer.int32(self.session_id);
        writer.int32(self.session_epoch);
        writer.array("topics", &self.topics);
        writer.array("forgotten_topics_data", &self.forgotten_topics_data);
        writer.string("rack_id", self.rack_id);
    }
}

impl<'a> Decode<'a> for FetchRequest<'a> {
    const SMALLEST: usize = 4 + 4 + 4 + 4 + 1 + 4 + 4 + 4 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            replica_id: reader.int32("replica_id")?,
            max_wait_ms: reader.int32("max_wait_ms")?,
            min_bytes: reader.int32("min_bytes")?,
            max_bytes: reader.int32("max_bytes")?,
            isolation_level: reader.int8("isolation_level")?,
            session_id: reader.int32("session_id")?,
            session_epoch: reader.int32("session_epoch")?,
            topics: reader.array("topics")?,
            forgotten_topics_data: reader.array("forgotten_topics_data")?,
            rack_id: reader.string("rack_id")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequestTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<FetchRequestPartition>,
}

impl Encode for FetchRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("topic", self.topic);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for FetchRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { topic: reader.string("topic")?, partitions: reader.array("partitions")? })
    }
}

/// A partition to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequestPartition {
    /// Its number.
    pub partition: i32,
    /// The leader's epoch as this client knows it; -1 if it doesn't.
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// -1 for a client; a follower's first offset.
    pub log_start_offset: i64,
    /// About how many bytes of this partition to answer with at most.
    pub partition_max_bytes: i32,
}

impl Encode for FetchRequestPartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition);
        writer.int32(self.current_leader_epoch);
        writer.int64(self.fetch_offset);
        writer.int64(self.log_start_offset);
        writer.int32(self.partition_max_bytes);
    }
}

impl Decode<'_> for FetchRequestPartition {
    const SMALLEST: usize = 4 + 4 + 8 + 8 + 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: reader.int32("partition")?,
            current_leader_epoch: reader.int32("current_leader_epoch")?,
            fetch_offset: reader.int64("fetch_offset")?,
            log_start_offset: reader.int64("log_start_offset")?,
            partition_max_bytes: reader.int32("partition_max_bytes")?,
        })
    }
}

/// Partitions of one topic to read no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequestForgottenTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions' numbers.
    pub partitions: Vec<i32>,
}

impl Encode for FetchRequestForgottenTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("topic", self.topic);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for FetchRequestForgottenTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { topic: reader.string("topic")?, partitions: reader.array("partitions")? })
    }
}

/// The records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What was wrong with the whole request.
    pub error_code: ErrorCode,
    /// The fetch session; 0 for none.
    pub session_id: i32,
    /// The topics.
    pub responses: Vec<FetchResponseTopic<'a>>,
}

impl Encode for FetchResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.int32(self.session_id);
        writer.array("responses", &self.responses);
    }
}

impl<'a> Decode<'a> for FetchResponse<'a> {
    const SMALLEST: usize = 4 + 2 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            session_id: reader.int32("session_id")?,
            responses: reader.array("responses")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponseTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<FetchResponsePartition<'a>>,
}

impl Encode for FetchResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("topic", self.topic);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for FetchResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { topic: reader.string("topic")?, partitions: reader.array("partitions")? })
    }
}

/// What was read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponsePartition<'a> {
    /// Its number.
    pub partition_index: i32,
    /// Why nothing could be read.
    pub error_code: ErrorCode,
    /// The offset up to which all replicas in sync have the records.
    pub high_watermark: i64,
    /// The offset up to which all transactions are decided; -1 if that isn't known.
    pub last_stable_offset: i64,
    /// The first offset there is; -1 if that isn't known.
    pub log_start_offset: i64,
    /// Transactions of which these records must be left out, where `isolation_level` was 1.
    pub aborted_transactions: Option<Vec<FetchResponseAbortedTransaction>>,
    /// The broker to read from instead (KIP-392); -1 for this one.
    pub preferred_read_replica: i32,
    /// Record batches, the last perhaps cut short, undecoded.
    pub records: Option<&'a [u8]>,
}

impl Encode for FetchResponsePartition<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.error_code(self.error_code);
        writer.int64(self.high_watermark);
        writer.int64(self.last_stable_offset);
        writer.int64(self.log_start_offset);
        writer.nullable_array("aborted_transactions", self.aborted_transactions.as_deref());
        writer.int32(self.preferred_read_replica);
        writer.nullable_bytes("records", self.records);
    }
}

impl<'a> Decode<'a> for FetchResponsePartition<'a> {
    const SMALLEST: usize = 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            error_code: reader.error_code("error_code")?,
            high_watermark: reader.int64("high_watermark")?,
            last_stable_offset: reader.int64("last_stable_offset")?,
            log_start_offset: reader.int64("log_start_offset")?,
            aborted_transactions: reader.nullable_array("aborted_transactions")?,
            preferred_read_replica: reader.int32("preferred_read_replica")?,
            records: reader.nullable_bytes("records")?,
        })
    }
}

/// A transaction that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponseAbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
}

impl Encode for FetchResponseAbortedTransaction {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int64(self.producer_id);
        writer.int64(self.first_offset);
    }
}

impl Decode<'_> for FetchResponseAbortedTransaction {
    const SMALLEST: usize = 8 + 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { producer_id: reader.int64("producer_id")?, first_offset: reader.int64("first_offset")? })
    }
}
