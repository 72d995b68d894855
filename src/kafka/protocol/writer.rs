//! Writing the primitive types.

use super::error_code::ErrorCode;
use std::fmt;

/// What can be written.
pub trait Encode {
    /// Writes it.
    fn encode(&self, writer: &mut Writer<'_>);
}

/// Appends to a buffer. A value too long for its length field spoils the whole: [`finish`](Self::finish) says
/// so, and takes back what was written.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    error: Option<EncodeError>,
}

impl<'a> Writer<'a> {
    /// Begins behind what is in the buffer.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, error: None }
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
        self.length("frame", length);
        // The length was written last, and belongs first.
        self.out[self.start..].rotate_right(4);
        self.finish()
    }

    /// One byte.
    pub fn int8(&mut self, value: i8) {
        self.out.extend(value.to_be_bytes());
    }

    /// Two bytes.
    pub fn int16(&mut self, value: i16) {
        self.out.extend(value.to_be_bytes());
    }

    /// Four bytes.
    pub fn int32(&mut self, value: i32) {
        self.out.extend(value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn int64(&mut self, value: i64) {
        self.out.extend(value.to_be_bytes());
    }

    /// One byte.
    pub fn boolean(&mut self, value: bool) {
        self.int8(value.into());
    }

    /// An `int16` with a meaning.
    pub fn error_code(&mut self, value: ErrorCode) {
        self.int16(value.0);
    }

    fn length(&mut self, field: &'static str, length: usize) {
        match i32::try_from(length) {
            Ok(length) => self.int32(length),
            Err(_) => {
                self.error = Some(EncodeError { field, length, most: i32::MAX as usize });
                self.int32(0);
            }
        }
    }

    /// A string behind its `int16` length.
    pub fn string(&mut self, field: &'static str, value: &str) {
        match i16::try_from(value.len()) {
            Ok(length) => {
                self.int16(length);
                self.out.extend_from_slice(value.as_bytes());
            }
            Err(_) => {
                self.error = Some(EncodeError { field, length: value.len(), most: i16::MAX as usize });
            }
        }
    }

    /// A string, or the length -1 for null.
    pub fn nullable_string(&mut self, field: &'static str, value: Option<&str>) {
        match value {
            Some(value) => self.string(field, value),
            None => self.int16(-1),
        }
    }

    /// Bytes behind their `int32` length.
    pub fn bytes(&mut self, field: &'static str, value: &[u8]) {
        self.length(field, value.len());
        self.out.extend_from_slice(value);
    }

    /// Bytes, or the length -1 for null.
    pub fn nullable_bytes(&mut self, field: &'static str, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(field, value),
            None => self.int32(-1),
        }
    }

    /// Elements behind their `int32` count.
    pub fn array<T: Encode>(&mut self, field: &'static str, elements: &[T]) {
        self.length(field, elements.len());
        for element in elements {
            element.encode(self);
        }
    }

    /// Elements, or the count -1 for null.
    pub fn nullable_array<T: Encode>(&mut self, field: &'static str, elements: Option<&[T]>) {
        match elements {
            Some(elements) => self.array(field, elements),
            None => self.int32(-1),
        }
    }
}

impl Encode for i32 {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(*self);
    }
}

impl Encode for &str {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("element", self);
    }
}

/// A value longer than the protocol can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// The field, by Kafka's name.
    pub field: &'static str,
    /// Its length in bytes, or its count of elements.
    pub length: usize,
    /// The largest there can be.
    pub most: usize,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, length, most } = self;
        write!(f, "`{field}` is {length} long, and Kafka's protocol has room for {most}: shorten it")
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_too_long_to_say_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2];
        let mut writer = Writer::new(&mut out);
        writer.string("client_id", &"x".repeat(32_767));
        assert_eq!(writer.finish(), Ok(()));
        assert_eq!(out.len(), 2 + 2 + 32_767);
        out.truncate(2);
        let mut writer = Writer::new(&mut out);
        writer.string("client_id", &"x".repeat(32_768));
        writer.int8(1);
        let error = writer.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`client_id` is 32768 long, and Kafka's protocol has room for 32767: shorten it"
        );
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn the_length_goes_before_what_was_written() {
        let mut out = vec![7];
        let mut writer = Writer::new(&mut out);
        writer.nullable_array::<i32>("topics", None);
        writer.boolean(true);
        writer.finish_with_length().unwrap();
        assert_eq!(out, [7, 0, 0, 0, 5, 255, 255, 255, 255, 1]);
    }
}
