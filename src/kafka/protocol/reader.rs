//! Reading the primitive types, from bytes that nobody has checked yet.

use super::error_code::ErrorCode;
use std::fmt;

/// No array has more elements than this. (A cluster has some hundred thousand partitions at most.)
pub const MOST_ELEMENTS: usize = 1_000_000;
/// A decoded array takes at most so many times the bytes it was decoded from (elements that are slices of the
/// frame are larger than the shortest of what they refer to).
pub const LARGEST_GROWTH: usize = 8;

/// What can be read from bytes it may borrow from.
pub trait Decode<'a>: Sized {
    /// The fewest bytes it can be encoded in: with each string and array empty.
    const SMALLEST: usize;

    /// Reads it.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// A place in a frame. Each read takes the name of the field, for the error it may end in.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    length: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { length: bytes.len(), rest: bytes }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What wasn't read yet.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads one value that takes all that is left. In the pinned versions nothing may follow it: bytes left
    /// over mean that the two sides don't speak of the same thing.
    pub fn whole<T: Decode<'a>>(mut self) -> Result<T, DecodeError> {
        let value = T::decode(&mut self)?;
        match self.rest.len() {
            0 => Ok(value),
            left => Err(self.error("end", Problem::LeftOver(left))),
        }
    }

    /// An error at this place.
    pub fn error(&self, field: &'static str, problem: Problem) -> DecodeError {
        DecodeError { field, position: self.position(), problem }
    }

    fn short(&self, field: &'static str, needed: usize) -> DecodeError {
        self.error(field, Problem::Short { needed, left: self.rest.len() })
    }

    fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.short(field, N))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn int8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        self.fixed(field).map(i8::from_be_bytes)
    }

    /// Two bytes.
    pub fn int16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.fixed(field).map(i16::from_be_bytes)
    }

    /// Four bytes.
    pub fn int32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.fixed(field).map(i32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn int64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    /// One byte; any but 0 is true, as the protocol's guide has it.
    pub fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.int8(field).map(|byte| byte != 0)
    }

    /// An `int16` with a meaning.
    pub fn error_code(&mut self, field: &'static str) -> Result<ErrorCode, DecodeError> {
        self.int16(field).map(ErrorCode)
    }

    /// As many bytes as a length before them said; -1 stands for null.
    fn slice(&mut self, field: &'static str, length: i32) -> Result<Option<&'a [u8]>, DecodeError> {
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.error(field, Problem::Negative(length)))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.short(field, length))?;
        self.rest = rest;
        Ok(Some(head))
    }

    /// A string behind its `int16` length, or null.
    pub fn nullable_string(&mut self, field: &'static str) -> Result<Option<&'a str>, DecodeError> {
        let length = self.int16(field)?;
        let Some(bytes) = self.slice(field, length.into())? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes).map(Some).map_err(|_| self.error(field, Problem::NotUtf8))
    }

    /// A string that must not be null.
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        self.nullable_string(field)?.ok_or_else(|| self.error(field, Problem::Null))
    }

    /// Bytes behind their `int32` length, or null. Record batches (`records`) come as such, too.
    pub fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.int32(field)?;
        self.slice(field, length)
    }

    /// Bytes that must not be null.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.nullable_bytes(field)?.ok_or_else(|| self.error(field, Problem::Null))
    }

    /// Elements behind their `int32` count, or null.
    ///
    /// Room is made for all of them at once, but only after their count was found possible: so many elements at
    /// their [smallest](Decode::SMALLEST) fit into what is left of the frame, and are no more than
    /// [`MOST_ELEMENTS`].
    pub fn nullable_array<T: Decode<'a>>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        const { assert!(size_of::<T>() <= LARGEST_GROWTH * T::SMALLEST) };
        let claimed = self.int32(field)?;
        if claimed == -1 {
            return Ok(None);
        }
        let count = usize::try_from(claimed).map_err(|_| self.error(field, Problem::Negative(claimed)))?;
        let most = (self.rest.len() / T::SMALLEST).min(MOST_ELEMENTS);
        if count > most {
            return Err(self.error(field, Problem::TooMany { count, most }));
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(self)?);
        }
        Ok(Some(elements))
    }

    /// Elements of an array that must not be null.
    pub fn array<T: Decode<'a>>(&mut self, field: &'static str) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(field)?.ok_or_else(|| self.error(field, Problem::Null))
    }
}

impl Decode<'_> for i32 {
    const SMALLEST: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.int32("element")
    }
}

impl<'a> Decode<'a> for &'a str {
    const SMALLEST: usize = 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.string("element")
    }
}

