//! Records as [CloudEvents] 1.0, by the HTTP binding.
//!
//! A record that holds a structured event is passed through as it is. One in the Kafka binding's binary mode
//! (`ce_id`, `ce_source`, `ce_specversion`, `ce_type`) goes in HTTP's binary mode. Any other is wrapped: its value is
//! the data of an event that says where the record is from.
//!
//! [CloudEvents]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md

use super::headers::{Headers, percent_encode_unless};
use crate::record::Record;
use crate::text::time::rfc3339;
use std::collections::BTreeMap;

/// The attributes that every event of the Kafka binding's binary mode has.
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];
/// These stand for the data or its type, which go as body and `Content-Type`.
const NO_ATTRIBUTES: [&str; 2] = ["data", "datacontenttype"];
/// The longest name shown, in characters.
const LONGEST_SHOWN: usize = 60;
/// The media types of events in structured mode, and of batches of them, begin with it.
const STRUCTURED: &[u8] = b"application/cloudevents";

/// How records that are not CloudEvents become some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvents {
    /// The `source` of records that are not events; `None`: `kafka://CLUSTER/TOPIC`.
    pub source: Option<String>,
    /// The cluster in that URI.
    pub cluster: String,
    /// The `type` of records that are not events.
    pub kind: String,
}

/// A part of a record that could not become an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OmittedAttribute {
    /// The key is longer than allowed.
    Key,
    /// A header `ce_…`, by its name: that is not letters and digits, or the value is not UTF-8.
    Attribute(String),
}

impl CloudEvents {
    /// Adds the event's attributes as headers. Returns what was left out. `id` is the record's webhook-id. A key of
    /// more than `max_key` bytes, as it would be sent, is left out.
    pub(crate) fn describe(
        &self,
        record: &Record,
        id: &str,
        max_key: usize,
        headers: &mut Headers,
    ) -> Vec<OmittedAttribute> {
        let mut left_out = Vec::new();
        if is_structured(record) {
            return left_out;
        }
        match attributes(record, &mut left_out) {
            Some(attributes) => {
                for (name, value) in attributes {
                    add(headers, &name, value);
                }
            }
            None => {
                // It is not an event, so nothing was left out of one.
                left_out.clear();
                left_out.extend(self.wrap(record, id, max_key, headers));
            }
        }
        left_out
    }

    fn wrap(
        &self,
        record: &Record,
        id: &str,
        max_key: usize,
        headers: &mut Headers,
    ) -> Option<OmittedAttribute> {
        headers.add("ce-specversion", "1.0");
        add(headers, "id", id.as_bytes());
        match &self.source {
            Some(source) => add(headers, "source", source.as_bytes()),
            None => {
                let source = format!("kafka://{}/{}", self.cluster, record.partition().topic());
                add(headers, "source", source.as_bytes());
            }
        }
        add(headers, "type", self.kind.as_bytes());
        if let Some(time) = rfc3339(record.timestamp()) {
            headers.add("ce-time", &time);
        }
        // An attribute is a string, which a binary key is not; it is in kafka-key-base64.
        let sound = |key: &&[u8]| !key.is_empty() && std::str::from_utf8(key).is_ok();
        match record.key().filter(sound) {
            Some(key) if encoded_length(key) > max_key => return Some(OmittedAttribute::Key),
            Some(key) => add(headers, "partitionkey", key),
            None => {}
        }
        None
    }
}

/// Whether its value is an event in structured mode, or a batch of them.
fn is_structured(record: &Record) -> bool {
    let own = record.headers().filter(|header| header.name.eq_ignore_ascii_case(b"content-type")).last();
    let own = own.and_then(|header| header.value).and_then(|value| value.get(..STRUCTURED.len()));
    own.is_some_and(|begin| begin.eq_ignore_ascii_case(STRUCTURED))
}

