//! As much of JSON (RFC 8259) as this crate needs: text for a string, whether a text is JSON, and the
//! members of an object.
//!
//! It never builds a tree: what is valid is embedded or sliced as it stands. Depth is bounded by [`DEEPEST`].

use std::fmt::Write;

/// Values nested deeper are not taken for JSON; most parsers stop somewhere near it.
pub const DEEPEST: usize = 128;

/// Bytes of a string that are looked at together.
const PLAIN_CHUNK: usize = 32;

/// Whether this is one JSON value that every parser takes: strictly by the grammar, nested at most [`DEEPEST`] deep,
/// with no escaped half of a surrogate pair.
pub fn is_json(text: &str) -> bool {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.value(0).is_some() && reader.at == reader.bytes.len()
}

/// Walks over the members of the object that `text` is, in order: name and raw value. `None` where `text` is no JSON
/// object, or as soon as `visit` says so.
pub(crate) fn members<'a>(text: &'a str, mut visit: impl FnMut(&str, &'a str) -> Option<()>) -> Option<()> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.items(b'{', b'}', |reader| {
        let name = string(reader.slice(text, Reader::string)?)?;
        reader.colon()?;
        visit(&name, reader.slice(text, |reader| reader.value(1))?)
    })?;
    reader.end()
}

/// Walks over the items of the array that `text` is: each raw. `None` as with [`members`].
pub(crate) fn items<'a>(text: &'a str, mut visit: impl FnMut(&'a str) -> Option<()>) -> Option<()> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.items(b'[', b']', |reader| visit(reader.slice(text, |reader| reader.value(1))?))?;
    reader.end()
}

/// The raw text of the member `name` of the object that `text` is; of several the last. `None` if there is none,
/// or `text` is no JSON object.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    members(text, |key, value| {
        if key == name {
            found = Some(value);
        }
        Some(())
    })?;
    found
}

/// Escapes what may not stand in a JSON string as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The text that the JSON string `raw` encodes; `None` if it is not a string.
pub fn string(raw: &str) -> Option<String> {
    let mut reader = Reader { bytes: raw.as_bytes(), at: 0 };
    reader.string().filter(|()| reader.at == raw.len())?;
    let mut rest = raw.get(1..raw.len() - 1)?;
    let mut text = String::with_capacity(rest.len());
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let kind = escaped.chars().next()?;
        rest = escaped.get(kind.len_utf8()..)?;
        match kind {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let unit = |text: &str| u16::from_str_radix(text, 16).ok();
                let mut units = vec![unit(rest.get(..4)?)?];
                rest = rest.get(4..)?;
                if (0xd800..0xdc00).contains(&units[0]) {
                    units.push(unit(rest.get(2..6)?)?);
                    rest = rest.get(6..)?;
                }
                text.push_str(&String::from_utf16(&units).ok()?);
            }
            other => text.push(other),
        }
    }
    text.push_str(rest);
    Some(text)
}

