//! Header lines: which names and values may stand in a request, and the buffer they are written into.
//!
//! Invariant: no byte of a record or a setting can end a header line. A name is a token and a value holds no
//! control character (RFC 9110 §5.5, §5.6.2), or the header is not sent. [`Headers`] is the one place where
//! lines are made, and it looks at each.

use crate::webhook::template::{Template, TemplateError};
use std::fmt;
use std::fmt::Write as _;

/// Names that neither a record nor `--header` can take, because they describe the message itself.
const OF_THE_MESSAGE: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// Names a record's own headers can't take either: they belong to the connection, to credentials, or to us.
const NEVER_FORWARDED: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "keep-alive", "user-agent"];

/// Nobody names a header with these, though a token may hold some of them.
const PATTERN_CHARACTERS: [char; 9] = ['*', '?', '^', '$', '+', '|', '[', '(', ','];

/// Why a header can't be sent. It shows the name and never the value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not `Name: value`.
    NoColon,
    /// The name is no token.
    Name(String),
    /// The value holds a control character, such as a line break.
    Value(String),
    /// The name is one that can't be set.
    Reserved(String),
    /// A word in braces that is no placeholder.
    Placeholder(String),
    /// A pattern where one name is wanted.
    Pattern(String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon => f.write_str("a header is written 'Name: value'"),
            Self::Name(name) => write!(f, "{name:?} is no header name: take letters, digits and '-'"),
            Self::Value(name) => {
                write!(
                    f,
                    "the value of header {name} holds a line break or another control character: remove it"
                )
            }
            Self::Placeholder(name) => write!(f, "header {name}: {}", TemplateError::Unknown),
            Self::Pattern(name) => write!(
                f,
                "{name:?} looks like a pattern, and is taken as it stands, so it would match nothing: name each header \
                 by a flag of its own"
            ),
            Self::Reserved(name) if name.eq_ignore_ascii_case("content-type") => {
                f.write_str("the content type is a record's own, or what --content-type says")
            }
            Self::Reserved(name) => write!(f, "header {name} is set by sluicegate itself: leave it out"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// A header for every request. Its value is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The name, a token.
    pub name: String,
    /// The value, without control characters; it may hold placeholders.
    pub value: String,
}

impl fmt::Debug for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ...", self.name)
    }
}

impl HeaderField {
    /// Reads `Name: value`, as `--header` has it.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = text.split_once(':').ok_or(HeaderError::NoColon)?;
        if !is_token(name.as_bytes()) {
            return Err(HeaderError::Name(name.into()));
        }
        let value = value.trim_matches([' ', '\t']);
        if !is_value(value.as_bytes()) {
            return Err(HeaderError::Value(name.into()));
        }
        let lower = name.to_ascii_lowercase();
        if OF_THE_MESSAGE.contains(&lower.as_str()) || is_ours(&lower) {
            return Err(HeaderError::Reserved(name.into()));
        }
        if Template::parse(value).is_err() {
            return Err(HeaderError::Placeholder(name.into()));
        }
        Ok(Self { name: name.into(), value: value.into() })
    }
}

/// Reads a value for `--content-type`.
pub fn content_type(text: &str) -> Result<String, HeaderError> {
    let value = text.trim_matches([' ', '\t']);
    match !value.is_empty() && is_value(value.as_bytes()) {
        true => Ok(value.into()),
        false => Err(HeaderError::Value("Content-Type".into())),
    }
}

/// Reads a name for `--forward-header`; lower-case, since header names ignore case.
pub fn forwardable(name: &str) -> Result<String, HeaderError> {
    if name.contains(PATTERN_CHARACTERS) {
        return Err(HeaderError::Pattern(name.into()));
    }
    if !is_token(name.as_bytes()) {
        return Err(HeaderError::Name(name.into()));
    }
    let lower = name.to_ascii_lowercase();
    if OF_THE_MESSAGE.iter().chain(&NEVER_FORWARDED).any(|name| *name == lower) || is_ours(&lower) {
        return Err(HeaderError::Reserved(name.into()));
    }
    Ok(lower)
}

fn is_ours(lower: &str) -> bool {
    lower.starts_with("webhook-") || lower.starts_with("kafka-")
}

/// Whether it can be a header's name (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Whether it can be a header's value: visible ASCII, spaces and tabs inside, and UTF-8 beyond ASCII as opaque
/// bytes.
pub fn is_value(bytes: &[u8]) -> bool {
    let edge = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !edge(bytes.first())
        && !edge(bytes.last())
        && bytes.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
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
    /// No lines yet, and room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { lines: String::with_capacity(bytes) }
    }

    /// A header. One that could not stand in a request is left out: its record still goes.
    pub fn add(&mut self, name: &str, value: &str) {
        self.add_with(name, |line| line.push_str(value));
    }

    /// A header whose value is a number or whatever else shows itself.
    pub fn add_shown(&mut self, name: &str, value: impl fmt::Display) {
        self.add_with(name, |line| {
            // Writing to a String cannot fail.
            let _ = write!(line, "{value}");
        });
    }

    /// A header whose value is appended by `write`.
    pub fn add_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
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

    /// Lines that were made before.
    pub fn append(&mut self, other: &Self) {
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

/// Appends text percent-encoded as far as a header value needs it: spaces, `%` itself and what is no visible
/// ASCII (RFC 3986 §2.1).
pub fn percent_encode(bytes: &[u8], line: &mut String) {
    percent_encode_unless(bytes, line, |byte| byte.is_ascii_graphic() && byte != b'%');
}

/// Appends bytes, percent-encoding those that may not stand there as they are.
pub fn percent_encode_unless(bytes: &[u8], line: &mut String, plain: impl Fn(u8) -> bool) {
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
    fn some_names_are_never_taken() {
        for name in
            ["Host", "Content-Length", "authorization", "Cookie", "webhook-id", "Expect", "kafka-topic"]
        {
            assert!(matches!(forwardable(name), Err(HeaderError::Reserved(_))), "{name}");
        }
        for name in ["*", "x-*", "^x-.+", "x-.+$", "a|b", "a,b", "x-?"] {
            assert!(matches!(forwardable(name), Err(HeaderError::Pattern(_))), "{name}");
        }
        assert_eq!(forwardable("X_Trace.1"), Ok("x_trace.1".into()));
        assert!(matches!(HeaderField::parse("Content-Length: 3"), Err(HeaderError::Reserved(_))));
        assert!(matches!(HeaderField::parse("content-type: a/b"), Err(HeaderError::Reserved(_))));
        assert!(HeaderField::parse("Authorization: Bearer x").is_ok(), "an operator may set credentials");
    }

    #[test]
    fn a_bad_header_is_refused_without_showing_its_value() {
        for (text, error) in [
            ("no colon", HeaderError::NoColon),
            ("a b: c", HeaderError::Name("a b".into())),
            (": c", HeaderError::Name(String::new())),
            ("X-Key: secret\r\nX: y", HeaderError::Value("X-Key".into())),
            ("X-Key: sec\0ret", HeaderError::Value("X-Key".into())),
        ] {
            let result = HeaderField::parse(text);
            assert_eq!(result, Err(error), "{text}");
            assert!(!result.unwrap_err().to_string().contains("secret"));
        }
        assert!(!format!("{:?}", HeaderField::parse("X-Key: secret")).contains("secret"));
    }

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
    fn percent_encoding_leaves_visible_ascii() {
        let mut line = String::new();
        percent_encode("Zoë %\u{7f}".as_bytes(), &mut line);
        assert_eq!(line, "Zo%C3%AB%20%25%7F");
    }
}
