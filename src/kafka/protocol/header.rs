//! The frame of a message: a length, and a header that matches a response to its request.

use super::api_key::ApiKey;
use super::describe::describe;
use super::error_code::ErrorCode;
use super::format::Format;
use super::reader::{DecodeError, Problem, Reader};
use super::writer::{EncodeError, Writer};
use super::{Encode, Request};

/// The maximum size of a frame in bytes, on either side. A fetch response may exceed the requested size by one batch
/// (KIP-74), so this is well above any requested size.
pub const LARGEST_FRAME: usize = 128 * 1024 * 1024;

describe! {
    /// The header of a request, in version 1. In version 2, that of flexible requests, tagged fields follow, while
    /// the client's name keeps its length of two bytes.
    pub struct RequestHeader<'a> {
        api_key: i16 => 0..; "Which API is called; a broker meets numbers that no [`ApiKey`] has."
        api_version: i16 => 0..; "In which of its versions."
        correlation_id: i32 => 0..; "The number that the answer will carry."
        client_id: Option<&'a str> => 0..; "What the client calls itself."
    }
}

impl RequestHeader<'_> {
    /// Writes the header, after which the writer stands before the body, in its version. A number that is no
    /// [`ApiKey`] counts as not flexible.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.write("header", self);
        let api = ApiKey::from_i16(self.api_key);
        let format = api.map_or(Format::FIRST, |api| api.format(self.api_version));
        if format.flexible {
            writer.uvarint(0);
        }
        writer.set_format(format);
    }
}

/// Reads the header of a request and, if its version is one spoken here, which API it calls. The reader then stands
/// before the body, in its version.
pub fn request_body<'a>(reader: &mut Reader<'a>) -> Result<(RequestHeader<'a>, Option<ApiKey>), DecodeError> {
    let header: RequestHeader<'_> = reader.read("header")?;
    let api = ApiKey::from_i16(header.api_key).filter(|api| api.versions().contains(&header.api_version));
    if let Some(api) = api {
        reader.set_format(api.format(header.api_version));
        reader.tags(|_, _| Ok(false))?;
    }
    Ok((header, api))
}

/// Reads the header of a response; the reader then stands before the body, in its version.
pub fn response_body(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.read("correlation_id")?;
    reader.set_format(api.format(version));
    // Who asks for versions doesn't know yet how the answer is encoded, so its header never changes; and one that
    // refuses the version is in version 0 (KIP-511).
    if api != ApiKey::ApiVersions {
        reader.tags(|_, _| Ok(false))?;
    } else if reader.remaining().starts_with(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes()) {
        reader.set_format(api.format(0));
    }
    Ok(correlation_id)
}

/// Appends a request as it goes over the wire: length, header, body. On an error `out` is what it was.
pub fn frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    let (api_key, client_id) = (R::API.number(), Some(client_id));
    RequestHeader { api_key, api_version: version, correlation_id, client_id }.write(&mut writer);
    match request.reshaped(version) {
        Some(request) => writer.write("request", &request),
        None => writer.write("request", request),
    }
    writer.finish_with_length()
}

/// Appends a response as it goes over the wire: length, header, body. On an error `out` is what it was.
pub fn frame_response<R: Encode>(
    response: &R,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    writer.write("correlation_id", &correlation_id);
    writer.set_format(api.format(version));
    if writer.format().flexible && api != ApiKey::ApiVersions {
        writer.uvarint(0);
    }
    writer.write("response", response);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};

    #[test]
    fn a_request_is_framed_by_its_length_and_header() {
        let request =
            HeartbeatRequest { group_id: "g", generation_id: 3, member_id: "m", ..Default::default() };
        for (version, length) in [(3, 24), (4, 23)] {
            let mut out = Vec::new();
            frame(&request, version, 7, "me", &mut out).unwrap();
            assert_eq!(frame_length(*out.first_chunk().unwrap(), LARGEST_FRAME), Ok(length));
            let mut reader = Reader::new(&out[4..]);
            let (header, api) = request_body(&mut reader).unwrap();
            assert_eq!(api, Some(ApiKey::Heartbeat));
            assert_eq!((header.correlation_id, header.client_id), (7, Some("me")));
            assert_eq!(reader.whole(), Ok(request.clone()));
        }
    }

    #[test]
    fn only_the_header_of_a_flexible_response_has_tagged_fields() {
        let response = HeartbeatResponse::default();
        for (api, version, length) in
            [(ApiKey::Heartbeat, 3, 10), (ApiKey::Heartbeat, 4, 12), (ApiKey::ApiVersions, 3, 11)]
        {
            let mut out = Vec::new();
            frame_response(&response, api, version, 7, &mut out).unwrap();
            assert_eq!(out.len() - 4, length);
            let mut reader = Reader::new(&out[4..]);
            assert_eq!(response_body(&mut reader, api, version), Ok(7));
            assert_eq!(reader.whole(), Ok(response.clone()));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        assert_eq!(frame_length([0, 0, 0, 9], 9), Ok(9));
        for prefix in [[0, 0, 0, 10], [0xff; 4], [0x7f, 0xff, 0xff, 0xff]] {
            assert!(frame_length(prefix, 9).is_err());
        }
    }
}
