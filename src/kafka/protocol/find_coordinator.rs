//! `FindCoordinator`: which broker looks after a group.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks any broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorRequest<'a> {
    /// The group's name.
    pub key: &'a str,
    /// 0 for a group, 1 for a transactional id.
    pub key_type: i8,
}

impl Request for FindCoordinatorRequest<'_> {
    const API: ApiKey = ApiKey::FindCoordinator;
    type Response<'r> = FindCoordinatorResponse<'r>;
}

impl Encode for FindCoordinatorRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("key", self.key);
        writer.int8(self.key_type);
    }
}

impl<'a> Decode<'a> for FindCoordinatorRequest<'a> {
    const SMALLEST: usize = 2 + 1;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { key: reader.string("key")?, key_type: reader.int8("key_type")? })
    }
}

/// The coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Why there is none.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// The coordinator's number.
    pub node_id: i32,
    /// Where it says that clients reach it.
    pub host: &'a str,
    /// Its port there.
    pub port: i32,
}

impl Encode for FindCoordinatorResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.nullable_string("error_message", self.error_message);
        writer.int32(self.node_id);
        writer.string("host", self.host);
        writer.int32(self.port);
    }
}

impl<'a> Decode<'a> for FindCoordinatorResponse<'a> {
    const SMALLEST: usize = 4 + 2 + 2 + 4 + 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            error_message: reader.nullable_string("error_message")?,
            node_id: reader.int32("node_id")?,
            host: reader.string("host")?,
            port: reader.int32("port")?,
        })
    }
}
