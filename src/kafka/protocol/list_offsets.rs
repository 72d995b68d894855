//! `ListOffsets`: the first offset of a partition, the next, or the first at or after a time.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks a leader for offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequest<'a> {
    /// -1 for a client.
    pub replica_id: i32,
    /// 1 if "the next" is to be the end of what is decided (`read_committed`), 0 if of all.
    pub isolation_level: i8,
    /// The topics.
    pub topics: Vec<ListOffsetsRequestTopic<'a>>,
}

impl Request for ListOffsetsRequest<'_> {
    const API: ApiKey = ApiKey::ListOffsets;
    type Response<'r> = ListOffsetsResponse<'r>;
}

impl Encode for ListOffsetsRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.replica_id);
        writer.int8(self.isolation_level);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for ListOffsetsRequest<'a> {
    const SMALLEST: usize = 4 + 1 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            replica_id: reader.int32("replica_id")?,
            isolation_level: reader.int8("isolation_level")?,
            topics: reader.array("topics")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequestTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ListOffsetsRequestPartition>,
}

impl Encode for ListOffsetsRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for ListOffsetsRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partitions: reader.array("partitions")? })
    }
}

/// A partition asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequestPartition {
    /// Its number.
    pub partition_index: i32,
    /// The leader's epoch as this client knows it; -1 if it doesn't.
    pub current_leader_epoch: i32,
    /// In milliseconds; -1 for the next offset, -2 for the first.
    pub timestamp: i64,
}

impl Encode for ListOffsetsRequestPartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.int32(self.current_leader_epoch);
        writer.int64(self.timestamp);
    }
}

impl Decode<'_> for ListOffsetsRequestPartition {
    const SMALLEST: usize = 4 + 4 + 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            current_leader_epoch: reader.int32("current_leader_epoch")?,
            timestamp: reader.int64("timestamp")?,
        })
    }
}

/// The offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<ListOffsetsResponseTopic<'a>>,
}

impl Encode for ListOffsetsResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for ListOffsetsResponse<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { throttle_time_ms: reader.int32("throttle_time_ms")?, topics: reader.array("topics")? })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponseTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ListOffsetsResponsePartition>,
}

impl Encode for ListOffsetsResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for ListOffsetsResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partitions: reader.array("partitions")? })
    }
}

/// An offset found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponsePartition {
    /// The partition's number.
    pub partition_index: i32,
    /// Why none was found.
    pub error_code: ErrorCode,
    /// The time of the record at that offset, in milliseconds; -1 if no time was asked for.
    pub timestamp: i64,
    /// The offset; -1 if no record is that late.
    pub offset: i64,
    /// The epoch of the leader that wrote the record there; -1 if that isn't known.
    pub leader_epoch: i32,
}

impl Encode for ListOffsetsResponsePartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.error_code(self.error_code);
        writer.int64(self.timestamp);
        writer.int64(self.offset);
        writer.int32(self.leader_epoch);
    }
}

impl Decode<'_> for ListOffsetsResponsePartition {
    const SMALLEST: usize = 4 + 2 + 8 + 8 + 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            error_code: reader.error_code("error_code")?,
            timestamp: reader.int64("timestamp")?,
            offset: reader.int64("offset")?,
            leader_epoch: reader.int32("leader_epoch")?,
        })
    }
}
