//! What surrounds each message: a length, and a header that ties the answer to its request.

use super::Request;
use super::api_key::ApiKey;
use super::reader::{Decode, DecodeError, Problem, Reader};
use super::writer::{Encode, EncodeError, Writer};

/// A frame of more bytes than this is refused by either side. A fetch answer may exceed the bytes asked for by
/// one batch (KIP-74), so this is well above what anybody asks for.
pub const LARGEST_FRAME: usize = 128 * 1024 * 1024;

/// The header of a request, in version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API is called; a broker meets numbers that no [`ApiKey`] has.
    pub api_key: i16,
    /// In which of its versions.
    pub api_version: i16,
    /// The number that the answer will carry.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
}

impl Encode for RequestHeader<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int16(self.api_key);
        writer.int16(self.api_version);
        writer.int32(self.correlation_id);
        writer.nullable_string("client_id", self.client_id);
    }
}

impl<'a> Decode<'a> for RequestHeader<'a> {
    const SMALLEST: usize = 2 + 2 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            api_key: reader.int16("api_key")?,
            api_version: reader.int16("api_version")?,
            correlation_id: reader.int32("correlation_id")?,
            client_id: reader.nullable_string("client_id")?,
        })
    }
}

/// The header of a response, in version 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The number that the request carried.
    pub correlation_id: i32,
}

impl Encode for ResponseHeader {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.correlation_id);
    }
}

impl Decode<'_> for ResponseHeader {
    const SMALLEST: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { correlation_id: reader.int32("correlation_id")? })
    }
}

/// Appends a request as it goes over the wire: length, header, body. On an error `out` is what it was.
pub fn frame<R: Request>(
    request: &R,
    correlation_id: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (api_key, api_version) = (R::API.number(), R::API.version());
    let mut writer = Writer::new(out);
    RequestHeader { api_key, api_version, correlation_id, client_id: Some(client_id) }.encode(&mut writer);
    request.encode(&mut writer);
    writer.finish_with_length()
}

/// Appends a response as it goes over the wire: length, header, body. On an error `out` is what it was.
pub fn frame_response<R: Encode>(
    response: &R,
    correlation_id: i32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    ResponseHeader { correlation_id }.encode(&mut writer);
    response.encode(&mut writer);
    writer.finish_with_length()
}

/// How many bytes follow the prefix of a frame: at most `most`.
pub fn frame_length(prefix: [u8; 4], most: usize) -> Result<usize, DecodeError> {
    let claimed = i32::from_be_bytes(prefix);
    usize::try_from(claimed).ok().filter(|length| *length <= most).ok_or(DecodeError {
        field: "frame length",
        position: 0,
        problem: Problem::FrameLength(claimed),
    })
}

/// Reads the header of a request and, as far as it is one in a version spoken here, which API it calls. The
/// reader then stands before the body.
pub fn request_body<'a>(reader: &mut Reader<'a>) -> Result<(RequestHeader<'a>, Option<ApiKey>), DecodeError> {
    let header = RequestHeader::decode(reader)?;
    let api = ApiKey::from_i16(header.api_key).filter(|api| api.version() == header.api_version);
    Ok((header, api))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::protocol::heartbeat::HeartbeatRequest;

    #[test]
    fn a_request_is_framed_by_its_length_and_header() {
        let request =
            HeartbeatRequest { group_id: "g", generation_id: 3, member_id: "m", group_instance_id: None };
        let mut out = Vec::new();
        frame(&request, 7, "me", &mut out).unwrap();
        assert_eq!(frame_length(*out.first_chunk().unwrap(), LARGEST_FRAME), Ok(out.len() - 4));
        let mut reader = Reader::new(&out[4..]);
        let (header, api) = request_body(&mut reader).unwrap();
        assert_eq!(api, Some(ApiKey::Heartbeat));
        assert_eq!((header.correlation_id, header.client_id), (7, Some("me")));
        assert_eq!(reader.whole(), Ok(request));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        assert_eq!(frame_length([0, 0, 0, 9], 9), Ok(9));
        for prefix in [[0, 0, 0, 10], [0xff; 4], [0x7f, 0xff, 0xff, 0xff]] {
            assert!(frame_length(prefix, 9).is_err());
        }
    }
}
