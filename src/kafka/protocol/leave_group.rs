//! `LeaveGroup`: a member goes, so that the others needn't wait for its session to end.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// The members.
    pub members: Vec<LeaveGroupRequestMember<'a>>,
}

impl Request for LeaveGroupRequest<'_> {
    const API: ApiKey = ApiKey::LeaveGroup;
    type Response<'r> = LeaveGroupResponse<'r>;
}

impl Encode for LeaveGroupRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.array("members", &self.members);
    }
}

impl<'a> Decode<'a> for LeaveGroupRequest<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { group_id: reader.string("group_id")?, members: reader.array("members")? })
    }
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequestMember<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// The id that the operator gave.
    pub group_instance_id: Option<&'a str>,
}

impl Encode for LeaveGroupRequestMember<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
    }
}

impl<'a> Decode<'a> for LeaveGroupRequestMember<'a> {
    const SMALLEST: usize = 2 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
        })
    }
}

/// Who left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Why nobody did.
    pub error_code: ErrorCode,
    /// The members.
    pub members: Vec<LeaveGroupResponseMember<'a>>,
}

impl Encode for LeaveGroupResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.array("members", &self.members);
    }
}

impl<'a> Decode<'a> for LeaveGroupResponse<'a> {
    const SMALLEST: usize = 4 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            members: reader.array("members")?,
        })
    }
}

/// A member that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupResponseMember<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// The id that the operator gave.
    pub group_instance_id: Option<&'a str>,
    /// Why it didn't.
    pub error_code: ErrorCode,
}

impl Encode for LeaveGroupResponseMember<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.error_code(self.error_code);
    }
}

impl<'a> Decode<'a> for LeaveGroupResponseMember<'a> {
    const SMALLEST: usize = 2 + 2 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            error_code: reader.error_code("error_code")?,
        })
    }
}
