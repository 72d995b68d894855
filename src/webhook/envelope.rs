//! The whole record as one JSON object, for receivers that look at bodies only.
//!
//! ```json
//! {"topic":"orders","partition":3,"offset":42,"timestamp":1700000000123,"key":"k","key_encoding":"text",
//!  "headers":[{"name":"trace","value":"/w==","encoding":"base64"}],"value":{"a":1},"value_encoding":"json"}
//! ```
//!
//! A value that is JSON is embedded as it stands; other UTF-8 is a string, the rest a string of base64, and the
//! encoding says which. Keys and header values are never embedded: a key `7` beside a key `x7` would change its
//! type, and a number of 64 bits would lose digits in many receivers. What is null has the encoding null.

use crate::record::Record;
use crate::text::base64;
use crate::text::json::{self, is_json};
use std::fmt::Write as _;

/// The record as a JSON object in one line, unless its value holds line breaks between tokens.
pub(crate) fn envelope(record: &Record) -> String {
    let partition = record.partition();
    let value = record.value();
    let mut out = String::with_capacity(256 + value.map_or(0, <[u8]>::len));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"topic\":\"{}\",\"partition\":{},\"offset\":{},\"timestamp\":",
        json::escape(partition.topic()),
        partition.number(),
        record.offset()
    );
    match record.timestamp() {
        ..0 => out.push_str("null"),
        timestamp => drop_result(write!(out, "{timestamp}")),
    }
    out.push_str(",\"key\":");
    let encoding = push(&mut out, record.key());
    push_encoding(&mut out, "key_encoding", encoding);
    out.push_str(",\"headers\":[");
    for (number, header) in record.headers().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let name = json::escape(&String::from_utf8_lossy(header.name));
        drop_result(write!(out, "{comma}{{\"name\":\"{name}\",\"value\":"));
        let encoding = push(&mut out, header.value);
        push_encoding(&mut out, "encoding", encoding);
        out.push('}');
    }
    out.push_str("],\"value\":");
    let encoding = match value.and_then(|bytes| std::str::from_utf8(bytes).ok()).filter(|text| is_json(text))
    {
        Some(text) => {
            out.push_str(text);
            Some("json")
        }
        None => push(&mut out, value),
    };
    push_encoding(&mut out, "value_encoding", encoding);
    out.push('}');
    out
}

/// Appends bytes as a string, or null; says how they are encoded.
fn push(out: &mut String, bytes: Option<&[u8]>) -> Option<&'static str> {
    let Some(bytes) = bytes else {
        out.push_str("null");
        return None;
    };
    let (text, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) => (json::escape(text), "text"),
        Err(_) => (base64::encode(bytes), "base64"),
    };
    out.push('"');
    out.push_str(&text);
    out.push('"');
    Some(encoding)
}

fn push_encoding(out: &mut String, name: &str, encoding: Option<&str>) {
    drop_result(match encoding {
        Some(encoding) => write!(out, ",\"{name}\":\"{encoding}\""),
        None => write!(out, ",\"{name}\":null"),
    });
}

/// Writing to a String cannot fail.
fn drop_result(result: std::fmt::Result) {
    let _ = result;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Offset, Partition};
    use proptest::prelude::*;

    fn of(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> String {
        envelope(&Record::with_headers(Partition::new("t", 1), Offset(2), timestamp, key, value, headers))
    }

    #[test]
    fn holds_the_whole_record() {
        let headers = [
            Header { name: b"a", value: Some(b"x\"y") },
            Header { name: b"a", value: None },
            Header { name: b"b", value: Some(b"\xff") },
        ];
        assert_eq!(
            of(7, Some(b"7"), Some(b" {\"a\": 1}"), &headers),
            r#"{"topic":"t","partition":1,"offset":2,"timestamp":7,"key":"7","key_encoding":"text","headers":[{"name":"a","value":"x\"y","encoding":"text"},{"name":"a","value":null,"encoding":null},{"name":"b","value":"/w==","encoding":"base64"}],"value": {"a": 1},"value_encoding":"json"}"#
        );
    }

    #[test]
    fn says_how_the_value_is_encoded() {
        for (value, expected) in [
            (None, r#""value":null,"value_encoding":null}"#),
            (Some(&b"null"[..]), r#""value":null,"value_encoding":"json"}"#),
            (Some(b""), r#""value":"","value_encoding":"text"}"#),
            (Some(b"{\"a\":"), r#""value":"{\"a\":","value_encoding":"text"}"#),
            (Some(b"\xff{}"), r#""value":"/3t9","value_encoding":"base64"}"#),
        ] {
            let text = of(-1, None, value, &[]);
            assert!(text.ends_with(expected), "{text}");
            assert!(text.contains(r#""timestamp":null,"key":null,"key_encoding":null"#), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_record_becomes_json(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            value in prop_oneof![
                prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                "[\\[\\]{}\",:\\\\u0-9a-f ]{0,20}".prop_map(|text| Some(text.into_bytes())),
            ],
            name in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let headers = [Header { name: &name, value: value.as_deref() }];
            let text = of(0, key.as_deref(), value.as_deref(), &headers);
            prop_assert!(is_json(&text), "{}", text);
        }
    }
}
