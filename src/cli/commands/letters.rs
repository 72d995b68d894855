//! Dead letters as `replay` and `tail` read and show them.

use crate::cli::Failure;
use crate::observe::log;
use crate::relay::dead_letter::DeadLetter;
use crate::relay::dead_letter::file_source::{DeadLetterFiles, ReadOptions};
use crate::relay::dead_letter::replay_progress::{ReplayEntries, ReplayProgress};
use crate::relay::source::{PollLimit, Polled, Source};
use crate::text::terminal::excerpt;
use crate::text::time::shown;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How long a reader waits for records before it asks again.
const POLL_WAIT: Duration = Duration::from_millis(200);
/// How much a reader takes at once.
const AT_ONCE: PollLimit = PollLimit { records: 500, bytes: 8 << 20 };
/// Characters of a key that are shown.
const KEY_CHARS: usize = 40;
/// Characters of a value, and of a reason, that are shown.
const VALUE_CHARS: usize = 80;

/// The letters of a file and its rotated ones, from where `entries` says on, with progress kept in `replayed`.
pub(super) fn file_source(
    path: &Path,
    entries: &ReplayEntries,
    replayed: Option<ReplayProgress>,
    reading: ReadOptions,
) -> Result<Box<dyn Source>, Failure> {
    let source = DeadLetterFiles::open(path, entries, replayed, reading);
    Ok(Box::new(source.map_err(|error| Failure::unreadable(path, &error))?))
}

/// Hands everything that a source brings to `take`, until its end or until `take` has enough.
pub(super) fn each(
    source: &mut dyn Source,
    mut take: impl FnMut(Polled) -> ControlFlow<()>,
) -> Result<(), Failure> {
    loop {
        match source.poll(AT_ONCE, POLL_WAIT) {
            Ok(Polled::Nothing) => {}
            Ok(Polled::End) => break,
            Ok(polled) => {
                if take(polled).is_break() {
                    break;
                }
            }
            Err(error) => return Err(Failure::failed(error.to_string())),
        }
    }
    source.close();
    Ok(())
}

/// Prints a warning about the letters to stderr.
pub(super) fn warn(text: &str) {
    log::say(::log::Level::Warn, text);
}

/// A letter in a line: when it was rejected, where it is from, the status, the reason, key and value.
pub(super) fn line(letter: &DeadLetter) -> String {
    let DeadLetter { record, rejection } = letter;
    let at = shown(rejection.last_attempt);
    let status = rejection.status.map_or("no answer".into(), |status| status.to_string());
    let mut line = format!("{at} {}@{} {status}", record.partition(), record.offset());
    // Writing to a String cannot fail.
    let _ = write!(line, " \"{}\"", excerpt(rejection.reason.as_bytes(), VALUE_CHARS));
    match record.key() {
        Some(key) => _ = write!(line, " key \"{}\"", excerpt(key, KEY_CHARS)),
        None => line.push_str(" no key"),
    }
    match record.value() {
        Some(value) => {
            _ = write!(line, " value \"{}\" ({} bytes)", excerpt(value, VALUE_CHARS), value.len());
        }
        None => line.push_str(" no value"),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Partition, Record};
    use crate::relay::dead_letter::Rejection;
    use crate::text::time::time;

    #[test]
    fn a_letter_is_one_line_that_cannot_hurt_a_terminal() {
        let value = b"{\"a\":\x1b[2J\n\xff\xe2\x80\xae}";
        let letter = DeadLetter {
            record: Record::new(Partition::new("orders", 3), Offset(42), 7, Some(b"k"), Some(value)),
            rejection: Rejection {
                status: Some(422),
                reason: "no\r\nthanks".into(),
                attempts: 2,
                first_attempt: time(0),
                last_attempt: time(1_500),
            },
        };
        let expected = r#"1970-01-01T00:00:01.5Z orders-3@42 422 "no\r\nthanks" key "k" value "{\"a\":\u{1b}[2J\n\xff\u{202e}}" (15 bytes)"#;
        assert_eq!(line(&letter).replace("01.500Z", "01.5Z"), expected);
    }
}
