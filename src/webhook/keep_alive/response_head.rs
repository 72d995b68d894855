//! The head of an answer: its status line, its header fields, and how its body ends (RFC 9112 §4 to §6).
//!
//! Lenient once the status is clear, since a request that was answered must not be sent again because of a stray
//! header: an unreadable line is skipped, and the connection is closed after the answer. RFC 9112 §6.3 asks clients
//! to discard an answer whose `Content-Length` is malformed; here its status counts, and the connection is closed.

use std::borrow::Cow;

/// With more header fields than this the connection is closed.
pub const MOST_HEADERS: usize = 128;
/// A server's `Keep-Alive: timeout` is undercut by this much, or by half of it where that is less, so that a request
/// doesn't cross its close.
const KEEP_ALIVE_MARGIN_MILLIS: u64 = 1_000;

/// A status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// Whether it is HTTP/1.0.
    pub is_1_0: bool,
    /// The status, of three digits.
    pub status: u16,
}

impl StatusLine {
    /// Reads `HTTP/1.1 200 OK`; the reason may be missing. `None` for anything else.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let [minor, rest @ ..] = line.strip_prefix(b"HTTP/1.")? else { return None };
        let code = rest.trim_ascii_start();
        if !minor.is_ascii_digit() || code.len() == rest.len() {
            return None;
        }
        let ends = code.get(3).is_none_or(u8::is_ascii_whitespace);
        let status = number(code.get(..3)?).and_then(|status| u16::try_from(status).ok());
        status.filter(|_| ends).map(|status| Self { is_1_0: *minor == b'0', status })
    }
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// After this many bytes.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// With the connection.
    Close,
}

/// What a complete head says.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Where the body ends.
    pub body: BodyEnd,
    /// Whether another request may follow on the connection, if the body is read to its end.
    pub reusable: bool,
    /// `Retry-After`, as it came.
    pub retry_after: Option<Vec<u8>>,
    /// For how many milliseconds the server keeps an idle connection, less a margin (`Keep-Alive: timeout`).
    pub keep_millis: Option<u64>,
}

impl ResponseHead {
    /// Reads a head, or the beginning of one that is too long.
    pub fn read(line: StatusLine, head: &[u8]) -> Self {
        let mut said = HeadFields::default();
        let mut count = 0_usize;
        let all_clear = for_each_field(head, |name, value| {
            count = count.saturating_add(1);
            said.hear(name, &value);
        });
        let body = match (line.status, said.coding, said.length) {
            (204 | 304, ..) => BodyEnd::Length(0),
            (_, Some(Coding::Chunked), _) => BodyEnd::Chunked,
            (_, Some(Coding::Other), _) => BodyEnd::Close,
            (_, None, Some(length)) if !said.length_unclear => BodyEnd::Length(length),
            _ => BodyEnd::Close,
        };
        let keeps = if line.is_1_0 { said.keep_alive } else { !said.close };
        // Where the end is announced in two ways, bytes of this answer could be taken for the next one.
        let coded = said.coding.is_some() || said.identity;
        let one_end = (!coded || (said.length.is_none() && !line.is_1_0)) && !said.length_unclear;
        let no_surplus = line.status != 204 || (said.length.unwrap_or(0) == 0 && !coded);
        let clear = all_clear && count <= MOST_HEADERS && one_end && no_surplus;
        let reusable = keeps && clear && body != BodyEnd::Close;
        Self { body, reusable, retry_after: said.retry_after, keep_millis: said.keep_millis }
    }
}

/// The header fields of a head, at most [`MOST_HEADERS`].
pub fn fields(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    for_each_field(head, |name, value| {
        if fields.len() < MOST_HEADERS {
            fields.push((name.to_owned(), value.into_owned()));
        }
    });
    fields
}

