//! A dead letter as a line: one JSON object with all that is needed to send the record again. Pure.
//!
//! Bytes are written as text where they are UTF-8, and else in base64 in a member whose name ends in `_base64`; large
//! ones also where that is shorter, so that a line is little longer than its record. Members are written in a fixed
//! order and read in any; unknown ones are ignored.

use super::headers::is_topic;
use super::{DeadLetter, Rejection};
use crate::record::{Header, Offset, Partition, Record};
use crate::text::time::{millis, time};
use crate::text::{base64, json};
use std::fmt;
use std::fmt::Write as _;

/// How each of our lines begins. It stands nowhere else in a line: quotes in a value are escaped.
pub(crate) const BEGIN: &[u8] = b"{\"topic\":\"";
/// The longest line that is written or read, in bytes. A record of 128 MB, the most that the Kafka client unpacks,
/// fits with all its headers.
pub(crate) const LONGEST: usize = 256 << 20;
/// Smaller values stay readable text, however much of them is escaped.
const READABLE: usize = 4 << 10;
/// How much of a file is looked at to tell whether it is one of dead letters.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// Appends the line, with its line break.
pub fn write(line: &mut String, letter: &DeadLetter) {
    let DeadLetter { record, rejection } = letter;
    line.push('{');
    text(line, "topic", record.partition().topic());
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "\"partition\":{},\"offset\":{},\"timestamp\":{},",
        record.partition().number(),
        record.offset(),
        record.timestamp()
    );
    bytes(line, "key", record.key());
    bytes(line, "value", record.value());
    line.push_str("\"headers\":[");
    for (n, Header { name, value }) in record.headers().enumerate() {
        line.push_str(if n == 0 { "{" } else { ",{" });
        bytes(line, "name", Some(name));
        bytes(line, "value", value);
        line.pop();
        line.push('}');
    }
    line.push_str("],");
    match rejection.status {
        Some(status) => {
            let _ = write!(line, "\"status\":{status},");
        }
        None => line.push_str("\"status\":null,"),
    }
    text(line, "reason", &rejection.reason);
    let _ = writeln!(
        line,
        "\"attempts\":{},\"first_attempt_ms\":{},\"last_attempt_ms\":{}}}",
        rejection.attempts,
        millis(rejection.first_attempt),
        millis(rejection.last_attempt)
    );
}

fn bytes(line: &mut String, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => {
            let _ = write!(line, "\"{name}\":null,");
        }
        Some((Ok(valid), _)) if valid.len() <= READABLE => text(line, name, valid),
        Some((Ok(valid), raw)) => {
            let escaped = json::escape(valid);
            if escaped.len() <= raw.len().div_ceil(3) * 4 {
                let _ = write!(line, "\"{name}\":\"{escaped}\",");
            } else {
                encoded_bytes(line, name, raw);
            }
        }
        Some((Err(_), raw)) => encoded_bytes(line, name, raw),
    }
}

fn encoded_bytes(line: &mut String, name: &str, raw: &[u8]) {
    let _ = write!(line, "\"{name}_base64\":\"{}\",", base64::encode(raw));
}

fn text(line: &mut String, name: &str, value: &str) {
    let _ = write!(line, "\"{name}\":\"{}\",", json::escape(value));
}

/// Whether [`parse`] reads what [`write()`] wrote of this letter, but for its length.
///
/// # Errors
/// Why not.
pub(crate) fn is_readable(letter: &DeadLetter) -> Result<(), LineError> {
    let record = &letter.record;
    let partition = record.partition();
    match () {
        () if !is_topic(partition.topic()) => Err(LineError::Member("topic")),
        () if partition.number() < 0 => Err(LineError::Member("partition")),
        () if record.offset().0 < 0 => Err(LineError::Member("offset")),
        () => Ok(()),
    }
}

/// Whether a file or a line with this beginning is one of ours, perhaps damaged: a power cut leaves NUL bytes or
/// half a line.
pub(crate) fn is_beginning(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
    let sound = line.split(|byte| *byte == 0).next().unwrap_or(line);
    let is_torn = sound.len() < line.len() || line.len() == head.len();
    sound.starts_with(BEGIN) || (is_torn && BEGIN.starts_with(sound)) || parse(line).is_ok()
}

