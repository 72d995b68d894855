//! `tail`: dead letters for people, one a line; or for programs, as they would stand in a file.

use super::letters::{self, LettersIn};
use super::options::Options;
use super::{Exit, Failure};
use crate::relay::dead_letter::file_source::ReadOptions;
use crate::relay::dead_letter::headers::{millis, restore};
use crate::relay::dead_letter::replay_progress::ReplayEntries;
use crate::relay::dead_letter::{DeadLetter, line as json_line};
use crate::relay::source::Polled;
use crate::text::terminal::{self, excerpt};
use crate::webhook::cloud_event::rfc3339;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// So many characters of a key are shown, and so many of a value and of a reason.
const KEY_CHARS: usize = 40;
/// Of a value and of a reason.
const VALUE_CHARS: usize = 80;

/// Shows the letters that are wanted.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut source = match LettersIn::parse(options.operand.as_ref())? {
        LettersIn::File(_) if options.follow => {
            return Err(Failure::usage("--follow is for topics; for a file there is tail -F FILE"));
        }
        LettersIn::File(path) => {
            let reading = ReadOptions { skips_strangers: true, one_by_one: false };
            letters::file_source(&path, &ReplayEntries::default(), None, reading)?
        }
        LettersIn::Topic(topic) => {
            // Nothing is ever committed under this name, so that it begins with the oldest letter.
            let group = format!("sluicegate-tail-{topic}");
            let options = letters::reading(options, &topic, group);
            letters::look_into(&Options { until_end: !options.follow, ..options })?
        }
    };
    let mut written = Ok(());
    letters::each(source.as_mut(), |polled| {
        match polled {
            Polled::Notice(notice) => warn(&notice.text),
            Polled::Records(records) => {
                for record in &records {
                    match restore(record) {
                        Ok(letter) if options.letters.wants(&letter) => {
                            written = write(&letter, options.json);
                            if written.is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                        Ok(_) => {}
                        Err(error) => {
                            warn(&format!("{} offset {}: {error}", record.partition(), record.offset()));
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    match written {
        // A reader that has gone (`| head`) is no fault of ours.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { exit: Exit::Failed, text: format!("standard output can't be written: {error}") })
        }
        _ => Ok(()),
    }
}

/// Says something about what is shown, beside it.
pub(super) fn warn(text: &str) {
    crate::observe::log::say(::log::Level::Warn, text);
}

fn write(letter: &DeadLetter, json: bool) -> io::Result<()> {
    let mut text = String::new();
    if json {
        json_line::write(&mut text, letter);
        // The same values, and nothing that a terminal would act on.
        text = terminal::json(&text);
    } else {
        text = line(letter);
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A letter in a line: when it was refused, where it is from, the status, the reason, key and value.
pub(super) fn line(letter: &DeadLetter) -> String {
    let DeadLetter { record, rejection } = letter;
    let at =
        i64::try_from(millis(rejection.last_attempt)).ok().and_then(rfc3339).unwrap_or_else(|| "?".into());
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
    use crate::relay::dead_letter::headers::time;

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
