//! Untrusted bytes made safe for a terminal: in logs, errors and the output of commands.

use std::fmt::Write as _;
use std::path::Path;

/// The longest path shown, in characters: more than a file system allows.
const PATH_CHARS: usize = 8 << 10;

/// The beginning of bytes, at most so many characters: what would move a terminal's cursor, change its colours, turn
/// its text around or can't be seen is escaped, and so are bytes that are no text.
pub(crate) fn excerpt(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    let mut count = 0;
    // A character has at most four bytes.
    let head = bytes.get(..most.saturating_add(1).saturating_mul(4)).unwrap_or(bytes);
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            if count == most {
                text.push('…');
                return text;
            }
            count += 1;
            match c {
                '"' | '\\' | '\n' | '\r' | '\t' => text.extend(c.escape_default()),
                c if is_harmful(c) => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            if count == most {
                text.push('…');
                return text;
            }
            count += 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A path as people know it, unless its name could hurt a terminal or break a line.
pub(crate) fn path(path: &Path) -> String {
    match path.to_str().filter(|text| !text.contains(is_harmful)) {
        Some(text) => text.to_owned(),
        None => format!("\"{}\"", excerpt(path.as_os_str().as_encoded_bytes(), PATH_CHARS)),
    }
}

/// JSON whose strings hold nothing that could hurt a terminal: the same values, escaped.
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Control characters, those that change the direction of text or end a line without being one, and those that show
/// nothing.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_shown_as_it_is_unless_it_could_do_harm() {
        assert_eq!(path(Path::new("/tmp/a b'é\\.jsonl")), "/tmp/a b'é\\.jsonl");
        assert_eq!(path(Path::new("/tmp/a\n\u{1b}[2Jb")), "\"/tmp/a\\n\\u{1b}[2Jb\"");
    }

    #[test]
    fn json_keeps_its_values() {
        let raw = "{\"a\":\"x\u{202e}\u{9b}\u{e0041}é\"}\n";
        assert_eq!(json(raw), "{\"a\":\"x\\u202e\\u009b\\udb40\\udc41é\"}\n");
        let safe = json(raw);
        let value = crate::text::json::member(safe.trim_end(), "a").and_then(crate::text::json::string);
        assert_eq!(value.as_deref(), Some("x\u{202e}\u{9b}\u{e0041}é"));
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_short_and_plain(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = excerpt(&bytes, 20);
            prop_assert!(!text.contains(is_harmful), "{}", text);
            prop_assert!(text.chars().count() <= 20 * 10 + 1);
        }

        #[test]
        fn no_text_gets_through_json_harmful(text in ".{0,40}") {
            prop_assert!(!json(&text).contains(is_harmful));
        }
    }
}
