//! What real brokers said: requests that they took and their answers, kept in `golden/VERSION.hex`.
//!
//! A line is a frame in hex, after `>` for a request and `<` for its answer. `real_broker` says how they came
//! about and how to write them anew.

use super::messages::{MESSAGES, Message};
use sluicegate::kafka::connection::Versions;
use sluicegate::kafka::protocol::api_versions::ApiVersionsResponse;
use sluicegate::kafka::protocol::{
    ApiKey, Format, LARGEST_FRAME, Reader, Writer, frame_length, request_body, response_body,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whose words are kept: the oldest broker there is to be, and the newest.
pub const KEPT: [&str; 2] = [crate::support::broker::OLDEST, crate::support::broker::NEW];

/// A request and its answer, as they went over the wire.
pub struct Exchange {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// An exchange taken apart.
struct Bodies<'a> {
    api: ApiKey,
    version: i16,
    request: &'a [u8],
    response: &'a [u8],
    /// A refusal of a version is in the first one.
    answered: Format,
}

impl Exchange {
    fn bodies(&self) -> Bodies<'_> {
        let mut request = Reader::new(behind_length(&self.request));
        let (header, api) = request_body(&mut request).unwrap();
        let (api, version) = (api.expect("a version that is spoken"), header.api_version);
        let mut response = Reader::new(behind_length(&self.response));
        assert_eq!(response_body(&mut response, api, version), Ok(header.correlation_id));
        let answered = response.format();
        Bodies { api, version, request: request.remaining(), response: response.remaining(), answered }
    }

    /// What was asked, in which version.
    pub fn asked(&self) -> (ApiKey, i16) {
        let Bodies { api, version, .. } = self.bodies();
        (api, version)
    }

    /// Both are read, and written as they were.
    pub fn check(&self) {
        let mut request = Reader::new(behind_length(&self.request));
        let (header, _) = request_body(&mut request).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        header.write(&mut writer);
        writer.finish().unwrap();
        assert_eq!([&out, request.remaining()].concat(), behind_length(&self.request));
        let Bodies { api, version, request, response, answered } = self.bodies();
        for (kind, body, format) in
            [("Request", request, api.format(version)), ("Response", response, answered)]
        {
            let name = format!("{api}{kind}");
            let rewritten = message(&name).rewrite(body, format);
            assert_eq!(rewritten.as_deref(), Ok(body), "{name} {version}");
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/protocol/golden").join(format!("{version}.hex"))
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

/// All of this message in this version that brokers said or took, without their headers.
pub fn bodies(message: &Message, version: i16) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for exchange in KEPT.into_iter().flat_map(kept) {
        let Bodies { api, version: spoken, request, response, answered } = exchange.bodies();
        let is_request = message.name.ends_with("Request");
        let is_it = api == message.api && spoken == version && (is_request || answered.version == version);
        found.extend(is_it.then(|| if is_request { request.to_vec() } else { response.to_vec() }));
    }
    found
}

#[test]
fn what_real_brokers_said_is_read_and_written_as_it_was() {
    let mut asked = BTreeSet::new();
    for version in KEPT {
        let exchanges = kept(version);
        exchanges.iter().for_each(Exchange::check);
        asked.extend(exchanges.iter().map(Exchange::asked));
    }
    let all = ApiKey::ALL.iter().flat_map(|api| api.versions().map(|version| (*api, version)));
    assert_eq!(all.filter(|one| !asked.contains(one)).collect::<Vec<_>>(), []);
}

/// The versions in which our client calls a broker that said this.
fn used(kafka: &str) -> Vec<i16> {
    let exchanges = kept(kafka);
    let said = exchanges.iter().map(Exchange::bodies).find(|said| said.api == ApiKey::ApiVersions).unwrap();
    let answer: ApiVersionsResponse<'_> = Reader::of(said.response, said.answered).whole().unwrap();
    let versions = Versions::new(answer.api_keys);
    ApiKey::ALL.iter().map(|api| versions.negotiated(*api).unwrap_or(-1)).collect()
}

#[test]
fn the_highest_versions_are_used_that_a_real_broker_speaks() {
    // In the order of their numbers: Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch,
    // FindCoordinator, JoinGroup, Heartbeat, LeaveGroup, SyncGroup, DescribeGroups, ListGroups, SaslHandshake,
    // ApiVersions, CreateTopics, DeleteTopics, InitProducerId, OffsetForLeaderEpoch, DescribeConfigs,
    // SaslAuthenticate, CreatePartitions.
    assert_eq!(used(KEPT[0]), [9, 12, 6, 11, 8, 7, 3, 7, 4, 4, 5, 5, 4, 1, 3, 7, 6, 4, 4, 4, 2, 3]);
    assert_eq!(used(KEPT[1]), [13, 18, 11, 13, 10, 10, 6, 9, 4, 5, 5, 6, 5, 1, 4, 7, 6, 5, 4, 4, 2, 3]);
}

#[test]
fn it_shows_what_it_should() {
    let all = |name: &str| -> String {
        let message = message(name);
        let all = message.formats().flat_map(|format| {
            let bodies = bodies(message, format.version).into_iter();
            bodies.map(move |body| (message.show)(&body, format).unwrap())
        });
        all.collect()
    };
    assert!(all("FetchResponse").contains("FetchResponseAbortedTransaction { producer_id: "));
    assert!(all("ProduceResponse").contains("batch_index_error_message: Some("));
    assert!(all("JoinGroupResponse").contains("members: [JoinGroupResponseMember { member_id: \"me-"));
    assert!(
        all("OffsetFetchResponse")
            .contains("committed_offset: 3, committed_leader_epoch: 0, metadata: Some(\"m\")")
    );
    assert!(all("ListGroupsResponse").contains("group_state: \"Stable\", group_type: \"classic\""));
    assert!(all("CreateTopicsResponse").contains("name: \"retention.ms\", value: Some(\"1000\")"));
    assert!(all("DescribeGroupsResponse").contains("group_state: \"Stable\""));
    assert!(all("SaslHandshakeResponse").contains("ErrorCode(33), mechanisms: [\"PLAIN\"]"));
    assert!(all("SaslAuthenticateResponse").contains("session_lifetime_ms: 3600000"));
    assert!(all("SaslAuthenticateResponse").contains("error_code: ErrorCode(58), error_message: Some("));
}
