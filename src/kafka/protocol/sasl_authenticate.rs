//! `SaslAuthenticate`: one step of a SASL exchange. Its bytes may be a password, so `Debug` shows only how many
//! there are.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};
use std::fmt;

/// Stands for bytes that nobody is to see.
struct Hidden<'a>(&'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// What the client says.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticateRequest<'a> {
    /// In the mechanism's own form.
    pub auth_bytes: &'a [u8],
}

impl fmt::Debug for SaslAuthenticateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAuthenticateRequest").field("auth_bytes", &Hidden(self.auth_bytes)).finish()
    }
}

impl Request for SaslAuthenticateRequest<'_> {
    const API: ApiKey = ApiKey::SaslAuthenticate;
    type Response<'r> = SaslAuthenticateResponse<'r>;
}

impl Encode for SaslAuthenticateRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes("auth_bytes", self.auth_bytes);
    }
}

impl<'a> Decode<'a> for SaslAuthenticateRequest<'a> {
    const SMALLEST: usize = 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { auth_bytes: reader.bytes("auth_bytes")? })
    }
}

/// What the broker says.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticateResponse<'a> {
    /// Why it doesn't accept.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// In the mechanism's own form.
    pub auth_bytes: &'a [u8],
    /// After how long to authenticate again, in milliseconds (KIP-368); 0 for never.
    pub session_lifetime_ms: i64,
}

impl fmt::Debug for SaslAuthenticateResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAuthenticateResponse")
            .field("error_code", &self.error_code)
            .field("error_message", &self.error_message)
            .field("auth_bytes", &Hidden(self.auth_bytes))
            .field("session_lifetime_ms", &self.session_lifetime_ms)
            .finish()
    }
}

impl Encode for SaslAuthenticateResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.nullable_string("error_message", self.error_message);
        writer.bytes("auth_bytes", self.auth_bytes);
        writer.int64(self.session_lifetime_ms);
    }
}

impl<'a> Decode<'a> for SaslAuthenticateResponse<'a> {
    const SMALLEST: usize = 2 + 2 + 4 + 8;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            error_code: reader.error_code("error_code")?,
            error_message: reader.nullable_string("error_message")?,
            auth_bytes: reader.bytes("auth_bytes")?,
            session_lifetime_ms: reader.int64("session_lifetime_ms")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let request = SaslAuthenticateRequest { auth_bytes: b"\0alice\0secret" };
        assert_eq!(format!("{request:?}"), "SaslAuthenticateRequest { auth_bytes: [13 bytes] }");
        let response = SaslAuthenticateResponse {
            error_code: ErrorCode::NONE,
            error_message: None,
            auth_bytes: b"secret",
            session_lifetime_ms: 0,
        };
        assert!(!format!("{response:?}").contains("115"));
    }
}
