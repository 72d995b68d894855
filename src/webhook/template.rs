//! Placeholders in the URL's path and query and in the values of headers: `{topic}`, `{partition}`, `{key}` and
//! `{header:NAME}`.
//!
//! Values are percent-encoded for their place: in a path or query all but letters, digits, `-`, `.`, `_` and `~`; in a
//! header as far as needed. A missing key or header is empty. In a path, moreover, no value leads to another folder:
//!
//! - an empty segment is written `-`;
//! - `.` and `..`, as a value or between slashes of one, are encoded twice (`%252E`), since many servers decode once
//!   before they resolve dots.
//!
//! Invariant: scheme, host and port have no placeholders.

use super::headers::{is_token, percent_encode, percent_encode_unless};
use crate::record::Record;
use std::borrow::Cow;
use std::fmt;

/// The placeholders.
const KNOWN: &str = "{topic}, {partition}, {key} or {header:NAME}";

/// Why a template can't be used. Never shows the template, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A word in braces that is not a placeholder.
    Unknown,
    /// An unpaired `{` or `}` in a URL.
    Unpaired,
    /// A placeholder in scheme, host, port or socket.
    Authority,
    /// Dots that would make a segment `..` if its placeholder is empty.
    Dots,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "a placeholder is {KNOWN}; what is in braces is none of them"),
            Self::Unpaired => {
                write!(f, "braces stand around {KNOWN}; write others as %7B and %7D")
            }
            Self::Authority => f.write_str(
                "placeholders may stand in the URL's path and query only, never in scheme, host, port or socket",
            ),
            Self::Dots => f.write_str(
                "dots may not stand alone beside a placeholder in a part of the path: '..' would lead elsewhere",
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Topic,
    Partition,
    Key,
    /// In lower case.
    Header(String),
}

impl Part {
    fn placeholder(inside: &str) -> Option<Self> {
        match inside {
            "topic" => Some(Self::Topic),
            "partition" => Some(Self::Partition),
            "key" => Some(Self::Key),
            _ => {
                let name = inside.strip_prefix("header:").filter(|name| is_token(name.as_bytes()))?;
                Some(Self::Header(name.to_ascii_lowercase()))
            }
        }
    }

    /// The value for a record; empty where it has none.
    fn of<'r>(&'r self, record: &'r Record) -> Cow<'r, [u8]> {
        match self {
            Self::Literal(text) => Cow::Borrowed(text.as_bytes()),
            Self::Topic => Cow::Borrowed(record.partition().topic().as_bytes()),
            Self::Partition => Cow::Owned(record.partition().number().to_string().into_bytes()),
            Self::Key => Cow::Borrowed(record.key().unwrap_or_default()),
            Self::Header(name) => {
                let named = record.headers().filter(|h| h.name.eq_ignore_ascii_case(name.as_bytes()));
                Cow::Borrowed(named.last().and_then(|header| header.value).unwrap_or_default())
            }
        }
    }
}

/// Text and placeholders of a URL's part, where braces stand for nothing else.
fn parts(mut text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    while let Some((literal, rest)) = text.split_once('{') {
        let (inside, rest) = rest.split_once('}').ok_or(TemplateError::Unpaired)?;
        push_literal(&mut parts, literal);
        parts.push(Part::placeholder(inside).ok_or(TemplateError::Unknown)?);
        text = rest;
    }
    push_literal(&mut parts, text);
    let stray = |part: &Part| matches!(part, Part::Literal(literal) if literal.contains('}'));
    if parts.iter().any(stray) { Err(TemplateError::Unpaired) } else { Ok(parts) }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.into())),
    }
}

/// Path and query of requests, perhaps with placeholders.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum RequestTarget {
    /// The same for every record.
    Fixed(String),
    /// Made for each record.
    Template(TargetTemplate),
}

/// Shows nothing: path and query may be secrets.
impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestTarget")
    }
}

/// A target with placeholders.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TargetTemplate {
    /// What stands between the slashes of the path.
    segments: Vec<Vec<Part>>,
    query: Option<Vec<Part>>,
}

