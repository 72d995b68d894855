//! What a record looks like as a request: its headers, and its value as the body, byte for byte.
//!
//! Invariant: no byte of a record or a setting can end a header line: a name is a token and a value holds no
//! control character (RFC 9110 §5.5, §5.6.2), or the header is not sent.

use crate::relay::record::Record;
use std::fmt;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names a record's own headers can never take: they belong to the connection, to credentials, or to us.
const NEVER_FORWARDED: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "authorization",
    "proxy-authorization",
    "cookie",
    "keep-alive",
];

/// Names that `--header` can't take, because they describe the message itself.
const NEVER_STATIC: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"];

/// Why a header can't be sent. It shows the name and never the value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not `Name: value`.
    NoColon,
    /// The name is no token.
    Name(String),
    /// The value holds a control character, such as a line break.
    Value(String),
    /// The name is one that can't be set.
    Reserved(String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon => f.write_str("a header is written 'Name: value'"),
            Self::Name(name) => write!(f, "{name:?} is no header name: take letters, digits and '-'"),
            Self::Value(name) => {
                write!(
                    f,
                    "the value of header {name} holds a line break or another control character: remove it"
                )
            }
            Self::Reserved(name) => write!(f, "header {name} is set by sluicegate itself: leave it out"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// A header of a request. Its value is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The name, a token.
    pub name: String,
    /// The value, without control characters.
    pub value: String,
}

impl fmt::Debug for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ...", self.name)
    }
}

impl HeaderField {
    /// Reads `Name: value`, as `--header` has it.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = text.split_once(':').ok_or(HeaderError::NoColon)?;
        if !is_token(name.as_bytes()) {
            return Err(HeaderError::Name(name.into()));
        }
        let value = value.trim_matches([' ', '\t']);
        if !is_value(value.as_bytes()) {
            return Err(HeaderError::Value(name.into()));
        }
        let lower = name.to_ascii_lowercase();
        if NEVER_STATIC.contains(&lower.as_str()) || is_ours(&lower) {
            return Err(HeaderError::Reserved(name.into()));
        }
        Ok(Self { name: name.into(), value: value.into() })
    }
}

/// Reads a name for `--forward-header`; lower-case, since header names ignore case.
pub fn forwardable(name: &str) -> Result<String, HeaderError> {
    if !is_token(name.as_bytes()) {
        return Err(HeaderError::Name(name.into()));
    }
    let lower = name.to_ascii_lowercase();
    if NEVER_FORWARDED.contains(&lower.as_str()) || is_ours(&lower) {
        return Err(HeaderError::Reserved(name.into()));
    }
    Ok(lower)
}

fn is_ours(lower: &str) -> bool {
    lower.starts_with("webhook-") || lower.starts_with("kafka-")
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Visible ASCII, spaces and tabs inside, and UTF-8 beyond ASCII as opaque bytes.
fn is_value(bytes: &[u8]) -> bool {
    let edge = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !edge(bytes.first())
        && !edge(bytes.last())
        && bytes.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
}

/// What every request carries, whatever its record.
#[derive(Clone, Debug)]
pub struct Template {
    /// `--content-type`, unless the record has its own.
    pub content_type: String,
    /// `--header`.
    pub headers: Vec<HeaderField>,
    /// `--forward-header`: names in lower case, from [`forwardable`].
    pub forward: Vec<String>,
    /// User name and password for Basic authentication.
    pub credentials: Option<Vec<u8>>,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            content_type: "application/json".into(),
            headers: Vec::new(),
            forward: Vec::new(),
            credentials: None,
        }
    }
}

