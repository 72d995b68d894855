//! What real brokers said: requests that they took and their answers, kept in `golden/VERSION.hex`.
//!
//! A line is a frame in hex, after `>` for a request and `<` for its answer. `real_broker` says how they came
//! about and how to write them anew.

use super::samples::{MESSAGES, Message};
use sluicegate::kafka::protocol::{
    ApiKey, Decode, LARGEST_FRAME, Reader, ResponseHeader, Writer, frame_length, request_body,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whose words are kept: the oldest broker there is to be, and the newest.
pub const KEPT: [&str; 2] = [super::support::broker::OLDEST, super::support::broker::NEW];

/// A request and its answer, as they went over the wire.
pub struct Exchange {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// An exchange taken apart.
struct Bodies<'a> {
    api: ApiKey,
    request: &'a [u8],
    response: &'a [u8],
}

impl Exchange {
    fn bodies(&self) -> Bodies<'_> {
        let mut request = Reader::new(behind_length(&self.request));
        let (header, api) = request_body(&mut request).unwrap();
        let mut response = Reader::new(behind_length(&self.response));
        assert_eq!(ResponseHeader::decode(&mut response).unwrap().correlation_id, header.correlation_id);
        let api = api.expect("a version that is spoken");
        Bodies { api, request: request.remaining(), response: response.remaining() }
    }

    /// Both are read, and written as they were.
    pub fn check(&self) {
        let mut request = Reader::new(behind_length(&self.request));
        let (header, _) = request_body(&mut request).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        sluicegate::kafka::protocol::Encode::encode(&header, &mut writer);
        writer.finish().unwrap();
        assert_eq!([&out, request.remaining()].concat(), behind_length(&self.request));
        let Bodies { api, request, response } = self.bodies();
        for (name, body) in [(format!("{api}Request"), request), (format!("{api}Response"), response)] {
            let rewritten = (message(&name).rewrite)(body).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(rewritten, body, "{name}");
        }
    }
}

fn message(name: &str) -> &'static Message {
    MESSAGES.iter().find(|message| message.name == name).unwrap()
}

fn behind_length(frame: &[u8]) -> &[u8] {
    let (prefix, rest) = frame.split_first_chunk().unwrap();
    assert_eq!(frame_length(*prefix, LARGEST_FRAME), Ok(rest.len()));
    rest
}

fn file(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/golden").join(format!("{version}.hex"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Keeps what a broker of this version said.
pub fn keep(version: &str, exchanges: &[Exchange]) {
    let line =
        |Exchange { request, response }: &Exchange| format!("> {}\n< {}\n", hex(request), hex(response));
    std::fs::write(file(version), exchanges.iter().map(line).collect::<String>()).unwrap();
}

fn kept(version: &str) -> Vec<Exchange> {
    let text = std::fs::read_to_string(file(version)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let frame = |line: &str, mark| bytes(line.strip_prefix(mark).unwrap());
    lines
        .chunks(2)
        .map(|pair| Exchange { request: frame(pair[0], "> "), response: frame(pair[1], "< ") })
        .collect()
}

/// All of this message that brokers said or took, without their headers.
pub fn bodies(message: &Message) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for exchange in KEPT.into_iter().flat_map(kept) {
        let Bodies { api, request, response } = exchange.bodies();
        let body = if message.name.ends_with("Request") { request } else { response };
        found.extend((api == message.api).then(|| body.to_vec()));
    }
    found
}

#[test]
fn what_real_brokers_said_is_read_and_written_as_it_was() {
    for version in KEPT {
        let exchanges = kept(version);
        exchanges.iter().for_each(Exchange::check);
        let apis: BTreeSet<ApiKey> = exchanges.iter().map(|exchange| exchange.bodies().api).collect();
        assert_eq!(apis, BTreeSet::from(ApiKey::ALL), "{version}");
    }
}

#[test]
fn it_shows_what_it_should() {
    let all = |name: &str| -> String {
        let message = message(name);
        bodies(message).iter().map(|body| (message.show)(body).unwrap()).collect()
    };
    assert!(all("FetchResponse").contains("FetchResponseAbortedTransaction { producer_id: "));
    assert!(all("ProduceResponse").contains("batch_index_error_message: Some("));
    assert!(all("JoinGroupResponse").contains("members: [JoinGroupResponseMember { member_id: \"me-"));
    assert!(
        all("OffsetFetchResponse")
            .contains("committed_offset: 3, committed_leader_epoch: 0, metadata: Some(\"m\")")
    );
    assert!(all("DescribeGroupsResponse").contains("group_state: \"Stable\""));
    assert!(all("SaslHandshakeResponse").contains("ErrorCode(33), mechanisms: [\"PLAIN\"]"));
    assert!(all("SaslAuthenticateResponse").contains("session_lifetime_ms: 3600000"));
    assert!(all("SaslAuthenticateResponse").contains("error_code: ErrorCode(58), error_message: Some("));
}
