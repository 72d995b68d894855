//! `SaslHandshake`: agree on a mechanism to authenticate by.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// The mechanism wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslHandshakeRequest<'a> {
    /// Its name.
    pub mechanism: &'a str,
}

impl Request for SaslHandshakeRequest<'_> {
    const API: ApiKey = ApiKey::SaslHandshake;
    type Response<'r> = SaslHandshakeResponse<'r>;
}

impl Encode for SaslHandshakeRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("mechanism", self.mechanism);
    }
}

impl<'a> Decode<'a> for SaslHandshakeRequest<'a> {
    const SMALLEST: usize = 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { mechanism: reader.string("mechanism")? })
    }
}

/// The broker's word on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslHandshakeResponse<'a> {
    /// Why it can't be.
    pub error_code: ErrorCode,
    /// Those that the broker has enabled.
    pub mechanisms: Vec<&'a str>,
}

impl Encode for SaslHandshakeResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.array("mechanisms", &self.mechanisms);
    }
}

impl<'a> Decode<'a> for SaslHandshakeResponse<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { error_code: reader.error_code("error_code")?, mechanisms: reader.array("mechanisms")? })
    }
}