/// Calls `each` with every field that can be read, folded lines joined; whether all could be. Lines end with LF or
/// CRLF (RFC 9112 §2.2); what comes behind the last line end is left out.
fn for_each_field(head: &[u8], mut each: impl FnMut(&str, Cow<'_, [u8]>)) -> bool {
    let mut all_clear = true;
    let mut current: Option<(&str, Cow<'_, [u8]>)> = None;
    for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let [b' ' | b'\t', ..] = line {
            match &mut current {
                Some((_, value)) => {
                    let value = value.to_mut();
                    value.push(b' ');
                    value.extend_from_slice(line.trim_ascii());
                }
                None => all_clear = false,
            }
            continue;
        }
        all_clear &= emit(current.take(), &mut each);
        current = split(line);
        all_clear &= current.is_some() || line.is_empty();
    }
    emit(current, &mut each) && all_clear
}

/// Hands a field over unless its value holds control characters; whether it did not.
fn emit(field: Option<(&str, Cow<'_, [u8]>)>, each: &mut impl FnMut(&str, Cow<'_, [u8]>)) -> bool {
    let Some((name, value)) = field else { return true };
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return false;
    }
    each(name, value);
    true
}

/// Name and value of a line. Spaces before the colon mean nothing else, so they are no reason to stumble.
fn split(line: &[u8]) -> Option<(&str, Cow<'_, [u8]>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = std::str::from_utf8(name.trim_ascii_end()).ok()?;
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    is_token.then_some((name, Cow::Borrowed(value.get(1..)?.trim_ascii())))
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The last transfer coding, which frames the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

/// What the fields say about the message.
#[derive(Default)]
struct HeadFields {
    length: Option<u64>,
    length_unclear: bool,
    coding: Option<Coding>,
    /// A coding of RFC 2616 that changes nothing.
    identity: bool,
    close: bool,
    keep_alive: bool,
    retry_after: Option<Vec<u8>>,
    keep_millis: Option<u64>,
}

impl HeadFields {
    fn hear(&mut self, name: &str, value: &[u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("content-length") {
            for part in list(value) {
                match number(part) {
                    Some(length) if self.length.is_none_or(|before| before == length) => {
                        self.length = Some(length);
                    }
                    _ => self.length_unclear = true,
                }
            }
        } else if is("transfer-encoding") {
            for part in list(value).filter(|part| !part.is_empty()) {
                let coding = part.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
                if coding.eq_ignore_ascii_case(b"identity") {
                    self.identity = true;
                } else {
                    let chunked = coding.eq_ignore_ascii_case(b"chunked");
                    self.coding = Some(if chunked { Coding::Chunked } else { Coding::Other });
                }
            }
        } else if is("connection") {
            for token in list(value) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("keep-alive") {
            self.keep_millis = list(value).find_map(kept_for).or(self.keep_millis);
        } else if is("retry-after") && self.retry_after.is_none() {
            self.retry_after = Some(value.to_vec());
        }
    }
}

/// `timeout=5` as the milliseconds that an idle connection is safe to use.
fn kept_for(parameter: &[u8]) -> Option<u64> {
    let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
    let seconds = number(value).filter(|_| name.eq_ignore_ascii_case(b"timeout="))?;
    let millis = seconds.saturating_mul(1_000);
    Some(millis.saturating_sub(KEEP_ALIVE_MARGIN_MILLIS.min(millis / 2)))
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits and nothing else; a sign or a number beyond 64 bits is no length.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(bool, u16)> {
        StatusLine::parse(text.as_bytes()).map(|line| (line.is_1_0, line.status))
    }

    #[test]
    fn a_status_line_needs_a_version_and_three_digits() {
        for (text, read) in [
            ("HTTP/1.1 200 OK\r\n", Some((false, 200))),
            ("HTTP/1.1 200\n", Some((false, 200))),
            ("HTTP/1.1  204 \r\n", Some((false, 204))),
            ("HTTP/1.0 503 \x1b[31m\0\r\n", Some((true, 503))),
            ("HTTP/1.1 999 X\r\n", Some((false, 999))),
            ("HTTP/1.1 20 OK\r\n", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 2xx\r\n", None),
            ("HTTP/1.1200 OK\r\n", None),
            ("HTTP/1.x 200 OK\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("http/1.1 200 OK\r\n", None),
            ("HTTP/1.1\r\n", None),
        ] {
            assert_eq!(line(text), read, "{text:?}");
        }
    }

    fn head(lines: &str) -> ResponseHead {
        ResponseHead::read(
            StatusLine { is_1_0: false, status: 200 },
            format!("\r\n{lines}\r\n\r\n").as_bytes(),
        )
    }

    #[test]
    fn the_last_coding_frames_the_body() {
        for (lines, body, reusable) in [
            ("Transfer-Encoding: chunked", BodyEnd::Chunked, true),
            ("Transfer-Encoding: gzip, chunked", BodyEnd::Chunked, true),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: Chunked", BodyEnd::Chunked, true),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", BodyEnd::Chunked, true),
            ("Transfer-Encoding:\r\n\tgzip,\r\n chunked;a=b", BodyEnd::Chunked, true),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", BodyEnd::Chunked, false),
            ("Content-Length: 5\r\nTransfer-Encoding: gzip, chunked", BodyEnd::Chunked, false),
            ("Transfer-Encoding: chunked, gzip", BodyEnd::Close, false),
            ("Transfer-Encoding: gzip\r\nContent-Length: 5", BodyEnd::Close, false),
            ("Transfer-Encoding: identity\r\nContent-Length: 5", BodyEnd::Length(5), false),
            ("Content-Length: 5, 5\r\nContent-Length: 5", BodyEnd::Length(5), true),
            ("Content-Length: 5, 6", BodyEnd::Close, false),
            ("Content-Length: 5\r\nContent-Length: 6", BodyEnd::Close, false),
            ("Content-Length: -5", BodyEnd::Close, false),
            ("Content-Length:", BodyEnd::Close, false),
            ("Content-Length: 99999999999999999999", BodyEnd::Close, false),
            ("A: b", BodyEnd::Close, false),
        ] {
            let head = head(lines);
            assert_eq!((head.body, head.reusable), (body, reusable), "{lines:?}");
        }
    }

    #[test]
    fn an_unreadable_line_costs_only_the_connection() {
        let many = "A: b\r\n".repeat(MOST_HEADERS);
        for odd in [
            "PHP Warning:  Undefined variable $x in /a.php on line 3",
            "no colon",
            ": no name",
            "Set-Cookie: a\x01b",
            "Set-Cookie: a\0b",
            "Set-Cookie: a\rb",
            " folded onto nothing",
            "N\u{e4}me: x",
            &many,
        ] {
            let head = head(&format!("{odd}\r\nContent-Length: 2\r\nRetry-After: 7"));
            assert_eq!((head.body, head.reusable), (BodyEnd::Length(2), false), "{odd:?}");
            assert_eq!(head.retry_after.as_deref(), Some(&b"7"[..]), "{odd:?}");
        }
        let head = head("X: \u{e4}\tb\r\nX-Empty:\r\nContent-Length : 2");
        assert!(head.reusable, "values may hold any other byte, and spaces may stand before a colon");
    }

    #[test]
    fn an_answer_without_content_leaves_no_doubt_of_where_it_ends() {
        let read = |status, lines: &str| {
            let head = ResponseHead::read(
                StatusLine { is_1_0: false, status },
                format!("\r\n{lines}\r\n").as_bytes(),
            );
            (head.body, head.reusable)
        };
        assert_eq!(read(204, ""), (BodyEnd::Length(0), true));
        assert_eq!(read(204, "Content-Length: 0\r\n"), (BodyEnd::Length(0), true));
        assert_eq!(read(204, "Content-Length: 5\r\n"), (BodyEnd::Length(0), false));
        assert_eq!(read(204, "Transfer-Encoding: chunked\r\n"), (BodyEnd::Length(0), false));
        assert_eq!(read(304, "Content-Length: 5\r\n"), (BodyEnd::Length(0), true));
    }

    #[test]
    fn the_server_says_how_long_it_keeps_a_connection() {
        for (value, millis) in [
            ("timeout=5", Some(4_000)),
            ("timeout=5, max=100", Some(4_000)),
            ("max=3, Timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("timeout=-1", None),
            ("timeout=", None),
            ("time", None),
        ] {
            assert_eq!(head(&format!("Keep-Alive: {value}")).keep_millis, millis, "{value}");
        }
    }
}