/// Bytes that aren't what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field that was being read, by Kafka's name.
    pub field: &'static str,
    /// How many bytes of the frame had been read.
    pub position: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It takes more bytes than there are.
    Short {
        /// How many it takes.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A length or a count below -1.
    Negative(i32),
    /// A null where none may be.
    Null,
    /// A string that is none.
    NotUtf8,
    /// An array with more elements than there can be.
    TooMany {
        /// How many it claims.
        count: usize,
        /// How many there can be in the bytes that are left.
        most: usize,
    },
    /// Bytes behind the end.
    LeftOver(usize),
    /// A frame with more bytes than the limit, or with less than none.
    FrameLength(i32),
    /// A version this code can't read.
    Version(i16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, position, problem } = self;
        write!(f, "`{field}` at byte {position} ")?;
        match problem {
            Problem::Short { needed, left } => write!(f, "takes {needed} bytes, but {left} are left"),
            Problem::Negative(length) => write!(f, "has the length {length}"),
            Problem::Null => f.write_str("is null, which it must not be"),
            Problem::NotUtf8 => f.write_str("is not UTF-8"),
            Problem::TooMany { count, most } => {
                write!(f, "claims {count} elements, but there can't be more than {most}")
            }
            Problem::LeftOver(left) => write!(f, "is followed by {left} bytes that mean nothing"),
            Problem::FrameLength(length) => {
                write!(f, "says {length} bytes, which is not from 0 to the largest frame allowed")
            }
            Problem::Version(version) => write!(f, "is {version}, which can't be read"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_each_primitive_and_says_where_it_is() {
        let bytes = [0xff, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 2, 0xc3, 0xa9, 0, 0, 0, 1, 9];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.int8("a"), Ok(-1));
        assert_eq!(reader.int16("a"), Ok(1));
        assert_eq!(reader.int32("a"), Ok(2));
        assert_eq!(reader.int64("a"), Ok(3));
        assert_eq!(reader.boolean("a"), Ok(true));
        assert_eq!(reader.string("a"), Ok("é"));
        assert_eq!(reader.bytes("a"), Ok(&[9][..]));
        assert_eq!((reader.position(), reader.remaining()), (bytes.len(), &[][..]));
    }

    #[test]
    fn an_error_names_the_field_the_byte_and_the_reason() {
        let shown = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            reader.int8("version").unwrap();
            reader.string("group_id").unwrap_err().to_string()
        };
        assert_eq!(shown(&[0]), "`group_id` at byte 1 takes 2 bytes, but 0 are left");
        assert_eq!(shown(&[0, 0, 9, b'x']), "`group_id` at byte 3 takes 9 bytes, but 1 are left");
        assert_eq!(shown(&[0, 0xff, 0xff]), "`group_id` at byte 3 is null, which it must not be");
        assert_eq!(shown(&[0, 0xff, 0xfe]), "`group_id` at byte 3 has the length -2");
        assert_eq!(shown(&[0, 0, 1, 0xff]), "`group_id` at byte 4 is not UTF-8");
    }

    #[test]
    fn an_array_that_can_not_be_there_is_refused_before_room_is_made_for_it() {
        let mut bytes = 0x7fff_ffff_i32.to_be_bytes().to_vec();
        bytes.extend([0; 9]);
        let error = Reader::new(&bytes).array::<&str>("topics").unwrap_err();
        assert_eq!(error.problem, Problem::TooMany { count: 0x7fff_ffff, most: 4 });
        let mut bytes = 1_000_001_i32.to_be_bytes().to_vec();
        bytes.resize(3_000_000, 0);
        let error = Reader::new(&bytes).array::<&str>("topics").unwrap_err();
        assert_eq!(error.problem, Problem::TooMany { count: 1_000_001, most: MOST_ELEMENTS });
    }

    #[test]
    fn what_follows_a_whole_value_is_an_error() {
        assert_eq!(Reader::new(&[0, 0, 0, 1]).whole::<i32>(), Ok(1));
        let error = Reader::new(&[0, 0, 0, 1, 0]).whole::<i32>().unwrap_err();
        assert_eq!(error.to_string(), "`end` at byte 4 is followed by 1 bytes that mean nothing");
    }

    proptest! {
        #[test]
        fn makes_room_for_no_more_than_the_bytes_account_for(
            count in any::<i32>(),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = count.to_be_bytes().to_vec();
            bytes.extend(&rest);
            if let Ok(Some(elements)) = Reader::new(&bytes).nullable_array::<&str>("topics") {
                prop_assert!(elements.capacity() * size_of::<&str>() <= LARGEST_GROWTH * rest.len());
            }
        }
    }
}
