//! The types that fields have: how each is read and written.

use super::error_code::ErrorCode;
use super::format::Format;
use super::reader::{Decode, DecodeError, Problem, Reader};
use super::writer::{Encode, Writer};
use std::fmt;

/// A 16-byte id, such as a topic id; all zeros mean none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No id.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Secret bytes: `Debug` shows only their number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden<'a>(pub &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

macro_rules! fixed {
    ($($kind:ty: $size:literal, $read:expr, $write:expr;)*) => {$(
        impl Decode<'_> for $kind {
            fn smallest(_: Format) -> usize {
                $size
            }

            fn decode(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
                reader.fixed::<$size>(field).map($read)
            }
        }

        impl Encode for $kind {
            fn encode(&self, writer: &mut Writer<'_>, _: &'static str) {
                writer.raw(&$write(*self));
            }
        }
    )*};
}

fixed! {
    i8: 1, i8::from_be_bytes, i8::to_be_bytes;
    i16: 2, i16::from_be_bytes, i16::to_be_bytes;
    i32: 4, i32::from_be_bytes, i32::to_be_bytes;
    i64: 8, i64::from_be_bytes, i64::to_be_bytes;
    bool: 1, |bytes: [u8; 1]| bytes != [0], |value| [u8::from(value)];
    ErrorCode: 2, |bytes| ErrorCode(i16::from_be_bytes(bytes)), |code: ErrorCode| code.0.to_be_bytes();
    Uuid: 16, Uuid, |id: Uuid| id.0;
}

/// What stands behind a length of its own, which says null where there is none. Neither of these two traits is
/// implemented for anything else.
pub trait ReadBehindLength<'de>: Sized {
    /// How many bytes the length takes where it is no varint.
    const WIDE: usize;

    /// Reads it, or null.
    fn read(reader: &mut Reader<'de>, field: &'static str) -> Result<Option<Self>, DecodeError>;
}

/// The same for writing.
pub trait WriteBehindLength {
    /// How many bytes the length takes where it is no varint.
    const WIDE: usize;

    /// Writes it.
    fn write(&self, writer: &mut Writer<'_>, field: &'static str);
}

impl<'de, T: ReadBehindLength<'de>> Decode<'de> for Option<T> {
    fn smallest(format: Format) -> usize {
        if format.flexible { 1 } else { T::WIDE }
    }

    fn decode(reader: &mut Reader<'de>, field: &'static str) -> Result<Self, DecodeError> {
        T::read(reader, field)
    }
}

impl<'de, T: ReadBehindLength<'de>> Decode<'de> for T {
    fn smallest(format: Format) -> usize {
        Option::<T>::smallest(format)
    }

    fn decode(reader: &mut Reader<'de>, field: &'static str) -> Result<Self, DecodeError> {
        T::read(reader, field)?.ok_or_else(|| reader.error(field, Problem::Null))
    }
}

impl<T: WriteBehindLength> Encode for Option<T> {
    fn encode(&self, writer: &mut Writer<'_>, field: &'static str) {
        match self {
            Some(value) => value.write(writer, field),
            None => writer.null(T::WIDE),
        }
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<T: WriteBehindLength> Encode for T {
    fn encode(&self, writer: &mut Writer<'_>, field: &'static str) {
        self.write(writer, field);
    }
}

impl<'de: 'a, 'a> ReadBehindLength<'de> for &'a str {
    const WIDE: usize = 2;

    fn read(reader: &mut Reader<'de>, field: &'static str) -> Result<Option<Self>, DecodeError> {
        let length = reader.length(field, |reader| reader.read::<i16>(field).map(i32::from))?;
        let Some(length) = length else { return Ok(None) };
        let bytes = reader.slice(field, length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| reader.error(field, Problem::NotUtf8))
    }
}

impl WriteBehindLength for &str {
    const WIDE: usize = 2;

    fn write(&self, writer: &mut Writer<'_>, field: &'static str) {
        writer.short_length(field, self.len());
        writer.raw(self.as_bytes());
    }
}

impl<'de: 'a, 'a> ReadBehindLength<'de> for &'a [u8] {
    const WIDE: usize = 4;

    fn read(reader: &mut Reader<'de>, field: &'static str) -> Result<Option<Self>, DecodeError> {
        let length = reader.length(field, |reader| reader.read(field))?;
        length.map(|length| reader.slice(field, length)).transpose()
    }
}

impl WriteBehindLength for &[u8] {
    const WIDE: usize = 4;

    fn write(&self, writer: &mut Writer<'_>, field: &'static str) {
        writer.length(field, self.len());
        writer.raw(self);
    }
}

impl<'de: 'a, 'a> ReadBehindLength<'de> for Hidden<'a> {
    const WIDE: usize = 4;

    fn read(reader: &mut Reader<'de>, field: &'static str) -> Result<Option<Self>, DecodeError> {
        Ok(<&[u8]>::read(reader, field)?.map(Self))
    }
}

impl WriteBehindLength for Hidden<'_> {
    const WIDE: usize = 4;

    fn write(&self, writer: &mut Writer<'_>, field: &'static str) {
        self.0.write(writer, field);
    }
}

impl<'de, T: Decode<'de>> ReadBehindLength<'de> for Vec<T> {
    const WIDE: usize = 4;

    fn read(reader: &mut Reader<'de>, field: &'static str) -> Result<Option<Self>, DecodeError> {
        reader.elements(field)
    }
}

impl<T: Encode> WriteBehindLength for Vec<T> {
    const WIDE: usize = 4;

    fn write(&self, writer: &mut Writer<'_>, field: &'static str) {
        writer.length(field, self.len());
        for element in self {
            element.encode(writer, field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Hidden(b"\0alice\0secret")), "[13 bytes]");
    }
}
