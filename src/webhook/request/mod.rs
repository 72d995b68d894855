//! A record as a request: its target, headers and body.
//!
//! Both clients send what [`Requests::make`] makes, so that a receiver can't tell them apart. The parts common to all
//! records are made once; a record then costs one buffer for its header lines, and its value is borrowed.
//!
//! Invariant: no byte of a record or a setting ends a header line ([`Headers`]) or changes scheme, host or port,
//! which are the [`Destination`]'s alone.
//!
//! The parts made from a record are bounded as servers bound them. A key that is too long is left out, and a header
//! says so; a path or header that is too long makes the record unsendable, which no retry would change.
//!
//! | room | what is in it |
//! |---|---|
//! | `settings` | what requests look like |
//! | [header_field] | headers that may be set or forwarded |
//! | [content_type] | the content type, by the value |
//! | `forward` | a record's own headers |
//! | `warn_once` | warnings, each once per run |

pub mod content_type;
mod forward;
pub mod header_field;
mod settings;
mod warn_once;

use super::authorization::Authorization;
use super::cloud_event::OmittedAttribute;
use super::destination::Destination;
use super::envelope::envelope;
pub use super::headers::Headers;
use super::headers::{is_value, percent_encode};
use super::oauth::TOKEN_TIMEOUT;
use super::signature::Signer;
use super::template::{HeaderTemplate, RequestTarget};
pub use super::wire_request::WireRequest;
use crate::record::Record;
use crate::relay::transport::{self, Answer, SendError, SendErrorKind};
use crate::text::base64::encode as base64;
pub use header_field::{HeaderError, HeaderField, forwardable};
pub use settings::{DEFAULT_MAX_KEY_HEADER, Format, RequestSettings, RequestSettingsError};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use warn_once::WarnOnce;

/// The usual size of all header lines, so that one allocation is enough.
const USUAL_HEADER_BYTES: usize = 1024;
/// The longest request target made from a record, in bytes (RFC 9110 §4.1; Apache takes 8190 for its line).
pub const LONGEST_TARGET: usize = 8_000;
/// The longest header line made from a record, in bytes.
pub const LONGEST_LINE: usize = 8_100;
/// All header lines made from a record, at most, in bytes: nginx takes four lines of 8 KiB.
pub const MOST_HEADER_BYTES: usize = 24 << 10;
/// The longest content type of a record that is used, in bytes.
const LONGEST_CONTENT_TYPE: usize = 1_000;
/// Credentials are renewed within an attempt only if at least this much of their time is left.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);

/// Makes requests of records.
#[derive(Debug)]
pub struct Requests {
    format: Format,
    content_type: Option<String>,
    forward: Vec<String>,
    signer: Option<Signer>,
    authorization: Option<Authorization>,
    target: RequestTarget,
    /// The lines common to all requests.
    fixed: Headers,
    /// Headers that differ from record to record.
    made: Vec<(String, HeaderTemplate)>,
    kafka_headers: bool,
    max_key_header: usize,
    notices: WarnOnce,
}

impl Requests {
    /// Makes requests to `destination`.
    pub fn new(destination: &Destination, settings: RequestSettings) -> Result<Self, RequestSettingsError> {
        let RequestSettings { format, content_type, headers, mut forward, signer, authorization, .. } =
            settings;
        let RequestSettings { kafka_headers, max_key_header, reporter, .. } = settings;
        let set = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
        let mut fixed = Headers::default();
        if !set("user-agent") {
            fixed.add("User-Agent", concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
        }
        let credentials = destination.credentials();
        let ways = [credentials.is_some(), set("authorization"), authorization.is_some()];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(RequestSettingsError::TwoCredentials);
        }
        if let Some(credentials) = credentials {
            fixed.add("Authorization", &format!("Basic {}", base64(credentials)));
        }
        let events = matches!(format, Format::CloudEvents(_));
        // A header set for all requests goes before that of a record.
        forward.retain(|name| !(set(name) || events && is_attribute(name)));
        let mut made = Vec::new();
        for HeaderField { name, value } in headers {
            if events && is_attribute(&name) {
                return Err(RequestSettingsError::Attribute(name));
            }
            match HeaderTemplate::parse(&value) {
                Ok(None) => fixed.add(&name, &value),
                Ok(Some(template)) => made.push((name, template)),
                Err(error) => return Err(RequestSettingsError::Header(name, error)),
            }
        }
        let target = RequestTarget::parse(&destination.target()).map_err(RequestSettingsError::Url)?;
        let notices = WarnOnce::new(reporter);
        Ok(Self {
            format,
            content_type,
            forward,
            signer,
            authorization,
            target,
            fixed,
            made,
            kafka_headers,
            max_key_header,
            notices,
        })
    }

