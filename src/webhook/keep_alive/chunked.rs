//! The chunked coding (RFC 9112 §7.1), a byte of framing at a time: sizes are strict, extensions and trailers are
//! skipped, and all framing together is bounded.

use crate::webhook::answer::HEAD_LIMIT;

/// More digits than these could not be counted in 64 bits.
const MOST_DIGITS: u8 = 16;

/// What a piece of the coded body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Between the data.
    Framing,
    /// Data.
    Data,
    /// The last byte of the body.
    End,
    /// Malformed, or more than [`HEAD_LIMIT`] bytes of framing: the rest of the body can't be read.
    Unreadable,
}

/// Where in the coding the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8, value: u64 },
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataReturn,
    DataEnd,
    Trailer { length: u32 },
    TrailerEnd { empty: bool },
}

/// A chunked body as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedReader {
    at: At,
    framing: usize,
}

impl Default for ChunkedReader {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, value: 0 }, framing: 0 }
    }
}

impl ChunkedReader {
    /// Takes a byte of framing, or as much data as there is: how many bytes, and what they were.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Step) {
        let Some(byte) = bytes.first().copied() else { return (0, Step::Framing) };
        if let At::Data(left) = self.at {
            let taken = usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left));
            let left = left.saturating_sub(taken as u64);
            self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
            return (taken, Step::Data);
        }
        self.framing = self.framing.saturating_add(1);
        if self.framing > HEAD_LIMIT {
            return (1, Step::Unreadable);
        }
        let end = self.at == At::TrailerEnd { empty: true } && byte == b'\n';
        let Some(next) = self.after(byte) else { return (1, Step::Unreadable) };
        self.at = next;
        (1, if end { Step::End } else { Step::Framing })
    }

    /// Where to go with this byte; `None` where it must not stand.
    fn after(&self, byte: u8) -> Option<At> {
        let size = |value| if value == 0 { At::Trailer { length: 0 } } else { At::Data(value) };
        match (self.at, byte) {
            (At::Size { digits, value }, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(byte).to_digit(16)?);
                let value = value.checked_mul(16)?.checked_add(digit)?;
                (digits < MOST_DIGITS).then_some(At::Size { digits: digits.saturating_add(1), value })
            }
            (At::Size { digits: 0, .. }, _) => None,
            (At::Size { value, .. }, b'\r') => Some(At::SizeEnd(value)),
            (At::Size { value, .. }, b';' | b' ' | b'\t') => Some(At::Extension(value)),
            (At::Extension(value), b'\r') => Some(At::SizeEnd(value)),
            (At::Extension(value), _) if byte != b'\n' => Some(At::Extension(value)),
            (At::SizeEnd(value), b'\n') => Some(size(value)),
            (At::DataReturn, b'\r') => Some(At::DataEnd),
            (At::DataEnd, b'\n') => Some(At::Size { digits: 0, value: 0 }),
            (At::Trailer { length }, b'\r') => Some(At::TrailerEnd { empty: length == 0 }),
            (At::Trailer { length }, _) if byte != b'\n' => {
                Some(At::Trailer { length: length.saturating_add(1) })
            }
            (At::TrailerEnd { .. }, b'\n') => Some(At::Trailer { length: 0 }),
            _ => None,
        }
    }
}
