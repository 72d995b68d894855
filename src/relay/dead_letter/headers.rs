//! A dead letter as a record: the original one with headers that say where it is from and why it was rejected.
//!
//! That is the form in which letters lie in a topic, and in which they travel when they are sent again: their place
//! is then that in the topic or file of dead letters, so that progress is kept there, and [`restore`] gives back the
//! record as it was. Pure.

use super::{DeadLetter, Rejection};
use crate::record::{Header, Offset, Partition, Record};
use crate::text::time::{millis, time};
use std::fmt;

/// What the names of all these headers begin with. A record's own headers never do: they would be ours, from before.
pub const PREFIX: &str = "sluicegate-error-";

/// The longest name of a topic.
pub(crate) const LONGEST_TOPIC: usize = 249;

/// The headers, each named once. Numbers are written in decimal, times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorHeader {
    /// The topic it came from.
    Topic,
    /// Its partition there.
    Partition,
    /// Its offset there.
    Offset,
    /// Its timestamp there; a topic may give the letter another.
    Timestamp,
    /// The status of the last answer; no value where none came.
    Status,
    /// What the destination said, or why no answer came.
    Reason,
    /// How often it was sent.
    Attempts,
    /// When it was first sent.
    FirstAttempt,
    /// When it was last sent.
    LastAttempt,
}

impl ErrorHeader {
    /// All of them, in the order in which they are written.
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Topic, "sluicegate-error-topic"),
        (Self::Partition, "sluicegate-error-partition"),
        (Self::Offset, "sluicegate-error-offset"),
        (Self::Timestamp, "sluicegate-error-timestamp"),
        (Self::Status, "sluicegate-error-status"),
        (Self::Reason, "sluicegate-error-reason"),
        (Self::Attempts, "sluicegate-error-attempts"),
        (Self::FirstAttempt, "sluicegate-error-first-attempt"),
        (Self::LastAttempt, "sluicegate-error-last-attempt"),
    ];

    /// The header's name.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    fn text(self, letter: &DeadLetter) -> Option<String> {
        let DeadLetter { record, rejection } = letter;
        Some(match self {
            Self::Topic => record.partition().topic().to_owned(),
            Self::Partition => record.partition().number().to_string(),
            Self::Offset => record.offset().to_string(),
            Self::Timestamp => record.timestamp().to_string(),
            Self::Status => return rejection.status.map(|status| status.to_string()),
            Self::Reason => rejection.reason.clone(),
            Self::Attempts => rejection.attempts.to_string(),
            Self::FirstAttempt => millis(rejection.first_attempt).to_string(),
            Self::LastAttempt => millis(rejection.last_attempt).to_string(),
        })
    }
}

/// Whether it is a valid topic name: an edited file must not bring a line break into the headers of a request.
pub(crate) fn is_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_TOPIC).contains(&name.len()) && name.bytes().all(legal)
}

/// The headers of a dead letter: the record's own in order, then the [error headers](ErrorHeader). Those of an earlier
/// rejection are left out, so that a record that is rejected again names its origin once.
pub fn with_headers<T>(letter: &DeadLetter, take: impl FnOnce(&[Header<'_>]) -> T) -> T {
    let texts = ErrorHeader::ALL.map(|(field, name)| (name, field.text(letter)));
    let fields = texts
        .iter()
        .map(|(name, text)| Header { name: name.as_bytes(), value: text.as_deref().map(str::as_bytes) });
    let headers: Vec<Header<'_>> =
        letter.record.headers().filter(|header| !is_ours(header)).chain(fields).collect();
    take(&headers)
}

/// The letter as a record at this place of a topic or file of dead letters.
pub fn to_record(letter: &DeadLetter, partition: Partition, offset: Offset) -> Record {
    let record = &letter.record;
    with_headers(letter, |headers| {
        Record::with_headers(partition, offset, record.timestamp(), record.key(), record.value(), headers)
    })
}

fn is_ours(header: &Header<'_>) -> bool {
    header.name.starts_with(PREFIX.as_bytes())
}

/// A record that is no dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADeadLetter(ErrorHeader);

impl fmt::Display for NotADeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no dead letter: its header {} is missing or makes no sense", self.0.name())
    }
}

impl std::error::Error for NotADeadLetter {}

/// The letter that a record is: the record as it was, and why it was rejected. Of a header that is there twice the
/// last counts, as in Kafka.
///
/// # Errors
/// [`NotADeadLetter`] names the first header that is missing or makes no sense.
pub fn restore(record: &Record) -> Result<DeadLetter, NotADeadLetter> {
    let origin = origin(record)?;
    let own: Vec<Header<'_>> = record.headers().filter(|header| !is_ours(header)).collect();
    let timestamp = number(record, ErrorHeader::Timestamp)?;
    let partition = Partition::new(origin.topic, origin.partition);
    let offset = Offset(origin.offset);
    Ok(DeadLetter {
        record: Record::with_headers(partition, offset, timestamp, record.key(), record.value(), &own),
        rejection: rejection(record)?,
    })
}

/// Where a letter is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// The topic.
    pub(crate) topic: &'a str,
    /// The partition's number.
    pub(crate) partition: i32,
    /// The offset.
    pub(crate) offset: i64,
}