impl RequestTarget {
    /// Reads path and query of a URL.
    pub fn parse(target: &str) -> Result<Self, TemplateError> {
        if !target.contains(['{', '}']) {
            return Ok(Self::Fixed(target.into()));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(parts(query)?)),
            None => (target, None),
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<Vec<Part>> = path.split('/').map(parts).collect::<Result<_, _>>()?;
        if segments.iter().any(|segment| has_loose_dots(segment)) {
            return Err(TemplateError::Dots);
        }
        Ok(Self::Template(TargetTemplate { segments, query }))
    }

    /// Whether it is the same for every record.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// Path and query for this record.
    pub(crate) fn of(&self, record: &Record) -> Cow<'_, str> {
        match self {
            Self::Fixed(target) => Cow::Borrowed(target),
            Self::Template(made) => Cow::Owned(made.of(record)),
        }
    }
}

/// Rejects a URL with a placeholder before its path, where a record would choose the host.
pub fn check_authority(url: &str) -> Result<(), TemplateError> {
    let braces = |text: &str| text.contains(['{', '}']);
    if let Some(socket) = url.strip_prefix("unix:") {
        let socket = socket.split(":/").next().unwrap_or_default();
        return if braces(socket) { Err(TemplateError::Authority) } else { Ok(()) };
    }
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let scheme = url.split("://").next().unwrap_or_default();
    if braces(host) || (after_scheme.len() < url.len() && braces(scheme)) {
        Err(TemplateError::Authority)
    } else {
        Ok(())
    }
}

/// A segment with a placeholder may not begin or end with nothing but dots, nor have two of them in between.
fn has_loose_dots(segment: &[Part]) -> bool {
    let dots = |part: &Part| match part {
        Part::Literal(text) => {
            let text = text.replace("%2e", ".").replace("%2E", ".");
            if text.bytes().all(|byte| byte == b'.') { text.len() } else { 0 }
        }
        _ => 0,
    };
    let edges = segment.first().into_iter().chain(segment.last());
    segment.len() > 1 && (edges.map(dots).any(|n| n > 0) || segment.iter().map(dots).any(|n| n > 1))
}

