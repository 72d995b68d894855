//! `JoinGroup`: become a member of a group, or stay one through a rebalance.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// What a member brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// After how long without a heartbeat the member counts as gone, in milliseconds.
    pub session_timeout_ms: i32,
    /// For how long the group waits for this member in a rebalance, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The id that the coordinator gave; empty at first.
    pub member_id: &'a str,
    /// The id that the operator gave, if this is a static member (KIP-345).
    pub group_instance_id: Option<&'a str>,
    /// `consumer`.
    pub protocol_type: &'a str,
    /// The assignors this member knows, the preferred ones first.
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
}

impl Request for JoinGroupRequest<'_> {
    const API: ApiKey = ApiKey::JoinGroup;
    type Response<'r> = JoinGroupResponse<'r>;
}

impl Encode for JoinGroupRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.int32(self.session_timeout_ms);
        writer.int32(self.rebalance_timeout_ms);
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.string("protocol_type", self.protocol_type);
        writer.array("protocols", &self.protocols);
    }
}

impl<'a> Decode<'a> for JoinGroupRequest<'a> {
    const SMALLEST: usize = 2 + 4 + 4 + 2 + 2 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            group_id: reader.string("group_id")?,
            session_timeout_ms: reader.int32("session_timeout_ms")?,
            rebalance_timeout_ms: reader.int32("rebalance_timeout_ms")?,
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            protocol_type: reader.string("protocol_type")?,
            protocols: reader.array("protocols")?,
        })
    }
}

/// What a member says of itself to one assignor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequestProtocol<'a> {
    /// The assignor's name.
    pub name: &'a str,
    /// A subscription: see [`consumer_protocol`](super::consumer_protocol).
    pub metadata: &'a [u8],
}

impl Encode for JoinGroupRequestProtocol<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.bytes("metadata", self.metadata);
    }
}

impl<'a> Decode<'a> for JoinGroupRequestProtocol<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, metadata: reader.bytes("metadata")? })
    }
}

/// The new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Why this member isn't in it.
    pub error_code: ErrorCode,
    /// Its number.
    pub generation_id: i32,
    /// The assignor that all members know.
    pub protocol_name: &'a str,
    /// The id of the member that assigns.
    pub leader: &'a str,
    /// This member's id.
    pub member_id: &'a str,
    /// All members, for the leader; nobody, for the others.
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

impl Encode for JoinGroupResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.int32(self.generation_id);
        writer.string("protocol_name", self.protocol_name);
        writer.string("leader", self.leader);
        writer.string("member_id", self.member_id);
        writer.array("members", &self.members);
    }
}

impl<'a> Decode<'a> for JoinGroupResponse<'a> {
    const SMALLEST: usize = 4 + 2 + 4 + 2 + 2 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            generation_id: reader.int32("generation_id")?,
            protocol_name: reader.string("protocol_name")?,
            leader: reader.string("leader")?,
            member_id: reader.string("member_id")?,
            members: reader.array("members")?,
        })
    }
}

/// A member, for the leader's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponseMember<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// The id that its operator gave.
    pub group_instance_id: Option<&'a str>,
    /// Its subscription: see [`consumer_protocol`](super::consumer_protocol).
    pub metadata: &'a [u8],
}

impl Encode for JoinGroupResponseMember<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.bytes("metadata", self.metadata);
    }
}

impl<'a> Decode<'a> for JoinGroupResponseMember<'a> {
    const SMALLEST: usize = 2 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            metadata: reader.bytes("metadata")?,
        })
    }
}
