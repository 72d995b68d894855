//! Requests for the reference libraries: sent by the client, caught by a receiver, written down for
//! `tests/reference/run`, which lets the libraries of several languages verify them.

use crate::requests::{arrived, cloud_events, record, signer};
use crate::support::receiver::Request;
use sluicegate::text::{base64, json};
use sluicegate::webhook::request::RequestSettings;
use std::fmt::Write as _;
use std::path::PathBuf;

pub const CURRENT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const FORMER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PRIVATE: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

/// Beside cargo's own files for tests, where the script looks for it.
fn write(name: &str, lines: &str) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reference");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), lines).unwrap();
}

/// A request as a line of JSON, with `more` members.
fn line(request: &Request, more: &str) -> String {
    let mut headers = String::new();
    for (name, value) in &request.headers {
        let comma = if headers.is_empty() { "" } else { "," };
        write!(headers, "{comma}\"{}\":\"{}\"", json::escape(name), json::escape(value)).unwrap();
    }
    format!("{{\"headers\":{{{headers}}},\"body\":\"{}\",{more}}}\n", base64::encode(&request.body))
}

#[test]
fn signed_requests_are_written_for_the_reference_libraries() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = vec![b'x'; 1 << 20];
    let bodies: [Option<&[u8]>; 8] = [
        Some(br#"{"test": 2432232314}"#),
        Some("{\"name\":\"Zoë 😀\"}".as_bytes()),
        Some(b"plain text, not JSON"),
        Some(b""),
        None,
        Some(b"\x00\xff\x2e"),
        Some(&every_byte),
        Some(&long),
    ];
    let mut lines = String::new();
    for (name, secrets, public) in [
        ("one", &[CURRENT][..], false),
        ("two", &[CURRENT, FORMER], false),
        ("mixed", &[CURRENT, PRIVATE], true),
    ] {
        let settings = RequestSettings { signer: Some(signer(name, secrets)), ..RequestSettings::default() };
        let records: Vec<_> = bodies.iter().map(|body| record(Some(b"k"), *body, &[])).collect();
        let shared: Vec<String> =
            secrets.iter().filter(|s| s.starts_with("whsec_")).map(|s| format!("\"{s}\"")).collect();
        for request in arrived("/hook", settings, &records) {
            let text = std::str::from_utf8(&request.body).is_ok();
            let public = if public { format!("\"{PUBLIC}\"") } else { "null".into() };
            let more = format!("\"secrets\":[{}],\"text\":{text},\"public\":{public}", shared.join(","));
            lines.push_str(&line(&request, &more));
        }
    }
    assert_eq!(lines.lines().count(), 24);
    write("signed.jsonl", &lines);
}

#[test]
fn events_are_written_for_the_reference_libraries() {
    let binary: [(&str, &[u8]); 7] = [
        ("ce_id", b"1%20"),
        ("ce_source", b"/shop"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"order.placed"),
        ("ce_subject", "Euro € 😀 \"100%\"".as_bytes()),
        ("ce_time", b"2020-01-02T03:04:05Z"),
        ("content-type", b"application/json"),
    ];
    let structured = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","time":"2020-01-02T03:04:05Z","data":{"a":1}}"#;
    let kind: [(&str, &[u8]); 1] = [("content-type", b"application/cloudevents+json; charset=utf-8")];
    let records = [
        record(Some("Zoë 1%".as_bytes()), Some(b"{\"a\":1}"), &[]),
        record(None, Some(b"text"), &[("content-type", b"text/plain")]),
        record(None, Some(b"{\"a\":1}"), &binary),
        record(None, Some(structured.as_bytes()), &kind),
    ];
    let expected = [
        r#"{"specversion":"1.0","id":"or~ders-3-42-1700000000123","source":"kafka://broker:9092/or.ders","type":"order","time":"2023-11-14T22:13:20.123000+00:00","partitionkey":"Zoë 1%","datacontenttype":"application/json"}"#,
        r#"{"specversion":"1.0","id":"or~ders-3-42-1700000000123","source":"kafka://broker:9092/or.ders","type":"order","time":"2023-11-14T22:13:20.123000+00:00","datacontenttype":"text/plain"}"#,
        r#"{"specversion":"1.0","id":"1%20","source":"/shop","type":"order.placed","subject":"Euro € 😀 \"100%\"","time":"2020-01-02T03:04:05+00:00","datacontenttype":"application/json"}"#,
        r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","time":"2020-01-02T03:04:05+00:00"}"#,
    ];
    let data = [r#"{"a":1}"#, r#""text""#, r#"{"a":1}"#, r#"{"a":1}"#];
    let settings = RequestSettings { format: cloud_events(), ..RequestSettings::default() };
    let mut lines = String::new();
    for ((request, expected), data) in arrived("/", settings, &records).iter().zip(expected).zip(data) {
        lines.push_str(&line(request, &format!("\"attributes\":{expected},\"data\":{data}")));
    }
    assert_eq!(lines.lines().count(), 4);
    write("events.jsonl", &lines);
}
