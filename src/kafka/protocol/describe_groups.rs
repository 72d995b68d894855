//! `DescribeGroups`: who is in a group and has which partitions.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks the groups' coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsRequest<'a> {
    /// The groups' names.
    pub groups: Vec<&'a str>,
    /// Whether to say what this user may do to each group.
    pub include_authorized_operations: bool,
}

impl Request for DescribeGroupsRequest<'_> {
    const API: ApiKey = ApiKey::DescribeGroups;
    type Response<'r> = DescribeGroupsResponse<'r>;
}

impl Encode for DescribeGroupsRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array("groups", &self.groups);
        writer.boolean(self.include_authorized_operations);
    }
}

impl<'a> Decode<'a> for DescribeGroupsRequest<'a> {
    const SMALLEST: usize = 4 + 1;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            groups: reader.array("groups")?,
            include_authorized_operations: reader.boolean("include_authorized_operations")?,
        })
    }
}

/// The groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The groups, in no order.
    pub groups: Vec<DescribeGroupsResponseGroup<'a>>,
}

impl Encode for DescribeGroupsResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("groups", &self.groups);
    }
}

impl<'a> Decode<'a> for DescribeGroupsResponse<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { throttle_time_ms: reader.int32("throttle_time_ms")?, groups: reader.array("groups")? })
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponseGroup<'a> {
    /// Why there is nothing to say of it.
    pub error_code: ErrorCode,
    /// Its name.
    pub group_id: &'a str,
    /// `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty` or `Dead`.
    pub group_state: &'a str,
    /// `consumer`, for consumers.
    pub protocol_type: &'a str,
    /// The assignor in use.
    pub protocol_data: &'a str,
    /// Its members.
    pub members: Vec<DescribeGroupsResponseMember<'a>>,
    /// What this user may do to it, a bit each; `i32::MIN` if not asked for.
    pub authorized_operations: i32,
}

impl Encode for DescribeGroupsResponseGroup<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.string("group_id", self.group_id);
        writer.string("group_state", self.group_state);
        writer.string("protocol_type", self.protocol_type);
        writer.string("protocol_data", self.protocol_data);
        writer.array("members", &self.members);
        writer.int32(self.authorized_operations);
    }
}

impl<'a> Decode<'a> for DescribeGroupsResponseGroup<'a> {
    const SMALLEST: usize = 2 + 2 + 2 + 2 + 2 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            error_code: reader.error_code("error_code")?,
            group_id: reader.string("group_id")?,
            group_state: reader.string("group_state")?,
            protocol_type: reader.string("protocol_type")?,
            protocol_data: reader.string("protocol_data")?,
            members: reader.array("members")?,
            authorized_operations: reader.int32("authorized_operations")?,
        })
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponseMember<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// The id that its operator gave.
    pub group_instance_id: Option<&'a str>,
    /// What it calls itself.
    pub client_id: &'a str,
    /// Where it is.
    pub client_host: &'a str,
    /// Its subscription: see [`consumer_protocol`](super::consumer_protocol).
    pub member_metadata: &'a [u8],
    /// Its assignment: see [`consumer_protocol`](super::consumer_protocol).
    pub member_assignment: &'a [u8],
}

impl Encode for DescribeGroupsResponseMember<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
        writer.string("client_id", self.client_id);
        writer.string("client_host", self.client_host);
        writer.bytes("member_metadata", self.member_metadata);
        writer.bytes("member_assignment", self.member_assignment);
    }
}

impl<'a> Decode<'a> for DescribeGroupsResponseMember<'a> {
    const SMALLEST: usize = 2 + 2 + 2 + 2 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
            client_id: reader.string("client_id")?,
            client_host: reader.string("client_host")?,
            member_metadata: reader.bytes("member_metadata")?,
            member_assignment: reader.bytes("member_assignment")?,
        })
    }
}
