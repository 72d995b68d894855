//! `Heartbeat`: a member says that it lives, and hears whether its generation still stands.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Who lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest<'a> {
    /// The group's name.
    pub group_id: &'a str,
    /// The generation it is a member of.
    pub generation_id: i32,
    /// The member's id.
    pub member_id: &'a str,
    /// The id that the operator gave.
    pub group_instance_id: Option<&'a str>,
}

impl Request for HeartbeatRequest<'_> {
    const API: ApiKey = ApiKey::Heartbeat;
    type Response<'r> = HeartbeatResponse;
}

impl Encode for HeartbeatRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("group_id", self.group_id);
        writer.int32(self.generation_id);
        writer.string("member_id", self.member_id);
        writer.nullable_string("group_instance_id", self.group_instance_id);
    }
}

impl<'a> Decode<'a> for HeartbeatRequest<'a> {
    const SMALLEST: usize = 2 + 4 + 2 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            group_id: reader.string("group_id")?,
            generation_id: reader.int32("generation_id")?,
            member_id: reader.string("member_id")?,
            group_instance_id: reader.nullable_string("group_instance_id")?,
        })
    }
}

/// What the coordinator makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatResponse {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// [`ErrorCode::REBALANCE_IN_PROGRESS`] asks to join again.
    pub error_code: ErrorCode,
}

impl Encode for HeartbeatResponse {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
    }
}

impl Decode<'_> for HeartbeatResponse {
    const SMALLEST: usize = 4 + 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
        })
    }
}
