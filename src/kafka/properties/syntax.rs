//! The format of `.properties` files, as `java.util.Properties` reads it, but in UTF-8.

use super::PropertiesError;
use std::collections::BTreeMap;

/// A value with the line where its key stands, counted from 1.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) line: usize,
}

/// The entries by key; of several with the same key the last one counts.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Entry>, PropertiesError> {
    let mut entries = BTreeMap::new();
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let line = number + 1;
        let wrong = |sentence: &str| PropertiesError::at(line, sentence.to_owned());
        let (key, value) = split(&logical);
        let key = unescape(key).ok_or_else(|| wrong(BAD_ESCAPE))?;
        let value = unescape(value).ok_or_else(|| wrong(BAD_ESCAPE))?;
        entries.insert(key, Entry { value, line });
    }
    Ok(entries)
}

const BAD_ESCAPE: &str = "\\u needs four hexadecimal digits that make a character";

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}' | '\r')
}

/// Whether the line ends in a backslash that is not itself escaped.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first blank, `=` or `:` that is not escaped; one `=` or `:` with blanks around it is skipped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    // Java keeps blanks at the end of a value; in none of these settings do they mean anything but a slip.
    (key, rest.trim_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut pair = [0; 2];
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut pair));
            continue;
        }
        match chars.next() {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let hexadecimal = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| hexadecimal)?);
            }
            Some('n') => units.push(u16::from(b'\n')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('t') => units.push(u16::from(b'\t')),
            Some('f') => units.push(0xc),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut pair)),
            None => {}
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?}");
        pairs.remove(0)
    }

    #[test]
    fn a_key_ends_at_equals_colon_or_blank() {
        for line in
            ["a.b=c d", "a.b = c d", "a.b:c d", "a.b: c d", "a.b c d", "  a.b\t=\tc d  ", "a.b=c d\r\n"]
        {
            assert_eq!(one(line), ("a.b".into(), "c d".into()), "{line:?}");
        }
        assert_eq!(one("a=b=c:d"), ("a".into(), "b=c:d".into()));
        assert_eq!(one("a"), ("a".into(), "".into()));
    }

    #[test]
    fn comments_and_empty_lines_mean_nothing() {
        assert!(pairs("# a=b\n ! c=d\n\n   \n").is_empty());
        assert_eq!(one("a=b # no comment"), ("a".into(), "b # no comment".into()));
    }

    #[test]
    fn a_backslash_at_the_end_goes_on_in_the_next_line() {
        assert_eq!(one("a = b \\\n    c;\\\n\td"), ("a".into(), "b c;d".into()));
        assert_eq!(pairs("a=b\\\\\nc=d").len(), 2, "an escaped backslash does not");
        assert_eq!(one("a=b\\"), ("a".into(), "b".into()));
        assert_eq!(pairs("# comment \\\na=b").len(), 1, "nor does a comment");
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(one(r"a\=\ b=\t\u00e4\uD83D\uDE00\\\q"), ("a= b".into(), "\tä😀\\q".into()));
    }

    #[test]
    fn names_the_line_of_a_broken_escape() {
        for wrong in [r"\u12", r"\u+123", r"\uD83D", r"\uzzzz"] {
            let error = parse(&format!("\na={wrong}\n")).err().unwrap();
            assert!(error.to_string().starts_with("line 2: \\u needs"), "{error}");
        }
    }

    #[test]
    fn the_last_of_the_same_key_counts() {
        assert_eq!(one("a=1\na=2"), ("a".into(), "2".into()));
    }
}
