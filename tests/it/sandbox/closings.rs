//! Connections that the sandbox closes: each with a line that says who was there and why it was let go.

use crate::sandbox::wire::{ask, connect, receive};
use crate::support::eventually;
use sluicegate::kafka::protocol::api_versions::ApiVersionsRequest;
use sluicegate::kafka::protocol::heartbeat::HeartbeatRequest;
use sluicegate::kafka::protocol::{ApiKey, ErrorCode, frame};
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::kafka::sandbox::{Report, Sandbox, SandboxSettings};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

struct Reporting {
    sandbox: Sandbox,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reporting {
    fn start() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let report = Report::new(move |line| kept.lock().unwrap().push(line.to_owned()));
        Self {
            sandbox: Sandbox::start(SandboxSettings { report, ..SandboxSettings::default() }).unwrap(),
            lines,
        }
    }

    /// Sends this, is closed, and gives the line about it.
    fn closed(&self, mut socket: TcpStream, bytes: &[u8]) -> String {
        let before = self.lines.lock().unwrap().len();
        socket.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // However it ends, nothing comes. It may have been closed already, with an error for whoever closes next.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut rest);
        assert_eq!(rest, []);
        eventually("a line", || self.lines.lock().unwrap().len() > before);
        self.lines.lock().unwrap()[before].clone()
    }
}

/// A request without a body.
fn request(api: i16, version: i16) -> Vec<u8> {
    let [a, b] = api.to_be_bytes();
    let [c, d] = version.to_be_bytes();
    vec![0, 0, 0, 10, a, b, c, d, 0, 0, 0, 7, 0, 0]
}

#[test]
fn who_asks_for_what_is_not_spoken_is_named_with_it() {
    let with = Reporting::start();
    let mut socket = connect(&with.sandbox);
    let hello = ApiVersionsRequest { client_software_name: "some-client", client_software_version: "1.2" };
    let mut out = Vec::new();
    frame(&hello, 4, 7, "billing-app", &mut out).unwrap();
    socket.write_all(&out).unwrap();
    receive(&socket);
    let mut old = Vec::new();
    frame(&HeartbeatRequest::default(), 3, 8, "billing-app", &mut old).unwrap();
    old[4..8].copy_from_slice(&[0, 1, 0, 3]);
    let line = with.closed(socket, &old);
    assert!(line.contains("client \"billing-app\" (some-client 1.2) at 127.0.0.1:"), "{line}");
    assert!(line.contains("Fetch (1) version 3, of which versions 4 to 18 are spoken"), "{line}");
}

#[test]
fn no_connection_is_closed_without_a_line() {
    let with = Reporting::start();
    let heartbeat = request(12, 3);
    for (bytes, said) in [
        (&request(30, 1)[..], "CreateAcls (30) version 1, which the sandbox doesn't have"),
        (&request(17, 1), "SaslHandshake (17) version 1, and the sandbox knows no users"),
        (&request(999, 0), "the API 999, version 0"),
        (&heartbeat, "its Heartbeat version 3 can't be read"),
        (&[0, 0, 0, 3, 0, 12, 0], "the header of its request can't be read"),
        (&[0, 0, 0, 9, 0, 12], "its request ended after 2 of 9 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP"),
        (&[22, 3, 1, 0, 200, 1, 0], "it speaks TLS"),
        (&[0x7f, 0, 0, 0], "claims 2130706432 bytes"),
    ] {
        let line = with.closed(connect(&with.sandbox), bytes);
        assert!(line.contains(said), "{line}");
    }
    with.sandbox.faults().inject(ApiKey::Heartbeat, Fault::Drop, 1);
    let mut whole = Vec::new();
    frame(&HeartbeatRequest::default(), 4, 1, "me", &mut whole).unwrap();
    let line = with.closed(connect(&with.sandbox), &whole);
    assert!(line.contains("client \"me\"") && line.contains("asked to misbehave: Drop"), "{line}");
}

#[test]
fn whoever_goes_by_itself_is_not_worth_a_line() {
    let with = Reporting::start();
    for _ in 0..3 {
        ask(&with.sandbox, 4, &HeartbeatRequest { group_id: "g", ..Default::default() }, |response| {
            assert_eq!(response.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
        });
    }
    // The line about this one is the first.
    assert!(with.closed(connect(&with.sandbox), &request(30, 1)).contains("CreateAcls"));
    assert_eq!(with.lines.lock().unwrap().len(), 1);
}

#[test]
fn a_version_of_api_versions_that_is_not_spoken_is_answered() {
    let with = Reporting::start();
    let mut socket = connect(&with.sandbox);
    socket.write_all(&request(18, 99)).unwrap();
    // Correlation id, then the error, in version 0.
    assert_eq!(receive(&socket)[..6], [0, 0, 0, 7, 0, 35]);
}

#[test]
fn the_versions_that_are_offered_are_those_that_can_be_read() {
    let with = Reporting::start();
    let request = ApiVersionsRequest { client_software_name: "me", client_software_version: "1" };
    let offered = ask(&with.sandbox, 4, &request, |response| response.api_keys);
    for key in &offered {
        let api = ApiKey::from_i16(key.api_key).unwrap();
        // Kafka itself offers versions of this one that it can't read, for librdkafka's sake.
        let lowest = if api == ApiKey::Produce { 0 } else { *api.versions().start() };
        assert_eq!((key.min_version, key.max_version), (lowest, *api.versions().end()), "{api}");
    }
    let sasl = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    assert_eq!(offered.len(), ApiKey::ALL.len() - sasl.len());
}

#[test]
fn bytes_behind_a_request_are_passed_over_as_kafka_does() {
    let with = Reporting::start();
    let mut out = Vec::new();
    frame(&HeartbeatRequest { group_id: "g", ..Default::default() }, 4, 7, "me", &mut out).unwrap();
    out.extend([0, 0, 1]);
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    let mut socket = connect(&with.sandbox);
    socket.write_all(&out).unwrap();
    assert_eq!(receive(&socket)[..4], [0, 0, 0, 7]);
}
