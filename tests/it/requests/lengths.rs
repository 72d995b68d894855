//! Records that would make a request longer than servers take: what goes, what is left out, and what is refused.

use crate::requests::{Scratch, arrived, record};
use crate::support::binary;
use crate::support::receiver::{Receiver, Request};
use sluicegate::relay::transport::{Attempt, SendErrorKind, Transport};
use sluicegate::webhook::request::{HeaderField, LONGEST_TARGET, RequestSettings, forwardable};

/// Sends lines of key and value by the binary; what arrived, and what it said.
fn sent(name: &str, lines: &str, path: &str, more: &[&str]) -> (Vec<Request>, binary::Ended) {
    let file = Scratch::new(name, lines);
    let receiver = Receiver::accepting();
    let url = format!("http://{}{path}", receiver.address);
    let usual = ["send", file.path(), "--url", &url, "--key-separator", "tab", "--max-concurrency", "1"];
    let ended = binary::run(&[&usual[..], more].concat());
    let _ = std::fs::remove_file(format!("{}.replayed", file.path()));
    (receiver.handled().into_iter().map(|handled| handled.request).collect(), ended)
}

#[test]
fn a_key_that_no_server_takes_is_left_out_and_told_once() {
    let long = "k".repeat(70_000);
    let wide = " ".repeat(1_400);
    let (requests, ended) = sent("long-key", &format!("{long}\t1\n{wide}\t2\n{long}\t3\nk\t4\n"), "/", &[]);
    let ended = ended.expect(0).saying("offset 1: its key of 70000 bytes is too long for a header");
    assert_eq!(ended.stderr.matches("too long").count(), 1, "{}", ended.stderr);
    let omitted: Vec<_> = requests.iter().map(|request| request.header("kafka-key-omitted")).collect();
    // 1,400 spaces are 4,200 bytes on the wire.
    assert_eq!(omitted, [Some("70000"), Some("1400"), Some("70000"), None]);
    let keys: Vec<_> = requests.iter().map(|request| request.header("kafka-key")).collect();
    assert_eq!(keys, [None, None, None, Some("k")]);
}

#[test]
fn the_bound_of_a_key_is_a_flag() {
    let lines = format!("{}\t1\n{}\t2\n", "k".repeat(9_000), "k".repeat(9_001));
    let (requests, ended) = sent("key-flag", &lines, "/", &["--max-key-header", "9000"]);
    ended.expect(0);
    assert_eq!(requests[0].header("kafka-key").map(str::len), Some(9_000));
    assert_eq!(requests[1].header("kafka-key-omitted"), Some("9001"));
}

#[test]
fn the_headers_of_kafka_can_be_left_out() {
    let (requests, ended) = sent("no-headers", "k\t1\n", "/", &["--no-kafka-headers"]);
    ended.expect(0);
    assert!(requests[0].headers.iter().all(|(name, _)| !name.starts_with("kafka-")), "{:?}", requests[0]);
    assert!(requests[0].header("webhook-id").is_some());
}

#[test]
fn a_record_whose_path_or_header_would_be_too_long_is_refused_and_the_others_go() {
    let long = "k".repeat(LONGEST_TARGET + 1);
    for (name, path, more, what) in [
        (
            "long-path",
            "/hook/{key}",
            &["--max-attempts", "9"][..],
            "the URL's path and query would have 8007 bytes",
        ),
        ("long-query", "/?key={key}", &[], "the URL's path and query would have 8007 bytes"),
        ("long-header", "/", &["--header", "X-Key: {key} {key}"], "the header X-Key would have 16010 bytes"),
    ] {
        let letters = Scratch::new(name, "");
        std::fs::remove_file(&letters.0).unwrap();
        let lines = format!("a\t1\n{long}\t2\nb\t3\n");
        let dead = [more, &["--dead-letter", letters.path()]].concat();
        let (requests, ended) = sent(name, &lines, path, &dead);
        ended.expect(0);
        let bodies: Vec<&str> = requests.iter().map(Request::text).collect();
        assert_eq!(bodies, ["1", "3"], "{name}");
        let letter = std::fs::read_to_string(&letters.0).unwrap();
        assert!(
            letter.contains(what) && letter.contains("\"attempts\":1"),
            "{name}: {}",
            &letter[letter.len() - 600..]
        );
        // Without dead letters the run ends there, and says why.
        let (requests, ended) = sent(name, &lines, path, more);
        ended.expect(3).saying(what);
        assert_eq!(requests.len(), 1, "{name}");
    }
}

#[test]
fn an_event_whose_attributes_are_too_long_is_refused() {
    let long = vec![b'x'; 9_000];
    let event = [("ce_id", &b"1"[..]), ("ce_source", b"/s"), ("ce_specversion", b"1.0"), ("ce_type", b"t")];
    let record = record(None, None, &[&event[..], &[("ce_subject", &long)]].concat());
    let receiver = Receiver::accepting();
    let settings = RequestSettings { format: crate::requests::cloud_events(), ..RequestSettings::default() };
    let error = crate::requests::sender(&receiver, "/", settings).send(&record, Attempt::FIRST).unwrap_err();
    assert_eq!((error.kind, receiver.begun()), (SendErrorKind::Unsendable, 0));
    assert!(error.text.contains("the header ce-subject would have 9012 bytes"), "{error}");
}

#[test]
fn what_the_operator_sets_is_not_bounded() {
    let value = "x".repeat(20_000);
    let headers = vec![HeaderField::parse(&format!("X-Token: {value}")).unwrap()];
    let path = format!("/{value}");
    let arrived =
        arrived(&path, RequestSettings { headers, ..RequestSettings::default() }, &[record(None, None, &[])]);
    assert_eq!(arrived[0].header("x-token").map(str::len), Some(20_000));
}

#[test]
fn a_header_that_no_line_can_hold_arrives_as_base64() {
    let settings = RequestSettings {
        forward: ["x-count", "x-name"].map(|name| forwardable(name).unwrap()).to_vec(),
        ..RequestSettings::default()
    };
    let count = 1u64.to_be_bytes();
    let record = record(None, None, &[("x-count", &count), ("x-name", b" n\n"), ("x-name", b"n")]);
    let arrived = arrived("/", settings, &[record]);
    assert_eq!(arrived[0].header("x-count-base64"), Some("AAAAAAAAAAE="));
    assert_eq!(arrived[0].header("x-name-base64"), Some("IG4K"));
    assert_eq!((arrived[0].header("x-name"), arrived[0].header("x-count")), (Some("n"), None));
}

#[test]
fn a_pattern_of_header_names_is_refused_at_the_start() {
    let ended = binary::run(&["send", "-", "--url", "http://127.0.0.1:1/", "--forward-header", "*"]);
    ended.expect(2).saying("--forward-header: \"*\" looks like a pattern");
}