    /// Sends a record by `post`, which sends one request and returns its answer within the time that it is given:
    /// `timeout`, from when the credentials are available. After a 401 the record is sent once more within the same
    /// attempt, with renewed credentials and a new signature, where they can be renewed.
    ///
    /// It takes at most `timeout` plus [`TOKEN_TIMEOUT`].
    ///
    /// # Errors
    /// There are no credentials, no answer came, or the record can't be sent.
    pub fn send(
        &self,
        record: &Record,
        timeout: Duration,
        mut post: impl FnMut(&WireRequest<'_>, Duration) -> Result<Answer, SendError>,
    ) -> Result<Answer, SendError> {
        let Some(authorization) = &self.authorization else {
            return post(&self.build(record, SystemTime::now(), None)?, timeout);
        };
        let begun = Instant::now();
        let used = authorization.value(after(begun, TOKEN_TIMEOUT))?;
        let sent = Instant::now();
        let answer = post(&self.build(record, SystemTime::now(), Some(&used))?, timeout)?;
        if answer.status != 401 || !authorization.renew(&used) {
            return Ok(answer);
        }
        let waiting = TOKEN_TIMEOUT.saturating_sub(sent.saturating_duration_since(begun));
        let left = timeout.saturating_sub(sent.elapsed());
        if waiting < SHORTEST_RENEWAL || left < timeout / 2 {
            // Too little time is left: the next attempt uses the new ones.
            return Ok(answer);
        }
        let renewed = authorization.value(after(Instant::now(), waiting))?;
        post(&self.build(record, SystemTime::now(), Some(&renewed))?, left)
    }

    /// The core's target of a record: a hash of path and query, the same in each run of the same build.
    pub fn target(&self, record: &Record) -> transport::Target {
        if self.target.is_fixed() {
            return transport::Target::ONLY;
        }
        let mut hasher = DefaultHasher::new();
        self.target.of(record).hash(&mut hasher);
        // The number of the only target is no template's.
        transport::Target(hasher.finish().max(transport::Target::ONLY.0.saturating_add(1)))
    }

    /// Checks that credentials are available.
    ///
    /// # Errors
    /// No token can be fetched.
    pub fn authorized(&self) -> Result<(), SendError> {
        self.credentials().map(drop)
    }

    fn credentials(&self) -> Result<Option<std::sync::Arc<str>>, SendError> {
        let deadline = after(Instant::now(), TOKEN_TIMEOUT);
        self.authorization.as_ref().map(|authorization| authorization.value(deadline)).transpose()
    }

    /// The request for an attempt that begins at `now`.
    ///
    /// # Errors
    /// No credentials are available, or the record is unsendable.
    pub fn make<'r>(&'r self, record: &'r Record, now: SystemTime) -> Result<WireRequest<'r>, SendError> {
        self.build(record, now, self.credentials()?.as_deref())
    }

    fn build<'r>(
        &'r self,
        record: &'r Record,
        now: SystemTime,
        credentials: Option<&str>,
    ) -> Result<WireRequest<'r>, SendError> {
        let mut headers = Headers::with_capacity(USUAL_HEADER_BYTES);
        headers.append(&self.fixed);
        if let Some(credentials) = credentials {
            headers.add("Authorization", credentials);
        }
        let ours = headers.as_str().len();
        let id = webhook_id(record);
        // Invariant 7: the id depends on the record alone, and no part of it can be left out of a header.
        debug_assert!(!id.contains('.'), "Standard Webhooks forbids a dot in an id");
        let value = record.value().unwrap_or_default();
        let (content_type, body) = match &self.format {
            Format::Raw | Format::CloudEvents(_) => (self.content_type_of(record), Cow::Borrowed(value)),
            Format::Json => ("application/json", Cow::Owned(envelope(record).into_bytes())),
        };
        headers.add("Content-Type", content_type);
        if self.kafka_headers {
            self.describe(record, &mut headers);
        }
        if let Format::CloudEvents(events) = &self.format {
            let left_out = events.describe(record, &id, self.max_key_header, &mut headers);
            left_out.iter().for_each(|what| self.tell_left_out(what, record));
        }
        for (name, template) in &self.made {
            headers.add_with(name, |line| template.write(record, line));
        }
        forward::forward(&self.forward, record, &mut headers, &self.notices);
        self.prove(&id, now, &body, &mut headers);
        let target = self.target.of(record);
        // A target without placeholders is not checked: the operator chose it.
        let made_target = if matches!(target, Cow::Owned(_)) { &*target } else { "" };
        self.check_lengths(made_target, headers.as_str().get(ours..).unwrap_or_default())?;
        Ok(WireRequest { target, headers, body })
    }

    /// Rejects what no server takes: each attempt would end alike.
    fn check_lengths(&self, made_target: &str, lines: &str) -> Result<(), SendError> {
        if made_target.len() > LONGEST_TARGET {
            return Err(unsendable("the URL's path and query", made_target.len(), LONGEST_TARGET));
        }
        if lines.len() <= LONGEST_LINE {
            return Ok(());
        }
        // An operator who allows a longer key knows what the server takes.
        let longest = LONGEST_LINE.max(self.max_key_header.saturating_add("kafka-key-base64: ".len()));
        if let Some(line) = lines.split("\r\n").find(|line| line.len() > longest) {
            let name = line.split(':').next().unwrap_or_default();
            return Err(unsendable(&format!("the header {name}"), line.len(), longest));
        }
        let most = MOST_HEADER_BYTES.saturating_add(self.max_key_header);
        if lines.len() > most {
            return Err(unsendable("all its headers together", lines.len(), most));
        }
        Ok(())
    }

    /// Adds id and time of the attempt, and the signature over both and the body.
    fn prove(&self, id: &str, now: SystemTime, body: &[u8], headers: &mut Headers) {
        headers.add("webhook-id", id);
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        headers.add_shown("webhook-timestamp", seconds);
        if let Some(signer) = &self.signer {
            headers.add_with("webhook-signature", |line| signer.sign(id, seconds, body, line));
        }
    }

    fn content_type_of<'a>(&'a self, record: &'a Record) -> &'a str {
        let own = record.headers().filter(|h| h.name.eq_ignore_ascii_case(b"content-type")).last();
        let Some(own) = own.and_then(|h| h.value).filter(|value| !value.is_empty()) else {
            return self.content_type_for(record);
        };
        let sound = own.len() <= LONGEST_CONTENT_TYPE && is_value(own);
        match std::str::from_utf8(own) {
            Ok(text) if sound => text,
            _ => {
                let what = "its own content-type can't stand in a header, so another one was sent";
                self.notices.once("content-type", record, what);
                self.content_type_for(record)
            }
        }
    }

    fn content_type_for(&self, record: &Record) -> &str {
        match &self.content_type {
            Some(content_type) => content_type,
            None => content_type::of(record.value().unwrap_or_default()),
        }
    }

    /// Adds the `kafka-` headers: where the record is from.
    fn describe(&self, record: &Record, headers: &mut Headers) {
        let partition = record.partition();
        headers.add("kafka-topic", partition.topic());
        headers.add_shown("kafka-partition", partition.number());
        headers.add_shown("kafka-offset", record.offset());
        if record.timestamp() >= 0 {
            headers.add_shown("kafka-timestamp", record.timestamp());
        }
        if let Some(key) = record.key() {
            self.describe_key(key, record, headers);
        }
        if record.value().is_none() {
            headers.add("kafka-tombstone", "true");
        }
    }

    fn describe_key(&self, key: &[u8], record: &Record, headers: &mut Headers) {
        let most = self.max_key_header;
        let mut value = String::new();
        // Encoding never makes it shorter.
        let name = match key.len() <= most {
            false => None,
            true if std::str::from_utf8(key).is_ok() => {
                percent_encode(key, &mut value);
                Some("kafka-key")
            }
            true => {
                value = base64(key);
                Some("kafka-key-base64")
            }
        };
        match name.filter(|_| value.len() <= most) {
            Some(name) => headers.add(name, &value),
            None => {
                headers.add_shown("kafka-key-omitted", key.len());
                self.tell_long_key(record);
            }
        }
    }
}

