//! In which form a message is read and written.

/// A version of a message, and whether it is flexible (KIP-482): lengths are varints, and tagged fields may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The version's number.
    pub version: i16,
    /// Whether it is flexible.
    pub flexible: bool,
}

impl Format {
    /// Version 0, not flexible.
    pub const FIRST: Self = Self { version: 0, flexible: false };
}
