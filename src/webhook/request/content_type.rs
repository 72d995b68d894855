//! The content type of a value that nothing else names one for: found by looking at the value.
//!
//! A value counts as JSON if it is UTF-8 and one JSON value of any kind by RFC 8259, with nothing but white space
//! around it: an object, an array, a string, a number, `true`, `false` or `null`. Nesting is bounded by
//! [`DEEPEST`](crate::text::json::DEEPEST). A value of more than [`LONGEST_CHECKED`] bytes is not read to its end: it
//! counts as JSON if it begins and ends as an object or an array does. All other values, empty ones and tombstones
//! included, are bytes without a known type. The check allocates nothing.

use crate::text::json::is_json;

/// The longest value that is checked as a whole, in bytes: a tenth of a millisecond at most.
pub const LONGEST_CHECKED: usize = 64 << 10;

/// `application/json` or `application/octet-stream`.
pub fn of(value: &[u8]) -> &'static str {
    if looks_like_json(value) { "application/json" } else { "application/octet-stream" }
}

fn looks_like_json(value: &[u8]) -> bool {
    if value.len() <= LONGEST_CHECKED {
        return std::str::from_utf8(value).is_ok_and(is_json);
    }
    // White space beyond the bound is not searched through.
    let (head, tail) = (&value[..LONGEST_CHECKED], &value[value.len() - LONGEST_CHECKED..]);
    matches!(
        (head.trim_ascii_start().first(), tail.trim_ascii_end().last()),
        (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_any_kind_is_json() {
        for value in ["{}", " {\"a\": [1, 2.5e3, null]}\n", "[]", "\"text\"", "-7", "true", "null"] {
            assert_eq!(of(value.as_bytes()), "application/json", "{value}");
        }
    }

    #[test]
    fn all_else_is_bytes() {
        for value in
            [&b""[..], b" ", b"plain text", b"{\"a\":1", b"{} {}", b"{'a': 1}", b"\"\xff\"", b"\0\0\0\0\x01"]
        {
            assert_eq!(of(value), "application/octet-stream", "{value:?}");
        }
        assert_eq!(of("[".repeat(1_000).as_bytes()), "application/octet-stream");
    }

    #[test]
    fn a_long_value_is_judged_by_its_ends() {
        let mut value = b"  [\"".to_vec();
        value.resize(LONGEST_CHECKED, b'x');
        value.extend_from_slice(b"\"] \n");
        assert_eq!(of(&value), "application/json");
        value.extend_from_slice(b"}");
        assert_eq!(of(&value), "application/octet-stream");
        assert_eq!(of(&vec![b' '; 3 * LONGEST_CHECKED]), "application/octet-stream");
    }
}
