//! What a record looks like as a request: where it goes, its headers, its body.
//!
//! Both clients send what [`Requests::make`] makes, so that a receiver can't tell them apart. What is the same for
//! every record is made once; a record then costs one buffer for its header lines, and its value is borrowed.
//!
//! Invariant: no byte of a record or a setting ends a header line ([`header`]) or changes scheme, host or port,
//! which are the [`Destination`]'s alone.

pub mod header;

use super::destination::Destination;
use super::signature::Signer;
use crate::relay::base64::encode as base64;
use crate::relay::record::Record;
use crate::relay::transport::{Answer, SendError};
pub use header::{HeaderError, HeaderField, Headers, forwardable};
use header::{is_value, percent_encode};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// Header lines rarely take more: one allocation does.
const USUAL_HEADER_BYTES: usize = 1024;

/// What requests are to look like.
#[derive(Debug)]
pub struct Settings {
    /// `--content-type`, unless the record has its own.
    pub content_type: String,
    /// `--header`.
    pub headers: Vec<HeaderField>,
    /// `--forward-header`: names in lower case, from [`forwardable`].
    pub forward: Vec<String>,
    /// `--signing-secret-file`.
    pub signer: Option<Signer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            content_type: "application/json".into(),
            headers: Vec::new(),
            forward: Vec::new(),
            signer: None,
        }
    }
}

/// A request as it goes on the wire, but for what belongs to the connection (`Host`, `Content-Length`).
pub struct WireRequest<'r> {
    /// What the request line asks for: path and query (RFC 9112 §3.2.1).
    pub target: Cow<'r, str>,
    /// Its header lines.
    pub headers: Headers,
    /// Its body.
    pub body: Cow<'r, [u8]>,
}

/// Shows neither query, values nor body.
impl fmt::Debug for WireRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {:?} ({} bytes)", self.headers, self.body.len())
    }
}

/// Makes requests of records.
#[derive(Debug)]
pub struct Requests {
    settings: Settings,
    target: String,
    /// The lines that every request has.
    fixed: Headers,
}

impl Requests {
    /// Makes requests to `destination`.
    pub fn new(destination: &Destination, settings: Settings) -> Self {
        let mut fixed = Headers::default();
        fixed.add("User-Agent", concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
        if let Some(credentials) = destination.credentials() {
            fixed.add("Authorization", &format!("Basic {}", base64(credentials)));
        }
        for HeaderField { name, value } in &settings.headers {
            fixed.add(name, value);
        }
        Self { settings, target: destination.target(), fixed }
    }

    /// Sends a record by `post`, which moves one request and brings one answer.
    pub fn send(
        &self,
        record: &Record,
        attempt: u32,
        mut post: impl FnMut(&WireRequest<'_>) -> Result<Answer, SendError>,
    ) -> Result<Answer, SendError> {
        post(&self.make(record, attempt, SystemTime::now())?)
    }

    /// The request for an attempt, counted from 1, that begins at `now`.
    pub fn make<'r>(
        &'r self,
        record: &'r Record,
        _attempt: u32,
        now: SystemTime,
    ) -> Result<WireRequest<'r>, SendError> {
        let mut headers = Headers::with_capacity(USUAL_HEADER_BYTES);
        headers.append(&self.fixed);
        headers.add("Content-Type", self.content_type_of(record));
        describe(record, &mut headers);
        self.forward_headers(record, &mut headers);
        let body = record.value().unwrap_or_default();
        self.prove(&webhook_id(record), now, body, &mut headers);
        Ok(WireRequest { target: Cow::Borrowed(&self.target), headers, body: Cow::Borrowed(body) })
    }

    /// Id and time of the attempt, and the signature over both and the body.
    fn prove(&self, id: &str, now: SystemTime, body: &[u8], headers: &mut Headers) {
        headers.add("webhook-id", id);
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        headers.add_shown("webhook-timestamp", seconds);
        if let Some(signer) = &self.settings.signer {
            headers.add_with("webhook-signature", |line| signer.sign(id, seconds, body, line));
        }
    }

    fn content_type_of<'a>(&'a self, record: &'a Record) -> &'a str {
        let own = record.headers().filter(|h| h.name.eq_ignore_ascii_case(b"content-type")).last();
        let own = own.and_then(|h| h.value).filter(|value| !value.is_empty() && is_value(value));
        own.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or(&self.settings.content_type)
    }

    fn forward_headers(&self, record: &Record, headers: &mut Headers) {
        if self.settings.forward.is_empty() {
            return;
        }
        for header in record.headers() {
            let (Ok(name), Some(value)) = (std::str::from_utf8(header.name), header.value) else { continue };
            let wanted = self.settings.forward.iter().any(|forward| forward.eq_ignore_ascii_case(name));
            if let Some(value) = std::str::from_utf8(value).ok().filter(|_| wanted) {
                headers.add(name, value);
            }
        }
    }
}

/// Where the record is from, in headers.
fn describe(record: &Record, headers: &mut Headers) {
    let partition = record.partition();
    headers.add("kafka-topic", partition.topic());
    headers.add_shown("kafka-partition", partition.number());
    headers.add_shown("kafka-offset", record.offset());
    if record.timestamp() >= 0 {
        headers.add_shown("kafka-timestamp", record.timestamp());
    }
    match record.key() {
        None => {}
        Some(key) if std::str::from_utf8(key).is_ok() => {
            headers.add_with("kafka-key", |line| percent_encode(key, line));
        }
        Some(key) => headers.add("kafka-key-base64", &base64(key)),
    }
    if record.value().is_none() {
        headers.add("kafka-tombstone", "true");
    }
}