/// The letter at the end of a line that begins with something else, and where it begins: half a line to which another
/// was appended.
pub fn salvage(line: &[u8]) -> Option<(usize, DeadLetter)> {
    let at = line.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    Some((at, parse(line.get(at..)?).ok()?))
}

/// A line that is no dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is not UTF-8, or no JSON object.
    NoObject,
    /// This member is missing or makes no sense.
    Member(&'static str),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject => f.write_str("it is no dead letter: it is not a JSON object"),
            Self::Member(name) => {
                write!(f, "it is no dead letter: its '{name}' is missing or makes no sense")
            }
        }
    }
}

impl std::error::Error for LineError {}

/// Bytes that may be null; not there at all until they are read.
type Bytes = Option<Option<Vec<u8>>>;

/// Names and values.
type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What has been read of a line.
#[derive(Default)]
struct Found {
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    key: Bytes,
    value: Bytes,
    headers: Option<Headers>,
    status: Option<Option<u16>>,
    reason: Option<String>,
    attempts: Option<u32>,
    first: Option<u64>,
    last: Option<u64>,
}

/// Reads a line, without its line break.
///
/// # Errors
/// [`LineError`] for anything that is not a dead letter.
pub fn parse(line: &[u8]) -> Result<DeadLetter, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::NoObject)?;
    let mut found = Found::default();
    json::members(line, |name, raw| {
        found.take(name, raw);
        Some(())
    })
    .ok_or(LineError::NoObject)?;
    found.letter()
}

impl Found {
    /// Keeps a member; one that makes no sense counts as missing.
    fn take(&mut self, name: &str, raw: &str) {
        match name {
            "topic" => self.topic = json::string(raw).filter(|topic| is_topic(topic)),
            "partition" => self.partition = raw.parse().ok().filter(|number| *number >= 0),
            "offset" => self.offset = raw.parse().ok().filter(|offset| *offset >= 0),
            "timestamp" => self.timestamp = raw.parse().ok(),
            "key" => self.key = plain(raw),
            "key_base64" => self.key = encoded(raw),
            "value" => self.value = plain(raw),
            "value_base64" => self.value = encoded(raw),
            "headers" => self.headers = headers(raw),
            "status" if raw == "null" => self.status = Some(None),
            "status" => self.status = raw.parse().ok().map(Some),
            "reason" => self.reason = json::string(raw),
            "attempts" => self.attempts = raw.parse().ok(),
            "first_attempt_ms" => self.first = raw.parse().ok(),
            "last_attempt_ms" => self.last = raw.parse().ok(),
            _ => {}
        }
    }

    fn letter(self) -> Result<DeadLetter, LineError> {
        let wanted = LineError::Member;
        let partition =
            Partition::new(self.topic.ok_or(wanted("topic"))?, self.partition.ok_or(wanted("partition"))?);
        let offset = Offset(self.offset.ok_or(wanted("offset"))?);
        let timestamp = self.timestamp.ok_or(wanted("timestamp"))?;
        let (key, value) = (self.key.ok_or(wanted("key"))?, self.value.ok_or(wanted("value"))?);
        let headers = self.headers.ok_or(wanted("headers"))?;
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        Ok(DeadLetter {
            record: Record::with_headers(
                partition,
                offset,
                timestamp,
                key.as_deref(),
                value.as_deref(),
                &headers,
            ),
            rejection: Rejection {
                status: self.status.ok_or(wanted("status"))?,
                reason: self.reason.ok_or(wanted("reason"))?,
                attempts: self.attempts.ok_or(wanted("attempts"))?,
                first_attempt: time(self.first.ok_or(wanted("first_attempt_ms"))?),
                last_attempt: time(self.last.ok_or(wanted("last_attempt_ms"))?),
            },
        })
    }
}

fn plain(raw: &str) -> Bytes {
    match raw {
        "null" => Some(None),
        _ => json::string(raw).map(|text| Some(text.into_bytes())),
    }
}

