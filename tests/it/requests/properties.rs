//! No record and no setting breaks out of its place, and any signature verifies.

use crate::requests::{cloud_events, record, sha256, signer};
use proptest::prelude::*;
use sluicegate::files::Reporter;
use sluicegate::record::Record;
use sluicegate::text::base64;
use sluicegate::webhook::authorization::Authorization;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::request::{
    Format, HeaderField, RequestSettings, Requests, WireRequest, forwardable,
};
use sluicegate::webhook::secret_file::{Scheme, SecretFile};
use sluicegate::webhook::template::check_authority;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Bytes of which many mean something to HTTP.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        prop::collection::vec(prop::sample::select(b"\r\n:/?#@%. \t{}\0a\xff".to_vec()), 0..12),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let names = prop::sample::select(vec![
        "x-a",
        "X-A\r\nHost",
        "host",
        "content-type",
        "content-length",
        "ce_id",
        "ce_source",
        "ce_specversion",
        "ce_type",
        "ce_Subject",
        "ce_\r\nx",
        "authorization",
        "webhook-id",
        "ce-id",
        "",
    ]);
    prop::collection::vec((names.prop_map(str::to_owned), bytes()), 0..8)
}

fn settings(format: Format, token: Option<&str>) -> RequestSettings {
    let file = token.map(|token| {
        let scratch = crate::requests::Scratch::new("property", token);
        SecretFile::open(&scratch.0, Scheme::Bearer, Reporter::SILENT, Instant::now()).unwrap()
    });
    RequestSettings {
        format,
        headers: vec![HeaderField::parse("X-Made: {key} {topic} {partition} {header:x-a}").unwrap()],
        forward: vec![forwardable("x-a").unwrap()],
        signer: Some(signer("property", &[crate::requests::reference::CURRENT])),
        authorization: file.map(Authorization::File),
        ..RequestSettings::default()
    }
}

fn check(wire: &WireRequest<'_>) {
    assert!(wire.target.starts_with("/v1/"), "{}", wire.target);
    assert!(wire.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{}", wire.target);
    assert_eq!(wire.target.matches('?').count(), 1, "{}", wire.target);
    let lines = wire.headers.as_str();
    assert!(lines.ends_with("\r\n") && !lines.contains("\r\n\r\n"));
    let names: Vec<String> = wire.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(lines.matches("\r\n").count(), names.len());
    for line in lines.split_terminator("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name:?}");
        assert!(!value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'), "{value:?}");
    }
    for single in ["host", "content-length", "content-type", "authorization", "ce-id", "ce-source", "ce-type"]
    {
        assert!(names.iter().filter(|name| *name == single).count() <= 1, "{single}");
    }
    for never in ["host", "content-length", "transfer-encoding"] {
        assert!(!names.iter().any(|name| name == never), "{never}");
    }
    let value = |name: &str| wire.headers.get(name).unwrap();
    let mut signed = format!("{}.{}.", value("webhook-id"), value("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&wire.body);
    assert_eq!(
        value("webhook-signature"),
        sha256::standard_webhook(crate::requests::reference::CURRENT, &signed)
    );
    assert!(names.iter().filter(|name| *name == "webhook-id").count() == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_record_breaks_out_and_every_signature_verifies(
        key in prop::option::of(bytes()),
        value in prop::option::of(bytes()),
        headers in headers(),
        seconds in 0_u64..1 << 33,
    ) {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record: Record = record(key.as_deref(), value.as_deref(), &headers);
        let url = "http://receiver.example:8080/v1/{key}/{header:x-a}?k={key}&h={header:ce_id}";
        let destination = Destination::parse(url).unwrap();
        for (format, token) in [(Format::Raw, None), (Format::Json, Some("abc")), (cloud_events(), Some("abc"))] {
            let requests = Requests::new(&destination, settings(format, token)).unwrap();
            let wire = requests.make(&record, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            check(&wire);
        }
    }

    #[test]
    fn no_setting_breaks_out(header in ".{0,30}", url in "[a-z{}/?#@:.%]{0,30}", source in ".{1,20}") {
        let record = record(Some(b"http://evil.example/"), Some(b"{}"), &[]);
        let format = match cloud_events() {
            Format::CloudEvents(events) => Format::CloudEvents(
                sluicegate::webhook::cloud_event::CloudEvents { source: Some(source), ..events },
            ),
            other => other,
        };
        let url = format!("http://receiver.example/{url}");
        prop_assert!(check_authority(&url).is_ok());
        let headers: Vec<HeaderField> = HeaderField::parse(&header).into_iter().collect();
        let destination = Destination::parse(&url).unwrap();
        if let Ok(requests) = Requests::new(&destination, RequestSettings { format, headers, ..RequestSettings::default() }) {
            let wire = requests.make(&record, UNIX_EPOCH).unwrap();
            prop_assert!(wire.target.starts_with('/'));
            prop_assert!(wire.target.bytes().all(|byte| byte.is_ascii_graphic()));
            let lines = wire.headers.as_str();
            prop_assert_eq!(lines.matches(['\r', '\n']).count(), 2 * wire.headers.iter().count());
        }
    }
}

#[test]
fn the_checks_know_a_wrong_signature() {
    let destination = Destination::parse("http://receiver.example/v1/a?b").unwrap();
    let requests = Requests::new(&destination, settings(Format::Raw, None)).unwrap();
    let record = record(None, Some(b"body"), &[]);
    let mut wire = requests.make(&record, UNIX_EPOCH).unwrap();
    check(&wire);
    wire.body.to_mut()[0] ^= 1;
    let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&wire)));
    assert!(wrong.is_err(), "{}", base64::encode(&wire.body));
}
