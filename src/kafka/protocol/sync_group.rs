//! `SyncGroup`: the leader hands out the assignment, and each member gets its own.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// What a member brings, and the leader for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// The generation it joined.
    pub generation_id: i32,
    /// This member's id.
    pub member_id: &'a str,
    /// The id that the operator gave.
    pub group_instance_id: Option<&'a str>,
    /// Who gets what, from the leader; nothing, from the others.
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

impl Request for SyncGroupRequest<'_> {
    const API: ApiKey = ApiKey::SyncGroup;
    type Response<'r> = SyncGroupResponse<'r>;
}

impl Encode for SyncGroupRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.int32(self.generation_id);
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.array("assignments", &self.assignments);
    }
}

impl<'a> Decode<'a> for SyncGroupRequest<'a> {
    const SMALLEST: usize = 2 + 4 + 2 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            group_id: reader.string("group_id")?,
            generation_id: reader.int32("generation_id")?,
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            assignments: reader.array("assignments")?,
        })
    }
}

/// What one member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequestAssignment<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// An assignment: see [`consumer_protocol`](super::consumer_protocol).
    pub assignment: &'a [u8],
}

impl Encode for SyncGroupRequestAssignment<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("member_id", self.member_id);
        writer.bytes("assignment", self.assignment);
    }
}

impl<'a> Decode<'a> for SyncGroupRequestAssignment<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { member_id: reader.string("member_id")?, assignment: reader.bytes("assignment")? })
    }
}

/// What this member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Why it gets nothing.
    pub error_code: ErrorCode,
    /// An assignment: see [`consumer_protocol`](super::consumer_protocol).
    pub assignment: &'a [u8],
}

impl Encode for SyncGroupResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.bytes("assignment", self.assignment);
    }
}

impl<'a> Decode<'a> for SyncGroupResponse<'a> {
    const SMALLEST: usize = 4 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            assignment: reader.bytes("assignment")?,
        })
    }
}