/// Where the letter that a record is came from.
///
/// # Errors
/// As of [`restore`].
pub(crate) fn origin(record: &Record) -> Result<Origin<'_>, NotADeadLetter> {
    let topic = text(record, ErrorHeader::Topic)
        .filter(|topic| is_topic(topic))
        .ok_or(NotADeadLetter(ErrorHeader::Topic))?;
    Ok(Origin {
        topic,
        partition: number(record, ErrorHeader::Partition)?,
        offset: number(record, ErrorHeader::Offset)?,
    })
}

/// Whether the record is a letter.
///
/// # Errors
/// As of [`restore`].
pub fn check(record: &Record) -> Result<(), NotADeadLetter> {
    origin(record)?;
    number::<i64>(record, ErrorHeader::Timestamp)?;
    rejection(record).map(drop)
}

/// Why the letter that a record is was rejected.
///
/// # Errors
/// As of [`restore`].
pub(crate) fn rejection(record: &Record) -> Result<Rejection, NotADeadLetter> {
    let status = match value(record, ErrorHeader::Status).ok_or(NotADeadLetter(ErrorHeader::Status))? {
        None => None,
        Some(_) => Some(number(record, ErrorHeader::Status)?),
    };
    Ok(Rejection {
        status,
        reason: text(record, ErrorHeader::Reason).ok_or(NotADeadLetter(ErrorHeader::Reason))?.to_owned(),
        attempts: number(record, ErrorHeader::Attempts)?,
        first_attempt: time(number(record, ErrorHeader::FirstAttempt)?),
        last_attempt: time(number(record, ErrorHeader::LastAttempt)?),
    })
}

/// The last header of this name: there is one, perhaps without a value.
fn value(record: &Record, field: ErrorHeader) -> Option<Option<&[u8]>> {
    record.headers().filter(|header| header.name == field.name().as_bytes()).last().map(|header| header.value)
}

fn text(record: &Record, field: ErrorHeader) -> Option<&str> {
    value(record, field).flatten().and_then(|value| std::str::from_utf8(value).ok())
}

fn number<T: std::str::FromStr>(record: &Record, field: ErrorHeader) -> Result<T, NotADeadLetter> {
    text(record, field).and_then(|text| text.parse().ok()).ok_or(NotADeadLetter(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn letter(headers: &[Header<'_>]) -> DeadLetter {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        DeadLetter {
            record: Record::with_headers(
                Partition::new("orders", 3),
                Offset(42),
                -1,
                None,
                Some(b"\xff\0"),
                headers,
            ),
            rejection: Rejection {
                status: None,
                reason: "no answer".into(),
                attempts: 7,
                first_attempt: at,
                last_attempt: at + Duration::from_secs(1),
            },
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_fields() {
        for (at, (field, name)) in ErrorHeader::ALL.into_iter().enumerate() {
            assert_eq!((field as usize, field.name()), (at, name));
            assert!(name.starts_with(PREFIX));
        }
    }

    #[test]
    fn a_letter_comes_back_as_it_was() {
        let own = [
            Header { name: b"a", value: Some(b"1") },
            Header { name: b"\xff", value: None },
            Header { name: b"a", value: Some(b"") },
        ];
        let before = letter(&own);
        let carried = to_record(&before, Partition::new("dead", 0), Offset(5));
        assert_eq!((carried.partition().topic(), carried.offset()), ("dead", Offset(5)));
        assert_eq!(carried.headers().len(), own.len() + ErrorHeader::ALL.len());
        let DeadLetter { record, rejection } = restore(&carried).unwrap();
        assert!(record.headers().eq(own));
        assert_eq!(record.partition(), before.record.partition());
        assert_eq!((record.offset(), record.timestamp()), (Offset(42), -1));
        assert_eq!((record.key(), record.value()), (None, Some(&b"\xff\0"[..])));
        assert_eq!(rejection, before.rejection);
    }

    #[test]
    fn fields_of_an_earlier_refusal_are_replaced_and_not_doubled() {
        let stale = [
            Header { name: b"sluicegate-error-topic", value: Some(b"stale") },
            Header { name: b"sluicegate-error-other", value: None },
            Header { name: b"own", value: None },
        ];
        let carried = to_record(&letter(&stale), Partition::new("dead", 0), Offset(5));
        assert_eq!(carried.headers().len(), 1 + ErrorHeader::ALL.len());
        assert_eq!(restore(&carried).unwrap().record.partition().topic(), "orders");
    }

    #[test]
    fn a_record_that_is_no_letter_is_told_by_what_it_lacks() {
        let none = Record::new(Partition::new("t", 0), Offset(0), 0, None, None);
        assert_eq!(restore(&none).unwrap_err(), NotADeadLetter(ErrorHeader::Topic));
        let carried = to_record(&letter(&[]), Partition::new("dead", 0), Offset(5));
        for (field, name) in ErrorHeader::ALL {
            let mut headers: Vec<Header<'_>> = carried.headers().collect();
            headers.push(Header { name: name.as_bytes(), value: Some(b"\xff") });
            let broken = Record::with_headers(Partition::new("t", 0), Offset(0), 0, None, None, &headers);
            assert_eq!(restore(&broken).unwrap_err(), NotADeadLetter(field));
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(values in prop::collection::vec(prop::option::of(".{0,24}|[0-9]{1,24}"), 9)) {
            let headers: Vec<Header<'_>> = ErrorHeader::ALL
                .iter()
                .zip(&values)
                .map(|((_, name), value)| Header { name: name.as_bytes(), value: value.as_deref().map(str::as_bytes) })
                .collect();
            let _ = restore(&Record::with_headers(Partition::new("t", 0), Offset(0), 0, None, None, &headers));
        }
    }
}
