//! Text as it stands in a JSON string (RFC 8259 §7).

use std::fmt::Write;

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

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn only_what_must_be_is_escaped() {
        assert_eq!(escape("a\"b\\c\n\r\t\u{1}é/"), "a\\\"b\\\\c\\n\\r\\t\\u0001é/");
    }
}