impl Requests {
    fn tell_long_key(&self, record: &Record) {
        let (length, most) = (record.key().map_or(0, <[u8]>::len), self.max_key_header);
        let what = format!(
            "its key of {length} bytes is too long for a header (at most {most} bytes as it is sent) and was \
             left out; kafka-key-omitted tells its length"
        );
        self.notices.once("kafka-key", record, what);
    }

    fn tell_left_out(&self, left_out: &OmittedAttribute, record: &Record) {
        match left_out {
            OmittedAttribute::Key => self.tell_long_key(record),
            OmittedAttribute::Attribute(name) => {
                let what = format!(
                    "its header {name} was left out: an event's attribute has a name of letters and digits, and text in \
                     UTF-8 as its value"
                );
                self.notices.once(name, record, what);
            }
        }
    }
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

fn unsendable(what: &str, length: usize, most: usize) -> SendError {
    let text = format!(
        "no request can be made of this record: {what} would have {length} bytes, and servers take no more than about \
         {most}"
    );
    SendError { kind: SendErrorKind::Unsendable, text }
}

fn is_attribute(name: &str) -> bool {
    name.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("ce-"))
}

/// The id of a record, the same over retries and restarts. Standard Webhooks forbids `.` in an id, and Kafka forbids
/// `~` in a topic name, so `~` replaces it. The timestamp distinguishes a recreated topic, whose offsets start again;
/// it is 0 where the source knows none.
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
    use super::*;
    use crate::record::{Header, Offset, Partition};
    use crate::webhook::headers::is_token;
    use proptest::prelude::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Record {
        Record::with_headers(Partition::new("or.ders", 3), Offset(42), 1_700_000_000_123, key, value, headers)
    }

    fn requests(settings: RequestSettings) -> Requests {
        Requests::new(&Destination::parse("http://receiver.example/hook?a=b").unwrap(), settings).unwrap()
    }

    fn sent(settings: RequestSettings, record: &Record) -> Headers {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_100);
        requests(settings).make(record, now).unwrap().headers
    }

    fn plain(record: &Record) -> Headers {
        sent(RequestSettings::default(), record)
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
    fn invariant_7_the_same_record_has_the_same_webhook_id_on_each_attempt_and_after_a_restart() {
        let record = record(None, Some(b"{}"), &[]);
        let id = |requests: &Requests, second: u64| {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            requests.make(&record, now).unwrap().headers.get("webhook-id").unwrap().to_owned()
        };
        let first = requests(RequestSettings::default());
        let restarted = requests(RequestSettings { kafka_headers: false, ..RequestSettings::default() });
        assert_eq!([id(&first, 1), id(&first, 60), id(&restarted, 3_600)], ["or~ders-3-42-1700000000123"; 3]);
    }

    #[test]
    fn the_body_is_the_value_itself_without_a_copy() {
        let (requests, record) =
            (requests(RequestSettings::default()), record(None, Some(b"\0\xffvalue"), &[]));
        let request = requests.make(&record, UNIX_EPOCH).unwrap();
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
        assert_eq!(plain(&record(None, Some(b"{}"), &own)).get("Content-Type"), Some("text/plain"));
        let broken = [Header { name: b"content-type", value: Some(b"text/plain\r\nX: y") }];
        assert_eq!(plain(&record(None, Some(b"{}"), &broken)).get("Content-Type"), Some("application/json"));
    }

    #[test]
    fn where_nothing_names_the_content_type_the_value_does_and_a_setting_goes_before_it() {
        let of =
            |value: Option<&[u8]>| plain(&record(None, value, &[])).get("Content-Type").unwrap().to_owned();
        assert_eq!(of(Some(b"{\"a\":1}")), "application/json");
        assert_eq!(of(Some(b"\x00\x01")), "application/octet-stream");
        assert_eq!(of(None), "application/octet-stream");
        let set = RequestSettings { content_type: Some("text/csv".into()), ..RequestSettings::default() };
        assert_eq!(sent(set, &record(None, Some(b"{}"), &[])).get("Content-Type"), Some("text/csv"));
    }

    #[test]
    fn only_listed_headers_are_forwarded_and_only_whole() {
        let settings =
            RequestSettings { forward: vec![forwardable("X-Trace").unwrap()], ..RequestSettings::default() };
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
        assert_eq!(sent.get("x-trace-base64"), Some("YQpi"));
        assert_eq!(sent.get("x-other"), None);
    }

    #[test]
    fn credentials_of_the_url_become_basic_authentication() {
        let destination = Destination::parse("http://us%40er:secret@h/").unwrap();
        let requests = Requests::new(&destination, RequestSettings::default()).unwrap();
        let record = record(None, None, &[]);
        let request = requests.make(&record, UNIX_EPOCH).unwrap();
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
            let settings = RequestSettings { forward: vec!["x-a".into(), "x-a\r\n".into()], ..RequestSettings::default() };
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
