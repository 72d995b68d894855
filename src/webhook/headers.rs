//! Header lines: which names and values are valid, and the buffer they are written to.
//!
//! Invariant: no byte of a record or a setting can end a header line. A header is sent only if its name is a token and
//! its value holds no control character (RFC 9110 §5.5, §5.6.2). Only [`Headers`] makes lines, and it checks each.

use std::fmt;
use std::fmt::Write as _;

/// Whether it is a valid header name, a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| TOKEN[usize::from(*b)])
}

/// Which bytes may be part of a token: a table, since each request asks for some hundred of them.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether it is a valid header value: visible ASCII, spaces and tabs inside, and bytes beyond ASCII.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let edge = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !edge(bytes.first())
        && !edge(bytes.last())
        && bytes.iter().fold(true, |sound, b| sound & ((*b == b'\t') | ((*b >= 0x20) & (*b != 0x7f))))
}

/// Header lines as they go on the wire, in one buffer: `Name: value`, each ended by CR LF. Not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    lines: String,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Headers {
    /// Empty, with room for this many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { lines: String::with_capacity(bytes) }
    }

    /// Adds a header; an invalid one is left out, so that its record is still sent.
    pub fn add(&mut self, name: &str, value: &str) {
        self.add_with(name, |line| line.push_str(value));
    }

    /// Adds a header with a value that implements `Display`.
    pub(crate) fn add_shown(&mut self, name: &str, value: impl fmt::Display) {
        self.add_with(name, |line| {
            // Writing to a String cannot fail.
            let _ = write!(line, "{value}");
        });
    }

    /// Adds a header whose value is appended by `write`.
    pub(crate) fn add_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        let start = self.lines.len();
        self.lines.push_str(name);
        self.lines.push_str(": ");
        let value_at = self.lines.len();
        write(&mut self.lines);
        let sound = self.lines.get(value_at..).is_some_and(|value| is_value(value.as_bytes()));
        if sound && is_token(name.as_bytes()) {
            self.lines.push_str("\r\n");
        } else {
            self.lines.truncate(start);
        }
    }

    /// Appends lines made before.
    pub(crate) fn append(&mut self, other: &Self) {
        self.lines.push_str(&other.lines);
    }

    /// All lines, each ended by CR LF.
    pub fn as_str(&self) -> &str {
        &self.lines
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.split_terminator("\r\n").filter_map(|line| line.split_once(": "))
    }

    /// The first value of this name, ignoring its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Appends bytes percent-encoded as far as a header value needs it: spaces, `%` and all but visible ASCII (RFC 3986
/// §2.1).
pub(crate) fn percent_encode(bytes: &[u8], line: &mut String) {
    percent_encode_unless(bytes, line, |byte| byte.is_ascii_graphic() && byte != b'%');
}

/// Appends bytes, percent-encoding those that are not `plain`.
pub(crate) fn percent_encode_unless(bytes: &[u8], line: &mut String, plain: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if plain(*byte) && byte.is_ascii() {
            line.push(char::from(*byte));
        } else {
            line.push('%');
            line.push(char::from(HEX[usize::from(byte >> 4)]));
            line.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_what_was_added_and_nothing_that_breaks_out() {
        let mut headers = Headers::default();
        headers.add("A", "1: 2");
        headers.add("B", "x\r\nC: y");
        headers.add("B\r\nC", "x");
        headers.add("D", " x");
        headers.add("E", "");
        headers.add_shown("F", 7);
        assert_eq!(headers.as_str(), "A: 1: 2\r\nE: \r\nF: 7\r\n");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "1: 2"), ("E", ""), ("F", "7")]);
        assert_eq!(headers.get("a"), Some("1: 2"));
        assert!(!format!("{headers:?}").contains('7'));
    }

    #[test]
    fn a_token_has_letters_digits_and_some_signs() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(&[byte]), expected, "{}", byte.escape_ascii());
            assert_eq!(is_token(&[b'a', byte]), expected);
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn percent_encoding_leaves_visible_ascii() {
        let mut line = String::new();
        percent_encode("Zoë %\u{7f}".as_bytes(), &mut line);
        assert_eq!(line, "Zo%C3%AB%20%25%7F");
    }
}