/// The attributes of an event in binary mode, by lower-case name; of duplicates the last. `None` if a required one is
/// missing.
fn attributes<'r>(
    record: &'r Record,
    left_out: &mut Vec<OmittedAttribute>,
) -> Option<BTreeMap<String, &'r [u8]>> {
    let mut attributes = BTreeMap::new();
    for header in record.headers() {
        let Some(name) = header.name.strip_prefix(b"ce_") else { continue };
        let Some(value) = header.value else { continue };
        let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_alphanumeric);
        if !is_name || std::str::from_utf8(value).is_err() {
            let shown = String::from_utf8_lossy(header.name).chars().take(LONGEST_SHOWN).collect::<String>();
            left_out.push(OmittedAttribute::Attribute(shown.escape_default().to_string()));
            continue;
        }
        let name: String = name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
        if !NO_ATTRIBUTES.contains(&name.as_str()) {
            attributes.insert(name, value);
        }
    }
    let there = |name: &&str| attributes.get(*name).is_some_and(|value: &&[u8]| !value.is_empty());
    REQUIRED.iter().all(there).then_some(attributes)
}

/// Adds an attribute, percent-encoded once (HTTP binding §3.1.3.2).
fn add(headers: &mut Headers, name: &str, value: &[u8]) {
    headers.add_with(&format!("ce-{name}"), |line| percent_encode_unless(value, line, is_plain));
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'%'
}

/// How long a value is once it is percent-encoded.
fn encoded_length(value: &[u8]) -> usize {
    value.iter().map(|byte| if is_plain(*byte) { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Offset, Partition};

    fn described(key: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Vec<(String, String)> {
        described_without(key, headers, &[])
    }

    fn described_without(
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        expected: &[OmittedAttribute],
    ) -> Vec<(String, String)> {
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| Header { name: name.as_bytes(), value: Some(value) })
            .collect();
        let partition = Partition::new("or.ders", 3);
        let record =
            Record::with_headers(partition, Offset(42), 1_700_000_000_123, key, Some(b"{}"), &headers);
        let events =
            CloudEvents { source: None, cluster: "broker:9092".into(), kind: "com.example.order".into() };
        let mut lines = Headers::default();
        let left_out = events.describe(&record, "the-id", 100, &mut lines);
        assert_eq!(left_out, expected);
        lines.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const BINARY: [(&str, &[u8]); 4] =
        [("ce_id", b"1"), ("ce_source", b"/s"), ("ce_specversion", b"1.0"), ("ce_type", b"t")];

    #[test]
    fn any_other_record_is_wrapped() {
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-id", "the-id"),
            ("ce-source", "kafka://broker:9092/or.ders"),
            ("ce-type", "com.example.order"),
            ("ce-time", "2023-11-14T22:13:20.123Z"),
            ("ce-partitionkey", "k%20%22%25"),
        ];
        assert_eq!(described(Some(b"k \"%"), &[]), pairs(&expected));
        assert_eq!(described(Some(b"\xff"), &BINARY[..3]), pairs(&expected[..5]));
        assert_eq!(
            described_without(Some(&b" ".repeat(34)), &[], &[OmittedAttribute::Key]),
            pairs(&expected[..5]),
            "102 bytes as it would be sent"
        );
        assert_eq!(described(None, &[&BINARY[1..], &[("ce_id", &b""[..])]].concat()), pairs(&expected[..5]));
    }

    #[test]
    fn binary_mode_stays_binary_mode() {
        let more: [(&str, &[u8]); 7] = [
            ("ce_subject", "Euro € 😀".as_bytes()),
            ("ce_datacontenttype", b"text/plain"),
            ("ce_data", b"x"),
            ("ce_not-a-name", b"x"),
            ("ce_trace", b"100%20"),
            ("ce_trace", b"\xff"),
            ("other", b"x"),
        ];
        let expected = [
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-specversion", "1.0"),
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-trace", "100%2520"),
            ("ce-type", "t"),
        ];
        let left_out = ["ce_not-a-name", "ce_trace"].map(|name| OmittedAttribute::Attribute(name.into()));
        let described = described_without(Some(b"k"), &[&BINARY[..], &more].concat(), &left_out);
        assert_eq!(described, pairs(&expected));
    }

    #[test]
    fn a_structured_event_has_no_headers_of_its_own() {
        for kind in ["application/cloudevents+json; charset=utf-8", "Application/CloudEvents-batch+json"] {
            assert_eq!(described(None, &[&BINARY[..], &[("Content-Type", kind.as_bytes())]].concat()), []);
        }
        assert!(!described(None, &[("content-type", b"application/cloud")]).is_empty());
    }
}
