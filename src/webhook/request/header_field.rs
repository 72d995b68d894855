//! Which headers an operator may set, and which of a record's own may be forwarded.

use crate::webhook::headers::{is_token, is_value};
use crate::webhook::template::{HeaderTemplate, TemplateError};
use std::fmt;

/// Names that neither a record nor an operator can set, because they describe the message itself.
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

/// Names that are never forwarded from a record either: of the connection, of credentials, or ours.
const NEVER_FORWARDED: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "keep-alive", "user-agent"];

/// Characters of patterns, though a token may hold some of them.
const PATTERN_CHARACTERS: [char; 9] = ['*', '?', '^', '$', '+', '|', '[', '(', ','];

/// Why a header can't be sent. Shows the name, never the value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not `Name: value`.
    NoColon,
    /// The name is not a token.
    Name(String),
    /// The value holds a control character, such as a line break.
    Value(String),
    /// The name is one that can't be set.
    Reserved(String),
    /// A word in braces that is not a placeholder.
    Placeholder(String),
    /// A pattern instead of a name.
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
                f.write_str("the content type is the record's own, or has a setting of its own")
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
    /// Reads `Name: value`.
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
        if HeaderTemplate::parse(value).is_err() {
            return Err(HeaderError::Placeholder(name.into()));
        }
        Ok(Self { name: name.into(), value: value.into() })
    }
}

/// Reads a content type.
pub fn content_type(text: &str) -> Result<String, HeaderError> {
    let value = text.trim_matches([' ', '\t']);
    match !value.is_empty() && is_value(value.as_bytes()) {
        true => Ok(value.into()),
        false => Err(HeaderError::Value("Content-Type".into())),
    }
}

/// Reads the name of a record's header to forward; in lower case, since header names ignore case.
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
}
