//! A record's own headers that are forwarded.
//!
//! A value that is not a valid header value (control characters, white space at an end, not UTF-8) is sent in base64,
//! with `-base64` appended to the name. Number and size are bounded, since servers refuse requests with too many or too
//! long headers.

use super::warn_once::WarnOnce;
use crate::record::Record;
use crate::text::base64;
use crate::webhook::headers::{Headers, is_value};
use std::borrow::Cow;

/// Bytes of all forwarded header lines of a request, at most: what common servers take for one line.
pub const MOST_FORWARDED_BYTES: usize = 8_000;
/// Forwarded header lines of a request, at most: Apache takes 100 lines in all.
pub const MOST_FORWARDED_LINES: usize = 50;
/// The bytes of a line beside name and value: a colon, a space, CR and LF.
const LINE_OVERHEAD: usize = 4;

/// Adds a record's headers of these names, in the record's order; those without a value are ignored.
pub fn forward(names: &[String], record: &Record, headers: &mut Headers, notices: &WarnOnce) {
    if names.is_empty() {
        return;
    }
    let (mut bytes, mut lines) = (0, 0);
    for header in record.headers() {
        let (Ok(name), Some(value)) = (std::str::from_utf8(header.name), header.value) else { continue };
        let Some(known) = names.iter().find(|known| known.eq_ignore_ascii_case(name)) else { continue };
        let length = name.len().saturating_add(value.len()).saturating_add(LINE_OVERHEAD);
        if lines >= MOST_FORWARDED_LINES || length > MOST_FORWARDED_BYTES - bytes {
            notices.once(known, record, Omitted { name: known, length: value.len() });
            continue;
        }
        let (name, value) = match std::str::from_utf8(value).ok().filter(|text| is_value(text.as_bytes())) {
            Some(text) => (Cow::Borrowed(name), Cow::Borrowed(text)),
            None => (Cow::Owned(format!("{name}-base64")), Cow::Owned(base64::encode(value))),
        };
        let length = name.len() + value.len() + LINE_OVERHEAD;
        if length > MOST_FORWARDED_BYTES - bytes {
            notices.once(known, record, Omitted { name: known, length: value.len() });
            continue;
        }
        headers.add(&name, &value);
        (bytes, lines) = (bytes + length, lines + 1);
    }
}

struct Omitted<'a> {
    name: &'a str,
    length: usize,
}

impl std::fmt::Display for Omitted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, length } = self;
        write!(
            f,
            "the record's header {name} ({length} bytes) was not forwarded: at most {MOST_FORWARDED_LINES} headers \
             with {MOST_FORWARDED_BYTES} bytes in all go along with a request"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Reporter;
    use crate::record::{Header, Offset, Partition};
    use proptest::prelude::*;
    use std::sync::Mutex;

    fn forwarded(names: &[&str], headers: &[Header<'_>], reporter: Reporter) -> Headers {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let record = Record::with_headers(Partition::new("t", 1), Offset(2), 3, None, None, headers);
        let (mut lines, notices) = (Headers::default(), WarnOnce::new(reporter));
        for _ in 0..3 {
            lines = Headers::default();
            forward(&names, &record, &mut lines, &notices);
        }
        lines
    }

    fn header<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
        Header { name: name.as_bytes(), value: Some(value) }
    }

    #[test]
    fn what_no_line_can_hold_goes_as_base64() {
        for (value, expected) in [
            (&b"\x02"[..], "Ag=="),
            (&42u64.to_be_bytes(), "AAAAAAAAACo="),
            (b"x\n", "eAo="),
            (b" x", "IHg="),
            (b"x\t", "eAk="),
            (b"\xff", "/w=="),
            (b"a\r\nB: c", "YQ0KQjogYw=="),
        ] {
            let sent = forwarded(&["trace"], &[header("Trace", value)], Reporter::SILENT);
            assert_eq!(sent.as_str(), format!("Trace-base64: {expected}\r\n"), "{value:?}");
        }
        for value in ["", "x", "a b", "Zoë"] {
            let sent = forwarded(&["trace"], &[header("trace", value.as_bytes())], Reporter::SILENT);
            assert_eq!(sent.as_str(), format!("trace: {value}\r\n"));
        }
    }

    #[test]
    fn more_than_servers_take_is_left_out_and_told_once_per_name() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let warn = |text: &str| TOLD.lock().unwrap().push(text.to_owned());
        let (long, binary) = (vec![b'x'; MOST_FORWARDED_BYTES], vec![0; MOST_FORWARDED_BYTES * 7 / 8]);
        let headers = [header("a", &long), header("b", b"y"), header("a", b"z"), header("c", &binary)];
        let reporter = Reporter { warn, ..Reporter::SILENT };
        let sent = forwarded(&["a", "b", "c"], &headers, reporter);
        assert_eq!(sent.as_str(), "b: y\r\na: z\r\n");
        let told = TOLD.lock().unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("offset 2") && told[0].contains("header a (8000 bytes) was not"),
            "{told:?}"
        );
        let many = vec![header("a", b""); 1_000];
        let sent = forwarded(&["a"], &many, Reporter::SILENT);
        assert_eq!(sent.iter().count(), MOST_FORWARDED_LINES);
    }

    proptest! {
        #[test]
        fn every_forwarded_value_comes_back_as_it_was(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let sent = forwarded(&["a"], &[header("a", &value)], Reporter::SILENT);
            let (name, text) = sent.iter().next().unwrap();
            match name {
                "a" => prop_assert_eq!(text.as_bytes(), value),
                _ => prop_assert_eq!(base64::decode(text), Some(value)),
            }
        }
    }
}
