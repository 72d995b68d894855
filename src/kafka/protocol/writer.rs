//! Encodes values in a version's format.

use super::format::Format;
use std::fmt;

/// What can be written.
pub trait Encode {
    /// Writes it. `field` is its name, for the error it may end in.
    fn encode(&self, writer: &mut Writer<'_>, field: &'static str);

    /// Whether it is written as null.
    fn is_null(&self) -> bool {
        false
    }
}

/// Appends to a buffer. A value that can't be written spoils the whole: [`finish`](Self::finish) says so, and takes
/// back what was written.
#[derive(Debug)]
pub struct Writer<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
    start: usize,
    error: Option<EncodeError>,
}

impl<'a> Writer<'a> {
    /// Begins behind what is in the buffer, in a version that is not flexible.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self::of(out, Format::FIRST)
    }

    /// Begins a message in this version behind what is in the buffer.
    pub fn of(out: &'a mut Vec<u8>, format: Format) -> Self {
        let start = out.len();
        Self { format, out, start, error: None }
    }

    /// The version that is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes on in another version.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Ends. On an error the buffer is what it was before.
    pub fn finish(self) -> Result<(), EncodeError> {
        match self.error {
            None => Ok(()),
            Some(error) => {
                self.out.truncate(self.start);
                Err(error)
            }
        }
    }

    /// Ends with all that was written behind its own `int32` length.
    pub fn finish_with_length(mut self) -> Result<(), EncodeError> {
        let length = self.out.len() - self.start;
        self.format = Format::FIRST;
        self.length("frame", length);
        // The length was written last, and belongs first.
        self.out[self.start..].rotate_right(4);
        self.finish()
    }

    /// Writes the value of a field.
    pub fn write(&mut self, field: &'static str, value: &impl Encode) {
        value.encode(self, field);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The first error counts.
    pub(super) fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// Seven bits in each byte, the lowest first.
    pub(in crate::kafka) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// Writes something behind its length as a varint.
    pub(super) fn with_length(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        write(self);
        let end = self.out.len();
        match u32::try_from(end - start) {
            Ok(length) => self.uvarint(length),
            Err(_) => self.too_long("tagged field", end - start, u32::MAX as usize),
        }
        let prefix = self.out.len() - end;
        self.out[start..].rotate_right(prefix);
    }

    fn too_long(&mut self, field: &'static str, length: usize, most: usize) {
        self.fail(EncodeError::TooLong { field, length, most });
    }

    /// The length of bytes or the count of elements.
    pub(super) fn length(&mut self, field: &'static str, length: usize) {
        match i32::try_from(length) {
            Ok(length) if self.format.flexible => self.uvarint(length.unsigned_abs() + 1),
            Ok(length) => self.raw(&length.to_be_bytes()),
            Err(_) => self.too_long(field, length, i32::MAX as usize),
        }
    }

    /// The length of a string. No version's strings are longer than those with an `int16` length.
    pub(super) fn short_length(&mut self, field: &'static str, length: usize) {
        match i16::try_from(length) {
            Ok(_) if self.format.flexible => self.length(field, length),
            Ok(length) => self.raw(&length.to_be_bytes()),
            Err(_) => self.too_long(field, length, i16::MAX as usize),
        }
    }

    /// Null in place of a length that takes so many bytes where it is no varint.
    pub(super) fn null(&mut self, wide: usize) {
        match self.format.flexible {
            true => self.uvarint(0),
            false => self.raw(&[0xff; 4][..wide.min(4)]),
        }
    }
}

/// A value that can't be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It is longer than the protocol can say.
    TooLong {
        /// The field, by Kafka's name.
        field: &'static str,
        /// Its length in bytes, or its count of elements.
        length: usize,
        /// The largest there can be.
        most: usize,
    },
    /// The version has no such field, and what it says can't be left out.
    Unknown {
        /// The field, by Kafka's name.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// The version's field can't be null.
    Null {
        /// The field, by Kafka's name.
        field: &'static str,
        /// The version.
        version: i16,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { field, length, most } => {
                write!(f, "`{field}` is {length} long, and Kafka's protocol has room for {most}: shorten it")
            }
            Self::Unknown { field, version } => write!(
                f,
                "`{field}` is set, and version {version}, the newest that the broker speaks, does not have it: do \
                 without what needs it, or use a newer broker"
            ),
            Self::Null { field, version } => write!(f, "`{field}` can't be null in version {version}"),
        }
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_too_long_to_say_leaves_the_buffer_as_it_was() {
        for flexible in [false, true] {
            let format = Format { version: 0, flexible };
            let mut out = vec![1, 2];
            let mut writer = Writer::of(&mut out, format);
            writer.write("client_id", &"x".repeat(32_767).as_str());
            assert_eq!(writer.finish(), Ok(()));
            assert_eq!(out.len(), 2 + if flexible { 3 } else { 2 } + 32_767);
            out.truncate(2);
            let mut writer = Writer::of(&mut out, format);
            writer.write("client_id", &"x".repeat(32_768).as_str());
            writer.write("more", &1_i8);
            let error = writer.finish().unwrap_err();
            assert_eq!(
                error.to_string(),
                "`client_id` is 32768 long, and Kafka's protocol has room for 32767: shorten it"
            );
            assert_eq!(out, [1, 2]);
        }
    }

    #[test]
    fn the_length_goes_before_what_was_written() {
        let mut out = vec![7];
        let mut writer = Writer::new(&mut out);
        writer.write("topics", &None::<Vec<i32>>);
        writer.write("more", &true);
        writer.finish_with_length().unwrap();
        assert_eq!(out, [7, 0, 0, 0, 5, 255, 255, 255, 255, 1]);
        out.clear();
        let mut writer = Writer::new(&mut out);
        writer.with_length(|writer| writer.raw(&[3; 200]));
        writer.finish().unwrap();
        assert_eq!((&out[..3], out.len()), (&[0xc8, 1, 3][..], 202));
    }
}