impl Template {
    /// The headers of a request for `record`, sent at `now`. Those of the connection (Host, Content-Length) are
    /// the client's.
    pub fn headers(&self, record: &Record, now: SystemTime) -> Vec<HeaderField> {
        let mut headers = Headers(Vec::with_capacity(12 + self.headers.len()));
        headers.add("User-Agent", concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
        headers.add("Content-Type", self.content_type_of(record));
        let partition = record.partition();
        headers.add("kafka-topic", partition.topic());
        headers.add("kafka-partition", &partition.number().to_string());
        headers.add("kafka-offset", &record.offset().to_string());
        if record.timestamp() >= 0 {
            headers.add("kafka-timestamp", &record.timestamp().to_string());
        }
        match record.key().map(std::str::from_utf8) {
            None => {}
            Some(Ok(key)) => headers.add("kafka-key", &percent_encode(key)),
            Some(Err(_)) => headers.add("kafka-key-base64", &base64(record.key().unwrap_or_default())),
        }
        if record.value().is_none() {
            headers.add("kafka-tombstone", "true");
        }
        headers.add("webhook-id", &webhook_id(record));
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        headers.add("webhook-timestamp", &seconds.to_string());
        if let Some(credentials) = &self.credentials {
            headers.add("Authorization", &format!("Basic {}", base64(credentials)));
        }
        for HeaderField { name, value } in &self.headers {
            headers.add(name, value);
        }
        self.forward_headers(record, &mut headers);
        headers.0
    }

    fn content_type_of<'a>(&'a self, record: &'a Record) -> &'a str {
        let own = record.headers().filter(|h| h.name.eq_ignore_ascii_case(b"content-type")).last();
        let own = own.and_then(|h| h.value).filter(|value| !value.is_empty() && is_value(value));
        own.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or(&self.content_type)
    }

    /// A header whose value could not stand in a request is left out: its record still goes.
    fn forward_headers(&self, record: &Record, headers: &mut Headers) {
        if self.forward.is_empty() {
            return;
        }
        for header in record.headers() {
            let (Ok(name), Some(value)) = (std::str::from_utf8(header.name), header.value) else { continue };
            let wanted = self.forward.iter().any(|forward| forward.eq_ignore_ascii_case(name));
            let Ok(value) = std::str::from_utf8(value) else { continue };
            if wanted && is_token(header.name) && is_value(value.as_bytes()) {
                headers.add(name, value);
            }
        }
    }
}

struct Headers(Vec<HeaderField>);

impl Headers {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(HeaderField { name: name.into(), value: value.into() });
    }
}

/// The id that a record keeps over retries and restarts. Standard Webhooks forbids `.` in an id, and Kafka
/// forbids `~` in a topic, so the one stands for the other. The record's timestamp tells a re-created topic,
/// whose offsets start again, from the old one; it is 0 where the source knows none.
pub fn webhook_id(record: &Record) -> String {
    let topic = record.partition().topic().replace('.', "~");
    format!("{topic}-{}-{}-{}", record.partition().number(), record.offset(), record.timestamp().max(0))
}

/// Percent-encodes what may not stand in a header value, `%` itself, and spaces (RFC 3986 §2.1).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

