//! `ApiVersions`: which APIs a broker speaks, in which versions. The first thing asked on a connection.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks; it has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsRequest;

impl Request for ApiVersionsRequest {
    const API: ApiKey = ApiKey::ApiVersions;
    type Response<'r> = ApiVersionsResponse;
}

impl Encode for ApiVersionsRequest {
    fn encode(&self, _: &mut Writer<'_>) {}
}

impl Decode<'_> for ApiVersionsRequest {
    const SMALLEST: usize = 0;

    fn decode(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// What a broker speaks.
///
/// One that doesn't speak this version of `ApiVersions` says so in version 0 (KIP-511), which ends before the
/// throttle time; so this is both read and written like that where the error code is
/// [`ErrorCode::UNSUPPORTED_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// Why there is nothing to say.
    pub error_code: ErrorCode,
    /// The APIs.
    pub api_keys: Vec<ApiVersionsResponseKey>,
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
}

impl Encode for ApiVersionsResponse {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.array("api_keys", &self.api_keys);
        if self.error_code != ErrorCode::UNSUPPORTED_VERSION {
            writer.int32(self.throttle_time_ms);
        }
    }
}

impl Decode<'_> for ApiVersionsResponse {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let error_code = reader.error_code("error_code")?;
        let api_keys = reader.array("api_keys")?;
        let throttle_time_ms = match error_code {
            ErrorCode::UNSUPPORTED_VERSION => 0,
            _ => reader.int32("throttle_time_ms")?,
        };
        Ok(Self { error_code, api_keys, throttle_time_ms })
    }
}

/// The versions of one API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsResponseKey {
    /// The API's number; many have no [`ApiKey`].
    pub api_key: i16,
    /// The lowest.
    pub min_version: i16,
    /// The highest.
    pub max_version: i16,
}

impl Encode for ApiVersionsResponseKey {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int16(self.api_key);
        writer.int16(self.min_version);
        writer.int16(self.max_version);
    }
}

impl Decode<'_> for ApiVersionsResponseKey {
    const SMALLEST: usize = 2 + 2 + 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            api_key: reader.int16("api_key")?,
            min_version: reader.int16("min_version")?,
            max_version: reader.int16("max_version")?,
        })
    }
}
