//! What is kept of an answer: the status, `Retry-After`, and an excerpt of the body for the log.

use crate::relay::transport::{Answer, EXCERPT_CHARS};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// Bytes read of an answer's body, at most.
pub const BODY_LIMIT: usize = 64 << 10;

/// Bytes read of an answer's status line and headers, at most, interim answers included.
pub const HEAD_LIMIT: usize = 64 << 10;

/// A part of a request's path or query of this length may be a secret by itself.
const SECRET_BYTES: usize = 12;
/// A shorter path may be in any text by chance.
const SHORTEST_PATH: usize = 5;

/// Whether a status is about the destination, not the record: overloaded, failing, moved, or other credentials wanted.
/// Another backend behind the same address may do better.
pub fn blames_destination(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 429 | 500..=599)
}

/// The core's answer to a request for `target`.
pub(crate) fn answer(
    target: &str,
    status: u16,
    retry_after: Option<&[u8]>,
    body: &[u8],
    now: SystemTime,
) -> Answer {
    let text = match body {
        [] => Cow::Borrowed(""),
        _ => conceal(String::from_utf8_lossy(body), target),
    };
    Answer { status, retry_after: retry_after.and_then(|value| wait(value, now)), excerpt: excerpt(&text) }
}

/// Removes path and query of the request from an answer: receivers repeat them ("Cannot POST /…"), and for many
/// webhooks they are the secret.
fn conceal<'b>(mut text: Cow<'b, str>, target: &str) -> Cow<'b, str> {
    let path = target.split('?').next().unwrap_or_default();
    let whole = [target, path].into_iter().filter(|path| path.len() >= SHORTEST_PATH);
    let parts = target.split(['/', '?', '&', '=']).filter(|part| part.len() >= SECRET_BYTES);
    for secret in whole.chain(parts) {
        if text.contains(secret) {
            text = Cow::Owned(text.replace(secret, "…"));
        }
    }
    text
}

/// `Retry-After` as a time from `now`: seconds, or a date in one of the three forms of RFC 9110 §5.6.7. A past date is
/// zero; anything else is ignored.
fn wait(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long time, which the core caps.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Whether a character changes how others look and can't be seen itself: it hides or reorders text, which a terminal
/// must not be made to do by a receiver (Unicode's bidirectional controls, zero-width and other format characters).
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x61C | 0x115F | 0x1160 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
            | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF9..=0xFFFB | 0xE0000..=0xE0FFF)
}

/// The text without control and invisible characters; white space, line breaks included, becomes a space.
pub(crate) fn printable(text: &str) -> String {
    let seen = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    seen.filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

/// The first printable characters of a body; runs of white space and control characters become one space.
fn excerpt(text: &str) -> String {
    let mut excerpt = String::new();
    let mut length = 0;
    let mut gap = false;
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if c.is_control() || c.is_whitespace() || c == char::REPLACEMENT_CHARACTER {
            gap = length > 0;
            continue;
        }
        let wanted = 1 + usize::from(gap);
        if length + wanted > EXCERPT_CHARS {
            break;
        }
        if std::mem::take(&mut gap) {
            excerpt.push(' ');
        }
        excerpt.push(c);
        length += wanted;
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const EPOCH_SECONDS: u64 = 784_111_777;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn retry_after_comes_in_seconds_and_in_three_kinds_of_date() {
        let now = at(EPOCH_SECONDS - 30);
        for (value, seconds) in [
            ("0", 0),
            ("120", 120),
            (" 7 ", 7),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 30),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 30),
            ("Sun Nov  6 08:49:37 1994", 30),
            ("31536000", 31_536_000),
            ("99999999999999999999999999", u64::from(u32::MAX)),
        ] {
            assert_eq!(wait(value.as_bytes(), now), Some(Duration::from_secs(seconds)), "{value}");
        }
        assert_eq!(wait(b"Sun, 06 Nov 1994 08:49:37 GMT", at(EPOCH_SECONDS + 9)), Some(Duration::ZERO));
    }

    #[test]
    fn a_malformed_retry_after_is_ignored() {
        for value in ["", " ", "-1", "1.5", "soon", "12 seconds", "Sun, 06 Nov 1994", "\u{ff11}"] {
            assert_eq!(wait(value.as_bytes(), at(0)), None, "{value}");
        }
        assert_eq!(wait(b"\xff", at(0)), None);
    }

    #[test]
    fn the_excerpt_is_printable_and_short() {
        let excerpt = |body: &[u8]| answer("/", 200, None, body, at(0)).excerpt;
        assert_eq!(excerpt(b"  {\n\t\"error\":\0\x1b \"no\" }\r\n"), "{ \"error\": \"no\" }");
        assert_eq!(excerpt(b"\xff\xfe\x00"), "");
        assert_eq!(
            excerpt("\u{feff}a\u{200b}\u{202e}b\u{2066}c\u{61c} \u{200f}d\u{9b}31m".as_bytes()),
            "abc d 31m"
        );
        assert_eq!(printable("e\u{1b}[2J\r\n\u{202e}t\u{200d}c\u{e0041}"), "e[2J  tc");
        assert_eq!(excerpt("é".repeat(1_000).as_bytes()).chars().count(), EXCERPT_CHARS);
        assert!(excerpt("a ".repeat(1_000).as_bytes()).chars().count() <= EXCERPT_CHARS);
    }

    #[test]
    fn the_excerpt_does_not_repeat_path_and_query() {
        let target = "/services/T000/SECRETTOKEN1?key=SECRETVALUE1";
        for (body, shown) in [
            (format!("Cannot POST {target}"), "Cannot POST …"),
            ("no /services/T000/SECRETTOKEN1 here".into(), "no … here"),
            (
                "{\"path\":\"\\/services\\/T000\\/SECRETTOKEN1\"}".into(),
                "{\"path\":\"\\/services\\/T000\\/…\"}",
            ),
            ("key SECRETVALUE1 is revoked".into(), "key … is revoked"),
            ("all services are down".into(), "all services are down"),
        ] {
            assert_eq!(answer(target, 404, None, body.as_bytes(), at(0)).excerpt, shown);
        }
        // It is taken out before the text is cut.
        let far = format!("{}{target}", "x".repeat(EXCERPT_CHARS - 25));
        assert!(!answer(target, 404, None, far.as_bytes(), at(0)).excerpt.contains("SECRET"));
        assert_eq!(answer("/", 404, None, b"see /a and /b", at(0)).excerpt, "see /a and /b");
    }

    #[test]
    fn no_hidden_character_reaches_a_terminal() {
        let ranges = [
            0x200B..=0x200F,
            0x202A..=0x202E,
            0x2060..=0x2069,
            0xFEFF..=0xFEFF,
            0x61C..=0x61C,
            0..=0x1F,
            0x7F..=0x9F,
        ];
        for c in ranges.into_iter().flatten().filter_map(char::from_u32) {
            let text = format!("a{c}b");
            assert!(
                !answer("/", 200, None, text.as_bytes(), at(0)).excerpt.contains(c)
                    && !printable(&text).contains(c),
                "{c:?}"
            );
        }
    }

    #[test]
    fn a_status_speaks_of_the_destination_or_of_the_record() {
        let blaming = (100..600).filter(|status| blames_destination(*status)).count();
        assert_eq!(blaming, 100 + 100 + 7);
        for of_the_record in [200, 204, 299, 400, 409, 410, 413, 415, 422, 425, 431, 451] {
            assert!(!blames_destination(of_the_record), "{of_the_record}");
        }
    }
}