/// The id that a record keeps over retries and restarts. Standard Webhooks forbids `.` in an id, and Kafka
/// forbids `~` in a topic, so the one stands for the other. The record's timestamp tells a re-created topic,
/// whose offsets start again, from the old one; it is 0 where the source knows none.
pub fn webhook_id(record: &Record) -> String {
    let partition = record.partition();
    let mut id = String::with_capacity(partition.topic().len() + 48);
    id.extend(partition.topic().chars().map(|c| if c == '.' { '~' } else { c }));
    // Writing to a String cannot fail.
    let _ = write!(id, "-{}-{}-{}", partition.number(), record.offset(), record.timestamp().max(0));
    id
}

#[cfg(test)]
mod tests {
    use super::header::is_token;
    use super::*;
    use crate::relay::record::{Header, Offset, Partition};
    use proptest::prelude::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Record {
        Record::with_headers(Partition::new("or.ders", 3), Offset(42), 1_700_000_000_123, key, value, headers)
    }

    fn requests(settings: Settings) -> Requests {
        Requests::new(&Destination::parse("http://receiver.example/hook?a=b").unwrap(), settings)
    }

    fn sent(settings: Settings, record: &Record) -> Headers {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_100);
        requests(settings).make(record, 1, now).unwrap().headers
    }

    fn plain(record: &Record) -> Headers {
        sent(Settings::default(), record)
    }

    #[test]
    fn tells_where_the_record_is_from() {
        let headers = plain(&record(Some("Zoë %".as_bytes()), Some(b"{}"), &[]));
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
            assert_eq!(headers.get(name), Some(expected), "{name}");
        }
        assert!(headers.get("User-Agent").unwrap().starts_with("sluicegate/"));
        assert_eq!(headers.get("kafka-tombstone"), None);
    }

    #[test]
    fn the_body_is_the_value_itself_without_a_copy() {
        let (requests, record) = (requests(Settings::default()), record(None, Some(b"\0\xffvalue"), &[]));
        let request = requests.make(&record, 1, UNIX_EPOCH).unwrap();
        assert!(matches!(request.body, Cow::Borrowed(body) if std::ptr::eq(body, record.value().unwrap())));
        assert!(matches!(request.target, Cow::Borrowed("/hook?a=b")));
    }

    #[test]
    fn a_binary_key_goes_as_base64_and_no_key_not_at_all() {
        let headers = plain(&record(Some(b"\xff\x00"), None, &[]));
        assert_eq!(headers.get("kafka-key-base64"), Some("/wA="));
        assert_eq!(headers.get("kafka-key"), None);
        assert_eq!(headers.get("kafka-tombstone"), Some("true"));
        let headers = plain(&record(None, Some(b""), &[]));
        assert!(headers.iter().all(|(name, _)| !name.starts_with("kafka-key")));
    }

    #[test]
    fn the_records_own_content_type_wins() {
        let own = [Header { name: b"Content-Type", value: Some(b"text/plain") }];
        assert_eq!(plain(&record(None, None, &own)).get("Content-Type"), Some("text/plain"));
        let broken = [Header { name: b"content-type", value: Some(b"text/plain\r\nX: y") }];
        assert_eq!(plain(&record(None, None, &broken)).get("Content-Type"), Some("application/json"));
    }

    #[test]
    fn only_listed_headers_are_forwarded_and_only_whole() {
        let settings = Settings { forward: vec![forwardable("X-Trace").unwrap()], ..Settings::default() };
        let headers = [
            Header { name: b"x-trace", value: Some(b"1") },
            Header { name: b"x-trace", value: Some(b"2") },
            Header { name: b"x-trace", value: None },
            Header { name: b"x-trace", value: Some(b"a\nb") },
            Header { name: b"x-other", value: Some(b"3") },
        ];
        let sent = sent(settings, &record(None, None, &headers));
        let traces: Vec<&str> = sent.iter().filter(|(n, _)| *n == "x-trace").map(|(_, v)| v).collect();
        assert_eq!(traces, ["1", "2"]);
        assert_eq!(sent.get("x-other"), None);
    }

    #[test]
    fn credentials_of_the_url_become_basic_authentication() {
        let destination = Destination::parse("http://us%40er:secret@h/").unwrap();
        let requests = Requests::new(&destination, Settings::default());
        let record = record(None, None, &[]);
        let request = requests.make(&record, 1, UNIX_EPOCH).unwrap();
        let expected = format!("Basic {}", base64(b"us@er:secret"));
        assert_eq!(request.headers.get("Authorization"), Some(&*expected));
        assert!(!format!("{request:?} {requests:?}").contains(&base64(b"us@er:secret")));
    }

    proptest! {
        #[test]
        fn no_record_can_break_out_of_its_header_lines(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            name in prop::sample::select(vec!["x-a", "content-type", "x-a\r\n"]),
            content in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        ) {
            let settings = Settings { forward: vec!["x-a".into(), "x-a\r\n".into()], ..Settings::default() };
            let headers = [Header { name: name.as_bytes(), value: content.as_deref() }];
            let sent = sent(settings, &record(key.as_deref(), None, &headers));
            for line in sent.as_str().split_terminator("\r\n") {
                let (name, value) = line.split_once(": ").unwrap();
                prop_assert!(is_token(name.as_bytes()), "{:?}", name);
                prop_assert!(is_value(value.as_bytes()), "{:?}", value);
            }
        }
    }
}
