//! `OffsetCommit`: keep how far a group has come.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// The generation in which the records were handled; -1 outside of a group's membership.
    pub generation_id: i32,
    /// The member that handled them; empty outside of a group's membership.
    pub member_id: &'a str,
    /// The id that the operator gave.
    pub group_instance_id: Option<&'a str>,
    /// The topics.
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

impl Request for OffsetCommitRequest<'_> {
    const API: ApiKey = ApiKey::OffsetCommit;
    type Response<'r> = OffsetCommitResponse<'r>;
}

impl Encode for OffsetCommitRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.int32(self.generation_id);
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for OffsetCommitRequest<'a> {
    const SMALLEST: usize = 2 + 4 + 2 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            group_id: reader.string("group_id")?,
            generation_id: reader.int32("generation_id")?,
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            topics: reader.array("topics")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequestTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

impl Encode for OffsetCommitRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for OffsetCommitRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partitions: reader.array("partitions")? })
    }
}

/// A position to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequestPartition<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// The offset of the next record to handle.
    pub committed_offset: i64,
    /// The epoch of the leader that wrote the last one handled; -1 if that isn't known.
    pub committed_leader_epoch: i32,
    /// Words to keep with it.
    pub committed_metadata: Option<&'a str>,
}

impl Encode for OffsetCommitRequestPartition<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.int64(self.committed_offset);
        writer.int32(self.committed_leader_epoch);
        writer.nullable_string("committed_metadata", self.committed_metadata);
    }
}

impl<'a> Decode<'a> for OffsetCommitRequestPartition<'a> {
    const SMALLEST: usize = 4 + 8 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            committed_offset: reader.int64("committed_offset")?,
            committed_leader_epoch: reader.int32("committed_leader_epoch")?,
            committed_metadata: reader.nullable_string("committed_metadata")?,
        })
    }
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

impl Encode for OffsetCommitResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("topics", &self.topics);
    }
}

impl<'a> Decode<'a> for OffsetCommitResponse<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { throttle_time_ms: reader.int32("throttle_time_ms")?, topics: reader.array("topics")? })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponseTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

impl Encode for OffsetCommitResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partitions", &self.partitions);
    }
}

impl<'a> Decode<'a> for OffsetCommitResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partitions: reader.array("partitions")? })
    }
}

/// Whether one position was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponsePartition {
    /// The partition's number.
    pub partition_index: i32,
    /// Why it wasn't.
    pub error_code: ErrorCode,
}

impl Encode for OffsetCommitResponsePartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.partition_index);
        writer.error_code(self.error_code);
    }
}

impl Decode<'_> for OffsetCommitResponsePartition {
    const SMALLEST: usize = 4 + 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition_index: reader.int32("partition_index")?,
            error_code: reader.error_code("error_code")?,
        })
    }
}