/// Walks over JSON; `None` means that it is not JSON.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn slice<'t>(&mut self, text: &'t str, walk: impl Fn(&mut Self) -> Option<()>) -> Option<&'t str> {
        self.space();
        let start = self.at;
        walk(self)?;
        text.get(start..self.at).map(str::trim_end)
    }

    /// A value with the space around it.
    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => self.items(b'{', b'}', |reader| {
                reader.string()?;
                reader.colon()?;
                reader.value(depth + 1)
            })?,
            b'[' => self.items(b'[', b']', |reader| reader.value(depth + 1))?,
            b'"' => self.string()?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        self.space();
        Some(())
    }

    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        self.take(open)?;
        self.space();
        if self.peek()? == close {
            return self.take(close);
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            match self.next()? {
                b',' => {}
                byte if byte == close => return Some(()),
                _ => return None,
            }
        }
    }

    /// Nothing but space follows.
    fn end(&mut self) -> Option<()> {
        self.space();
        self.peek().is_none().then_some(())
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.take(b':')
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        word.iter().try_for_each(|byte| self.take(*byte))
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        self.plain();
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => {
                    self.escape()?;
                    self.plain();
                }
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    /// Passes over what stands for itself in a string, a chunk at a time: the compiler makes a few instructions of that.
    fn plain(&mut self) {
        let is_special = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
        let (chunks, _) = self.bytes.get(self.at..).unwrap_or_default().as_chunks::<PLAIN_CHUNK>();
        let is_plain = |chunk: &&[u8; PLAIN_CHUNK]| !chunk.iter().fold(false, |any, b| any | is_special(b));
        self.at += PLAIN_CHUNK * chunks.iter().take_while(is_plain).count();
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.unit()? {
                0xd800..=0xdbff => {
                    self.word(b"\\u")?;
                    (0xdc00..=0xdfff).contains(&self.unit()?).then_some(())
                }
                0xdc00..=0xdfff => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.next()?).to_digit(16)?;
        }
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_json_from_what_only_looks_like_it() {
        for text in [
            "null",
            " true ",
            "0",
            "-0.5e+7",
            "12345678901234567890",
            r#""a\"\\\/\b\f\n\r\té\ud83d\ude00😀""#,
            "[]",
            "{}",
            " {\"a\" : [1, {\"b\":null} ] ,\n\"\":\"\"}\r\n",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            " ",
            "nul",
            "nullx",
            "True",
            "01",
            "+1",
            ".5",
            "1.",
            "1e",
            "-",
            "NaN",
            "'a'",
            "\"a",
            "\"\n\"",
            r#""\x""#,
            r#""\u12g4""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[1]]",
            "{} {}",
            "\u{feff}{}",
            "[",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        assert_eq!(escape("a\"b\\c\n\r\t\u{1}é/"), "a\\\"b\\\\c\\n\\r\\t\\u0001é/");
    }

    #[test]
    fn walks_over_members_and_items_in_order() {
        let mut seen = Vec::new();
        let walked = members(r#" {"a" : 1, "b":[2 , {"c":3}], "a":"x"} "#, |name, raw| {
            seen.push((name.to_owned(), raw));
            Some(())
        });
        let expected = [("a", "1"), ("b", r#"[2 , {"c":3}]"#), ("a", "\"x\"")];
        assert_eq!(walked, Some(()));
        assert_eq!(seen, expected.map(|(name, raw)| (name.to_owned(), raw)));
        let mut raw = Vec::new();
        let walked = items(seen[1].1, |item| {
            raw.push(item);
            Some(())
        });
        assert_eq!(walked, Some(()));
        assert_eq!(raw, ["2", r#"{"c":3}"#]);
        for text in ["{}x", "[1", "{\"a\":1,}", "", "3"] {
            assert_eq!((members(text, |_, _| Some(())), items(text, |_| Some(()))), (None, None), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(&nested(DEEPEST)));
        assert!(!is_json(&nested(DEEPEST + 2)));
        assert!(!is_json(&"[".repeat(1 << 20)));
    }

    #[test]
    fn finds_a_member_as_it_stands() {
        let text = r#" { "a" : { "token" : 1 }, "token" : "x\u0041\n\ud83d\ude00é" , "n":3600 }"#;
        assert_eq!(string(member(text, "token").unwrap()).as_deref(), Some("xA\n😀é"));
        assert_eq!(member(text, "n"), Some("3600"));
        assert_eq!(member(text, "a"), Some(r#"{ "token" : 1 }"#));
        assert_eq!(member(text, "b"), None);
        for text in ["[]", "\"a\"", "{\"a\":1", ""] {
            assert_eq!(member(text, "a"), None);
        }
        assert_eq!(string("3"), None);
        assert_eq!(string("\"a\"b\""), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}\",:\\\\u0-9a-f\\-. ntre]{0,40}") {
            let _ = (is_json(&text), member(&text, "a"), string(&text), items(&text, |_| Some(())));
        }

        #[test]
        fn reads_what_was_escaped(text in ".*") {
            let raw = format!("\"{}\"", escape(&text));
            prop_assert!(is_json(&raw));
            prop_assert_eq!(string(&raw), Some(text));
        }

        #[test]
        fn a_byte_that_may_not_stand_in_a_string_is_found_wherever_it_is(
            length in 1..100_usize,
            at in 0..100_usize,
            bad in prop_oneof![Just('"'), Just('\\'), prop::char::range('\0', '\x1f')],
        ) {
            let plain = "é".repeat(length / 2) + &"x".repeat(length);
            let is_string = |text: &str| is_json(&["\"", text, "\""].concat());
            prop_assert!(is_string(&plain));
            let mut broken: Vec<char> = plain.chars().collect();
            let at = at % broken.len();
            broken[at] = bad;
            let broken: String = broken.into_iter().collect();
            prop_assert!(!is_string(&broken));
        }
    }
}
