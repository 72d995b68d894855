//! Requests as receivers see them: signatures, credentials, forms, and what no record may do to them.

mod credentials;
mod lengths;
mod properties;
mod reference;
mod renewed;
mod secrets;
mod sha256;

use crate::support::receiver::{Receiver, Request};
use sluicegate::record::{Header, Offset, Partition, Record};
use sluicegate::relay::transport::{Attempt, Transport};
use sluicegate::webhook::cloud_event::CloudEvents;
use sluicegate::webhook::destination::Destination;
use sluicegate::webhook::keep_alive::{ClientSettings, KeepAlive};
use sluicegate::webhook::request::{Format, RequestSettings, Requests};
use sluicegate::webhook::sender::Sender;
use sluicegate::webhook::signature::Signer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A file that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluicegate-requests-{name}-{}-{number}", std::process::id());
        let scratch = Self(std::env::temp_dir().join(name));
        scratch.write(text);
        scratch
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A record with headers that are text.
fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Record {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header { name: name.as_bytes(), value: Some(value) }).collect();
    Record::with_headers(Partition::new("or.ders", 3), Offset(42), 1_700_000_000_123, key, value, &headers)
}

/// Signs with these secrets.
fn signer(name: &str, secrets: &[&str]) -> Signer {
    let scratch = Scratch::new(name, &secrets.join("\n"));
    Signer::open(std::slice::from_ref(&scratch.0)).unwrap().0
}

fn cloud_events() -> Format {
    Format::CloudEvents(CloudEvents { source: None, cluster: "broker:9092".into(), kind: "order".into() })
}

/// Sends to `receiver` as `settings` say, over kept connections.
fn sender(receiver: &Receiver, path: &str, settings: RequestSettings) -> Sender {
    let url = format!("http://{}{path}", receiver.address);
    let destination = Destination::parse(&url).unwrap();
    let requests = Requests::new(&destination, settings).unwrap();
    let client = KeepAlive::new(destination, ClientSettings::default()).unwrap();
    Sender::new(client, requests, Duration::from_secs(10))
}

/// What arrives of these records.
fn arrived(path: &str, settings: RequestSettings, records: &[Record]) -> Vec<Request> {
    let receiver = Receiver::accepting();
    let sender = sender(&receiver, path, settings);
    for record in records {
        assert_eq!(sender.send(record, Attempt::FIRST).map(|answer| answer.status), Ok(204));
    }
    receiver.handled().into_iter().map(|handled| handled.request).collect()
}

#[test]
fn what_arrives_is_what_was_made() {
    let settings = RequestSettings {
        headers: vec![
            sluicegate::webhook::request::HeaderField::parse("X-Tenant: t-{header:tenant}").unwrap(),
        ],
        ..RequestSettings::default()
    };
    let record = record(Some(b"a/b"), Some(b"\0\xff"), &[("tenant", b"blue green")]);
    let arrived = arrived("/{topic}/{key}?p={partition}", settings, &[record]);
    assert_eq!(arrived[0].line, "POST /or.ders/a%2Fb?p=3 HTTP/1.1");
    assert_eq!(arrived[0].header("x-tenant"), Some("t-blue%20green"));
    assert_eq!(arrived[0].body, b"\0\xff");
}

#[test]
fn an_envelope_is_signed_as_it_is_sent() {
    let settings = RequestSettings {
        format: Format::Json,
        signer: Some(signer("envelope", &[reference::CURRENT])),
        ..RequestSettings::default()
    };
    let own = [("content-type", &b"text/plain"[..])];
    let request = &arrived("/", settings, &[record(Some(b"k"), Some(b"{\"a\":1}"), &own)])[0];
    assert!(request.text().ends_with(r#""value":{"a":1},"value_encoding":"json"}"#), "{}", request.text());
    assert_eq!(request.header("content-type"), Some("application/json"));
    let signed =
        [request.id().as_bytes(), b".", request.header("webhook-timestamp").unwrap().as_bytes(), b"."];
    let signed = [&signed.concat()[..], &request.body].concat();
    let expected = sha256::standard_webhook(reference::CURRENT, &signed);
    assert_eq!(request.header("webhook-signature"), Some(&*expected));
}