use crate::relay::base64::encode as base64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::record::{Header, Offset, Partition};
    use proptest::prelude::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Record {
        Record::with_headers(Partition::new("or.ders", 3), Offset(42), 1_700_000_000_123, key, value, headers)
    }

    fn sent(template: &Template, record: &Record) -> Vec<(String, String)> {
        let headers = template.headers(record, UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_100));
        headers.into_iter().map(|h| (h.name, h.value)).collect()
    }

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
        headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn tells_where_the_record_is_from() {
        let headers = sent(&Template::default(), &record(Some("Zoë %".as_bytes()), Some(b"{}"), &[]));
        for (name, expected) in [
            ("Content-Type", "application/json"),
            ("kafka-topic", "or.ders"),
            ("kafka-partition", "3"),
            ("kafka-offset", "42"),
            ("kafka-timestamp", "1700000000123"),
            ("kafka-key", "Zo%C3%AB%20%25"),
            ("webhook-id", "or~ders-3-42-1700000000123"),
            ("webhook-timestamp", "1700000100"),
        ] {
            assert_eq!(value(&headers, name), Some(expected), "{name}");
        }
        assert!(value(&headers, "User-Agent").unwrap().starts_with("sluicegate/"));
        assert_eq!(value(&headers, "kafka-tombstone"), None);
    }

    #[test]
    fn a_binary_key_goes_as_base64_and_no_key_not_at_all() {
        let headers = sent(&Template::default(), &record(Some(b"\xff\x00"), None, &[]));
        assert_eq!(value(&headers, "kafka-key-base64"), Some("/wA="));
        assert_eq!(value(&headers, "kafka-key"), None);
        assert_eq!(value(&headers, "kafka-tombstone"), Some("true"));
        let headers = sent(&Template::default(), &record(None, Some(b""), &[]));
        assert!(headers.iter().all(|(name, _)| !name.starts_with("kafka-key")));
    }

    #[test]
    fn the_records_own_content_type_wins() {
        let own = [Header { name: b"Content-Type", value: Some(b"text/plain") }];
        assert_eq!(
            value(&sent(&Template::default(), &record(None, None, &own)), "Content-Type"),
            Some("text/plain")
        );
        let broken = [Header { name: b"content-type", value: Some(b"text/plain\r\nX: y") }];
        let headers = sent(&Template::default(), &record(None, None, &broken));
        assert_eq!(value(&headers, "Content-Type"), Some("application/json"));
    }

    #[test]
    fn only_listed_headers_are_forwarded_and_only_whole() {
        let template = Template { forward: vec![forwardable("X-Trace").unwrap()], ..Template::default() };
        let headers = [
            Header { name: b"x-trace", value: Some(b"1") },
            Header { name: b"x-trace", value: Some(b"2") },
            Header { name: b"x-trace", value: None },
            Header { name: b"x-trace", value: Some(b"a\nb") },
            Header { name: b"x-other", value: Some(b"3") },
        ];
        let sent = sent(&template, &record(None, None, &headers));
        let traces: Vec<&str> =
            sent.iter().filter(|(n, _)| n == "x-trace").map(|(_, v)| v.as_str()).collect();
        assert_eq!(traces, ["1", "2"]);
        assert_eq!(value(&sent, "x-other"), None);
    }

    #[test]
    fn some_names_are_never_taken() {
        for name in
            ["Host", "Content-Length", "authorization", "Cookie", "webhook-id", "Expect", "kafka-topic"]
        {
            assert!(matches!(forwardable(name), Err(HeaderError::Reserved(_))), "{name}");
        }
        assert!(matches!(HeaderField::parse("Content-Length: 3"), Err(HeaderError::Reserved(_))));
        assert!(HeaderField::parse("Authorization: Bearer x").is_ok(), "an operator may set credentials");
    }

    #[test]
    fn a_bad_header_is_refused_without_showing_its_value() {
        for (text, error) in [
            ("no colon", HeaderError::NoColon),
            ("a b: c", HeaderError::Name("a b".into())),
            (": c", HeaderError::Name(String::new())),
            ("X-Key: secret\r\nX: y", HeaderError::Value("X-Key".into())),
            ("X-Key: sec\0ret", HeaderError::Value("X-Key".into())),
        ] {
            let result = HeaderField::parse(text);
            assert_eq!(result, Err(error), "{text}");
            assert!(!result.unwrap_err().to_string().contains("secret"));
        }
        assert!(!format!("{:?}", HeaderField::parse("X-Key: secret")).contains("secret"));
    }

    proptest! {
        #[test]
        fn no_record_can_break_out_of_its_header_lines(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            name in prop::sample::select(vec!["x-a", "content-type", "x-a\r\n"]),
            content in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        ) {
            let template = Template { forward: vec!["x-a".into(), "x-a\r\n".into()], ..Template::default() };
            let headers = [Header { name: name.as_bytes(), value: content.as_deref() }];
            for header in template.headers(&record(key.as_deref(), None, &headers), UNIX_EPOCH) {
                prop_assert!(is_token(header.name.as_bytes()), "{:?}", header.name);
                prop_assert!(is_value(header.value.as_bytes()), "{:?}", header.value);
            }
        }
    }
}
