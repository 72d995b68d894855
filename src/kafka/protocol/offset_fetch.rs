//! `OffsetFetch`: how far a group had come.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks the group's coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// The topics; `None` for all of which there are commits.
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
}

impl Request for OffsetFetchRequest<'_> {
    const API: ApiKey = ApiKey::OffsetFetch;
    type Response<'r> = OffsetFetchResponse<'r>;
}

impl Encode for OffsetFetchRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.nullable_array("topics", self.topics.as_deref());
    }
}

impl<'a> Decode<'a> for OffsetFetchRequest<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { group_id: reader.string("group_id")?, topics: reader.nullable_array("topics")? })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequestTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions' numbers.
    pub partition_indexes: Vec<i32>,
}

impl Encode for OffsetFetchRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partition_indexes", &self.partition_indexes);
    }
}

impl<'a> Decode<'a> for OffsetFetchRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partition_indexes: reader.array("partition_indexes")? })
    }
}

/// The positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// What was wrong with the whole request.
    pub error_code: ErrorCode,
}

impl Encode for OffsetFetchResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("topics", &self.topics);
        writer.error_code(self.error_code);
    }
}

impl<'a> Decode<'a> for OffsetFetchResponse<'a> {
    const SMALLEST: usize = 4 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            topics: reader.array("topics")?,
            error_code: reader.error_code("error_code")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponseTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

impl Encode for OffsetFetchResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for OffsetFetchResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partitions: reader.array("partitions")? })
    }
}

/// A position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponsePartition<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// The offset of the next record to handle; -1 if none was committed.
    pub committed_offset: i64,
    /// The epoch of the leader that wrote the last one handled; -1 if that isn't known.
    pub committed_leader_epoch: i32,
    /// Words that were kept with it.
    pub metadata: Option<&'a str>,
    /// Why there is no answer.
    pub error_code: ErrorCode,
}

impl Encode for OffsetFetchResponsePartition<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.int64(self.committed_offset);
        writer.int32(self.committed_leader_epoch);
        writer.nullable_string("metadata", self.metadata);
        writer.error_code(self.error_code);
    }
}

impl<'a> Decode<'a> for OffsetFetchResponsePartition<'a> {
    const SMALLEST: usize = 4 + 8 + 4 + 2 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            committed_offset: reader.int64("committed_offset")?,
            committed_leader_epoch: reader.int32("committed_leader_epoch")?,
            metadata: reader.nullable_string("metadata")?,
            error_code: reader.error_code("error_code")?,
        })
    }
}