impl TargetTemplate {
    fn of(&self, record: &Record) -> String {
        let mut out = String::with_capacity(128);
        for segment in &self.segments {
            out.push('/');
            let start = out.len();
            for part in segment {
                match part {
                    Part::Literal(text) => out.push_str(text),
                    placeholder => fill_path(&placeholder.of(record), &mut out),
                }
            }
            if segment.iter().any(|part| !matches!(part, Part::Literal(_))) {
                settle_segment(&mut out, start);
            }
        }
        if let Some(query) = &self.query {
            out.push('?');
            for part in query {
                match part {
                    Part::Literal(text) => out.push_str(text),
                    placeholder => percent_encode_unless(&placeholder.of(record), &mut out, is_unreserved),
                }
            }
        }
        out
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Appends a value to a path; no piece between slashes becomes `.` or `..`.
fn fill_path(value: &[u8], out: &mut String) {
    for piece in value.split_inclusive(|byte| matches!(byte, b'/' | b'\\')) {
        let name = piece.strip_suffix(b"/").or_else(|| piece.strip_suffix(b"\\")).unwrap_or(piece);
        if name == b"." || name == b".." {
            encode_twice(name.len(), out);
        } else {
            percent_encode_unless(name, out, is_unreserved);
        }
        percent_encode_unless(&piece[name.len()..], out, is_unreserved);
    }
}

/// Replaces an empty segment, or one of dots.
fn settle_segment(out: &mut String, start: usize) {
    match out.get(start..) {
        Some("") => out.push('-'),
        Some(dots @ ("." | "..")) => {
            let count = dots.len();
            out.truncate(start);
            encode_twice(count, out);
        }
        _ => {}
    }
}

fn encode_twice(dots: usize, out: &mut String) {
    (0..dots).for_each(|_| out.push_str("%252E"));
}

/// The value of a header, with placeholders.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HeaderTemplate(Vec<Part>);

/// Its text may be a secret.
impl fmt::Debug for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl HeaderTemplate {
    /// Reads a header's value; `None` if it is the same for every record. Braces that hold anything but a word, as
    /// in JSON, are part of the text.
    pub fn parse(mut text: &str) -> Result<Option<Self>, TemplateError> {
        let mut parts = Vec::new();
        while let Some(at) = text.find('{') {
            let (literal, rest) = text.split_at(at);
            push_literal(&mut parts, literal);
            let inside = rest[1..].split('}').next().unwrap_or_default();
            let closed = rest.len() > inside.len() + 1;
            let word = inside.split(':').next().unwrap_or_default();
            let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
            let end = if closed && is_word {
                parts.push(Part::placeholder(inside).ok_or(TemplateError::Unknown)?);
                inside.len() + 2
            } else {
                push_literal(&mut parts, "{");
                1
            };
            text = &rest[end..];
        }
        push_literal(&mut parts, text);
        let fixed = parts.iter().all(|part| matches!(part, Part::Literal(_)));
        Ok((!fixed).then_some(Self(parts)))
    }

    /// Appends the value for this record.
    pub fn write(&self, record: &Record, line: &mut String) {
        let start = line.len();
        for part in &self.0 {
            match part {
                Part::Literal(text) => line.push_str(text),
                placeholder => percent_encode(&placeholder.of(record), line),
            }
        }
        // A space before or after something empty may not end a value.
        while line.len() > start && line.ends_with([' ', '\t']) {
            line.pop();
        }
        let leading = line.get(start..).map_or(0, |value| value.len() - value.trim_start().len());
        line.replace_range(start..start + leading, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Offset, Partition};
    use proptest::prelude::*;

    fn record(key: Option<&[u8]>, tenant: Option<&[u8]>) -> Record {
        let headers = [Header { name: b"Tenant", value: tenant }];
        Record::with_headers(Partition::new("or.ders", 3), Offset(42), 7, key, None, &headers)
    }

    fn target(template: &str, key: &[u8], tenant: &[u8]) -> String {
        RequestTarget::parse(template).unwrap().of(&record(Some(key), Some(tenant))).into_owned()
    }

    fn header(template: &str, record: &Record) -> String {
        let mut line = String::new();
        HeaderTemplate::parse(template).unwrap().unwrap().write(record, &mut line);
        line
    }

    #[test]
    fn fills_in_by_place() {
        let made =
            target("/v1/{topic}/{partition}/{key}.json?t={header:tenant}&k={key}", b"a/b c?\xff", b"x&y=%");
        assert_eq!(made, "/v1/or.ders/3/a%2Fb%20c%3F%FF.json?t=x%26y%3D%25&k=a%2Fb%20c%3F%FF");
        let record = record(Some("Zoë\r\nX: y".as_bytes()), Some(b"t"));
        assert_eq!(header("k={key}; {header:TENANT}", &record), "k=Zo%C3%AB%0D%0AX:%20y; t");
    }

    #[test]
    fn a_target_without_placeholders_is_made_once() {
        assert_eq!(RequestTarget::parse("/a/..?b=%7B"), Ok(RequestTarget::Fixed("/a/..?b=%7B".into())));
    }

    #[test]
    fn what_is_missing_is_empty_but_never_an_empty_segment() {
        let nothing = record(None, None);
        let target = RequestTarget::parse("/{key}/x{key}/{header:none}{header:tenant}?k={key}").unwrap();
        assert_eq!(target.of(&nothing), "/-/x/-?k=");
        assert_eq!(header("a {key} ", &nothing), "a");
        assert_eq!(header("{key}", &nothing), "");
        assert_eq!(header(" {key} b", &nothing), "b");
    }

    #[test]
    fn no_key_leads_to_another_folder() {
        for (key, made) in [
            ("..", "/a/%252E%252E/b"),
            (".", "/a/%252E/b"),
            ("...", "/a/.../b"),
            ("../../x", "/a/%252E%252E%2F%252E%252E%2Fx/b"),
            ("x/..", "/a/x%2F%252E%252E/b"),
            ("..\\x", "/a/%252E%252E%5Cx/b"),
            ("%2e%2e", "/a/%252e%252e/b"),
            ("a..", "/a/a../b"),
        ] {
            assert_eq!(target("/a/{key}/b", key.as_bytes(), b""), made, "{key}");
        }
        assert_eq!(target("/{key}{header:tenant}", b".", b"."), "/%252E%252E");
        assert_eq!(target("/x{key}{header:tenant}", b"y/", b".."), "/xy%2F%252E%252E");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("/{topics}", TemplateError::Unknown),
            ("/{}", TemplateError::Unknown),
            ("/{header:}", TemplateError::Unknown),
            ("/{header:a b}", TemplateError::Unknown),
            ("/{key", TemplateError::Unpaired),
            ("/key}", TemplateError::Unpaired),
            ("/?{key}}", TemplateError::Unpaired),
            ("/.{key}", TemplateError::Dots),
            ("/{key}%2e.", TemplateError::Dots),
            ("/{key}..{key}", TemplateError::Dots),
        ] {
            assert_eq!(RequestTarget::parse(text), Err(error), "{text}");
        }
        for url in
            ["http://{key}/", "http://h.{topic}", "{topic}://h/", "http://u:p@{key}?x", "http://h:{key}/"]
        {
            assert_eq!(check_authority(url), Err(TemplateError::Authority), "{url}");
        }
        assert_eq!(check_authority("http://u:{p}@h/{key}?{topic}"), Ok(()));
    }

    #[test]
    fn braces_in_a_header_may_be_text() {
        for text in [r#"{"a": 1}"#, "{", "}", "{}", "{A}", "a{b", "no braces"] {
            assert_eq!(HeaderTemplate::parse(text), Ok(None), "{text}");
        }
        assert_eq!(header(r#"{"k": "{key}"}"#, &record(Some(b"x"), None)), r#"{"k": "x"}"#);
        for text in ["{keys}", "{header:}", "{header:a b}"] {
            assert_eq!(HeaderTemplate::parse(text), Err(TemplateError::Unknown), "{text}");
        }
        assert!(!format!("{:?}", HeaderTemplate::parse("secret {key}")).contains("secret"));
    }

    /// Undoes one percent-encoding, as many servers do before they resolve dots.
    fn decode(text: &str) -> Vec<u8> {
        let (mut bytes, mut decoded) = (text.bytes(), Vec::new());
        while let Some(byte) = bytes.next() {
            let hex = |b: Option<u8>| char::from(b.unwrap()).to_digit(16).unwrap() as u8;
            decoded.push(if byte == b'%' { hex(bytes.next()) << 4 | hex(bytes.next()) } else { byte });
        }
        decoded
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            prop::collection::vec(prop::sample::select(b"./\\%2eE?#@:a".to_vec()), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn no_record_changes_more_than_its_segment(
            template in prop::sample::select(vec![
                "/a/{key}/b", "/a/{key}{header:tenant}/b", "/a/x{key}/b", "/a/{key}.json/b",
                "/a/{topic}.{key}/b", "/a/{key}-{header:tenant}/b",
            ]),
            key in bytes(),
            tenant in bytes(),
        ) {
            let made = target(template, &key, &tenant);
            prop_assert!(made.starts_with("/a/") && made.ends_with("/b"), "{}", made);
            prop_assert_eq!(made.split('/').count(), 4, "{}", made);
            prop_assert!(made.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\@:\"<>".contains(&b)), "{}", made);
            let decoded = decode(&made);
            let dots = |piece: &[u8]| piece == b".." || piece == b".";
            let mut pieces = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
            prop_assert!(!pieces.any(dots), "{} is {:?}", made, String::from_utf8_lossy(&decoded));
        }

        #[test]
        fn no_record_leaves_the_query_or_the_header(key in bytes(), tenant in bytes()) {
            let made = target("/a?k={key}&t={header:tenant}&e", &key, &tenant);
            let inside = made.strip_prefix("/a?k=").and_then(|rest| rest.strip_suffix("&e")).unwrap();
            let (k, t) = inside.split_once("&t=").unwrap();
            prop_assert_eq!(decode(k), key.clone());
            prop_assert_eq!(decode(t), tenant.clone());
            let value = header("a {key} {header:tenant}", &record(Some(&key), Some(&tenant)));
            prop_assert!(super::super::headers::is_value(value.as_bytes()), "{:?}", value);
        }

        #[test]
        fn no_template_panics(text in "[/?{}a-z:.%2]{0,30}", key in bytes()) {
            let record = record(Some(&key), None);
            if let Ok(target) = RequestTarget::parse(&text) {
                let _ = target.of(&record);
            }
            if let Ok(Some(template)) = HeaderTemplate::parse(&text) {
                template.write(&record, &mut String::new());
            }
            let _ = check_authority(&text);
        }
    }
}
