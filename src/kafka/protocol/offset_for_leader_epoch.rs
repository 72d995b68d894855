//! `OffsetForLeaderEpoch`: where the records of a leader's reign end, which tells whether a log was truncated.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// -1 for a client.
    pub replica_id: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderEpochRequestTopic<'a>>,
}

impl Request for OffsetForLeaderEpochRequest<'_> {
    const API: ApiKey = ApiKey::OffsetForLeaderEpoch;
    type Response<'r> = OffsetForLeaderEpochResponse<'r>;
}

impl Encode for OffsetForLeaderEpochRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.replica_id);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for OffsetForLeaderEpochRequest<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { replica_id: reader.int32("replica_id")?, topics: reader.array("topics")? })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochRequestTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderEpochRequestPartition>,
}

impl Encode for OffsetForLeaderEpochRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("topic", self.topic);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for OffsetForLeaderEpochRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { topic: reader.string("topic")?, partitions: reader.array("partitions")? })
    }
}

/// A reign asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochRequestPartition {
    /// The partition's number.
    pub partition: i32,
    /// The present leader's epoch as this client knows it; -1 if it doesn't.
    pub current_leader_epoch: i32,
    /// The epoch asked for.
    pub leader_epoch: i32,
}

impl Encode for OffsetForLeaderEpochRequestPartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition);
        writer.int32(self.current_leader_epoch);
        writer.int32(self.leader_epoch);
    }
}

impl Decode<'_> for OffsetForLeaderEpochRequestPartition {
    const SMALLEST: usize = 4 + 4 + 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: reader.int32("partition")?,
            current_leader_epoch: reader.int32("current_leader_epoch")?,
            leader_epoch: reader.int32("leader_epoch")?,
        })
    }
}

/// The ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderEpochResponseTopic<'a>>,
}

impl Encode for OffsetForLeaderEpochResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for OffsetForLeaderEpochResponse<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { throttle_time_ms: reader.int32("throttle_time_ms")?, topics: reader.array("topics")? })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochResponseTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderEpochResponsePartition>,
}

impl Encode for OffsetForLeaderEpochResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("topic", self.topic);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for OffsetForLeaderEpochResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { topic: reader.string("topic")?, partitions: reader.array("partitions")? })
    }
}

/// Where a reign ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochResponsePartition {
    /// Why that isn't known.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition: i32,
    /// The last epoch not after the one asked for; -1 if there is none.
    pub leader_epoch: i32,
    /// The offset behind its last record; -1 if there is none.
    pub end_offset: i64,
}

impl Encode for OffsetForLeaderEpochResponsePartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.int32(self.partition);
        writer.int32(self.leader_epoch);
        writer.int64(self.end_offset);
    }
}

impl Decode<'_> for OffsetForLeaderEpochResponsePartition {
    const SMALLEST: usize = 2 + 4 + 4 + 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            error_code: reader.error_code("error_code")?,
            partition: reader.int32("partition")?,
            leader_epoch: reader.int32("leader_epoch")?,
            end_offset: reader.int64("end_offset")?,
        })
    }
}