fn encoded(raw: &str) -> Bytes {
    base64::decode(&json::string(raw)?).map(Some)
}

fn headers(raw: &str) -> Option<Headers> {
    let mut all = Vec::new();
    json::items(raw, |item| {
        let (mut name, mut value) = (None, None);
        json::members(item, |member, raw| {
            match member {
                "name" => name = plain(raw),
                "name_base64" => name = encoded(raw),
                "value" => value = plain(raw),
                "value_base64" => value = encoded(raw),
                _ => {}
            }
            Some(())
        })?;
        all.push((name??, value?));
        Some(())
    })?;
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        status: Option<u16>,
    ) -> DeadLetter {
        DeadLetter {
            record: Record::with_headers(Partition::new("t", 1), Offset(5), 7, key, value, headers),
            rejection: Rejection {
                status,
                reason: "no \"thanks\"\u{1f600}\u{7f}".into(),
                attempts: 2,
                first_attempt: time(1_500),
                last_attempt: time(u64::from(u32::MAX)),
            },
        }
    }

    fn read_back(before: &DeadLetter) {
        let mut line = String::new();
        write(&mut line, before);
        assert_eq!(is_readable(before), Ok(()));
        assert!(is_beginning(&line.as_bytes()[..line.len().min(HEAD_BYTES)]));
        assert!(line.as_bytes().starts_with(BEGIN));
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        let after = parse(line.trim_end_matches('\n').as_bytes()).unwrap();
        assert_eq!(after.rejection, before.rejection);
        let (after, before) = (&after.record, &before.record);
        assert_eq!(after.partition(), before.partition());
        assert_eq!((after.offset(), after.timestamp()), (before.offset(), before.timestamp()));
        assert_eq!((after.key(), after.value()), (before.key(), before.value()));
        assert!(after.headers().eq(before.headers()));
    }

    #[test]
    fn members_may_come_in_any_order_with_space_between() {
        let line = r#" { "status" : null, "reason":"r", "headers" : [ { "value":null, "name" : "a" } ],
            "noted":{"by":["me"]}, "value" : "\u00e9", "key_base64" : "\/w==", "attempts":1, "topic":"t",
            "offset":5, "timestamp":-1,"partition":0,"first_attempt_ms":1,"last_attempt_ms":2 } "#;
        let DeadLetter { record, rejection } = parse(line.as_bytes()).unwrap();
        assert_eq!((record.key(), record.value()), (Some(&b"\xff"[..]), Some("é".as_bytes())));
        assert_eq!((record.timestamp(), rejection.status), (-1, None));
        assert_eq!(record.headers().next(), Some(Header { name: b"a", value: None }));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut line = String::new();
        write(&mut line, &letter(None, None, &[], Some(422)));
        let line = line.trim_end();
        for name in
            ["topic", "partition", "offset", "timestamp", "key", "value", "headers", "status", "reason"]
        {
            let without = line.replacen(&format!("\"{name}\""), "\"x\"", 1);
            assert_eq!(parse(without.as_bytes()).unwrap_err(), LineError::Member(name));
        }
        for (from, to, name) in [
            ("\"offset\":5", "\"offset\":-5", "offset"),
            ("\"partition\":1", "\"partition\":99999999999", "partition"),
            ("\"topic\":\"t\"", "\"topic\":\"\"", "topic"),
            ("\"topic\":\"t\"", "\"topic\":\"t\\r\\nX-Forged: 1\"", "topic"),
            ("\"status\":422", "\"status\":1e9", "status"),
            ("\"value\":null", "\"value_base64\":\"?\"", "value"),
            ("\"headers\":[]", "\"headers\":[{}]", "headers"),
        ] {
            assert_eq!(
                parse(line.replace(from, to).as_bytes()).unwrap_err(),
                LineError::Member(name),
                "{to}"
            );
        }
        for text in [&b""[..], b"[]", b"{", b"\xff", b"{} {}"] {
            assert_eq!(parse(text).unwrap_err(), LineError::NoObject);
        }
    }

    #[test]
    fn a_large_record_of_control_characters_takes_a_line_little_longer() {
        let value = vec![1; 100_000];
        let large = letter(Some(&value), Some(&value), &[Header { name: b"a", value: Some(&value) }], None);
        read_back(&large);
        let mut line = String::new();
        write(&mut line, &large);
        assert!(line.len() < 3 * value.len() * 4 / 3 + 500, "{}", line.len());
    }

    #[test]
    fn a_beginning_is_told_from_that_of_other_files() {
        let mut line = String::new();
        write(&mut line, &letter(None, None, &[], None));
        let reordered = "{ \"offset\":5, ".to_owned() + &line[1..].replace("\"offset\":5,", "");
        for ours in [&line[..], &line[..1], &line[..7], "", "\0\0\0", "{\"to\0\0", "\0\0rest\n", &reordered] {
            assert!(is_beginning(ours.as_bytes()), "{ours:?}");
        }
        for other in ["x", "{\"level\":\"info\"}\n", "{\n", "{}\n", "\n", "notes\n{\"topic\":\"a\"", "{\"x\0"]
        {
            assert!(!is_beginning(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_letter_behind_half_a_line_is_found() {
        let mut line = String::new();
        write(&mut line, &letter(Some(b"{\"topic\":\""), Some(b"v"), &[], None));
        let line = line.trim_end();
        for cut in 0..line.len() {
            let (at, letter) = salvage(&[&line.as_bytes()[..cut], line.as_bytes()].concat()).unwrap();
            assert_eq!((at, letter.record.value()), (cut, Some(&b"v"[..])));
        }
        assert!(salvage(&line.as_bytes()[1..]).is_none());
    }

    type Parts = (Vec<u8>, Option<Vec<u8>>);

    /// Records as Kafka may bring them, and rejections as clocks and receivers may make them.
    fn any_letter() -> impl Strategy<Value = DeadLetter> {
        let record = (
            "[a-zA-Z0-9._-]{1,249}",
            0..=i32::MAX,
            0..=i64::MAX,
            any::<i64>(),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            prop::option::of(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                ".{0,20}".prop_map(String::into_bytes),
                (any::<u8>(), READABLE..READABLE + 9).prop_map(|(byte, length)| vec![byte & 0x7f; length]),
            ]),
            prop::collection::vec(any::<Parts>(), 0..4),
        );
        let rejection = (prop::option::of(any::<u16>()), ".{0,30}", any::<u32>(), any::<u64>(), any::<u64>());
        (record, rejection).prop_map(
            |((topic, partition, offset, timestamp, key, value, headers), rejection)| {
                let (status, reason, attempts, first, last) = rejection;
                let headers: Vec<Header<'_>> =
                    headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
                let partition = Partition::new(topic, partition);
                DeadLetter {
                    record: Record::with_headers(
                        partition,
                        Offset(offset),
                        timestamp,
                        key.as_deref(),
                        value.as_deref(),
                        &headers,
                    ),
                    rejection: Rejection {
                        status,
                        reason,
                        attempts,
                        first_attempt: time(first),
                        last_attempt: time(last),
                    },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_readable_is_read_as_it_was_written(letter in any_letter()) {
            read_back(&letter);
        }

        #[test]
        fn every_letter_is_read_as_it_was_written(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
            text in prop::option::of(".{0,20}"),
            headers in prop::collection::vec(any::<Parts>(), 0..4),
            status in prop::option::of(100u16..1000),
        ) {
            let headers: Vec<Header<'_>> =
                headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
            let value = text.as_ref().map(|text| text.as_bytes().to_vec()).or(value);
            read_back(&letter(key.as_deref(), value.as_deref(), &headers, status));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_change_of_a_line_makes_it_panic(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
            let mut line = String::new();
            write(&mut line, &letter(Some(b"\xff"), Some(b"v"), &[Header { name: b"a", value: None }], None));
            let mut bytes = line.into_bytes();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut % length + 1);
            let _ = parse(&bytes);
        }
    }
}
