//! Decodes untrusted bytes.

use super::format::Format;
use std::fmt;

/// The maximum number of elements of an array. A cluster has some hundred thousand partitions at most.
pub const MOST_ELEMENTS: usize = 1_000_000;
/// A decoded array takes at most so many times the bytes it was decoded from (elements that are slices of the
/// frame are larger than the shortest of what they refer to, which is one byte in a flexible version).
pub const LARGEST_GROWTH: usize = 24;
/// A varint of 32 bits takes at most so many bytes.
const LONGEST_UVARINT: usize = 5;

/// What can be read from bytes it may borrow from.
pub trait Decode<'de>: Sized {
    /// The minimum size of its encoding in bytes: with empty strings and arrays.
    fn smallest(format: Format) -> usize;

    /// Reads it. `field` is its name, for the error it may end in.
    fn decode(reader: &mut Reader<'de>, field: &'static str) -> Result<Self, DecodeError>;
}

/// A place in a frame.
#[derive(Clone, Debug)]
pub struct Reader<'de> {
    format: Format,
    length: usize,
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    /// Starts at the beginning, in a version that is not flexible.
    pub fn new(bytes: &'de [u8]) -> Self {
        Self::of(bytes, Format::FIRST)
    }

    /// Starts at the beginning of a message in this version.
    pub fn of(bytes: &'de [u8], format: Format) -> Self {
        Self { format, length: bytes.len(), rest: bytes }
    }

    /// The version that is read.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Reads on in another version.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// The number of bytes read.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The bytes not read yet.
    pub fn remaining(&self) -> &'de [u8] {
        self.rest
    }

    /// Reads the value of a field.
    pub fn read<T: Decode<'de>>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        T::decode(self, field)
    }

    /// Decodes a value that takes all bytes left. Bytes after it are an error: the two sides would disagree on the
    /// format.
    pub fn whole<T: Decode<'de>>(mut self) -> Result<T, DecodeError> {
        let value = self.read("message")?;
        self.end().map(|()| value)
    }

    fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
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

    /// So many bytes.
    pub(super) fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.short(field, N))?;
        self.rest = rest;
        Ok(*head)
    }

    /// So many bytes, borrowed.
    pub(super) fn slice(&mut self, field: &'static str, length: usize) -> Result<&'de [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.short(field, length))?;
        self.rest = rest;
        Ok(head)
    }

    /// A number of 32 bits, seven in each byte, the lowest first.
    pub(super) fn uvarint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for place in 0..LONGEST_UVARINT {
            let [byte] = self.fixed(field)?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.error(field, Problem::Varint));
            }
        }
        Err(self.error(field, Problem::Varint))
    }

    /// A length or a count, or null: as a varint one too high where the version is flexible, else as `wide` reads it.
    pub(super) fn length(
        &mut self,
        field: &'static str,
        wide: impl FnOnce(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        if self.format.flexible {
            return Ok(self.uvarint(field)?.checked_sub(1).map(|length| length as usize));
        }
        match wide(self)? {
            -1 => Ok(None),
            length => {
                usize::try_from(length).map(Some).map_err(|_| self.error(field, Problem::Negative(length)))
            }
        }
    }

    /// Elements, or null. Room is made for all of them at once, but only after their count was found possible: so
    /// many elements at their [smallest](Decode::smallest) fit into what is left of the frame, and are no more than
    /// [`MOST_ELEMENTS`].
    pub(super) fn elements<T: Decode<'de>>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = self.length(field, |reader| reader.read(field))?;
        let Some(count) = count else { return Ok(None) };
        let smallest = T::smallest(self.format).max(1);
        debug_assert!(size_of::<T>() <= LARGEST_GROWTH * smallest, "`{field}` grows by more than it may");
        let most = (self.rest.len() / smallest).min(MOST_ELEMENTS);
        if count > most {
            return Err(self.error(field, Problem::TooMany { count, most }));
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(self.read(field)?);
        }
        Ok(Some(elements))
    }

    /// The tagged fields at the end of a struct, in a flexible version. `known` reads a field if it has that tag;
    /// others are passed over.
    pub(in crate::kafka) fn tags(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        const FIELD: &str = "tagged fields";
        if !self.format.flexible {
            return Ok(());
        }
        let mut next = 0_u64;
        // Each takes two bytes, so a count that is too high ends with the bytes.
        for _ in 0..self.uvarint(FIELD)? {
            let tag = self.uvarint(FIELD)?;
            if u64::from(tag) < next {
                return Err(self.error(FIELD, Problem::Tag(tag)));
            }
            next = u64::from(tag) + 1;
            let size = self.uvarint(FIELD)? as usize;
            let (_, behind) = self.rest.split_at_checked(size).ok_or_else(|| self.short(FIELD, size))?;
            // For the field the frame ends where the field does.
            self.length -= behind.len();
            self.rest = &self.rest[..size];
            if known(self, tag)? {
                self.end()?;
            }
            self.length += behind.len();
            self.rest = behind;
        }
        Ok(())
    }
}

/// Bytes that can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field that was being read, by Kafka's name.
    pub field: &'static str,
    /// The offset in the frame, in bytes.
    pub position: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field.
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
    /// A varint of more than 32 bits.
    Varint,
    /// A tag that is not above the one before it.
    Tag(u32),
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
            Problem::Varint => f.write_str("has a length of more than 32 bits"),
            Problem::Tag(tag) => write!(f, "have the tag {tag} out of order"),
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

    const FLEXIBLE: Format = Format { version: 0, flexible: true };

    #[test]
    fn reads_each_primitive_and_says_where_it_is() {
        let bytes = [0xff, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 2, 0xc3, 0xa9, 0, 0, 0, 1, 9];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.read("a"), Ok(-1_i8));
        assert_eq!(reader.read("a"), Ok(1_i16));
        assert_eq!(reader.read("a"), Ok(2_i32));
        assert_eq!(reader.read("a"), Ok(3_i64));
        assert_eq!(reader.read("a"), Ok(true));
        assert_eq!(reader.read("a"), Ok("é"));
        assert_eq!(reader.read("a"), Ok(&[9_u8][..]));
        assert_eq!((reader.position(), reader.remaining()), (bytes.len(), &[][..]));
        let mut reader = Reader::of(&[3, 0xc3, 0xa9, 2, 9, 0, 2, 1], FLEXIBLE);
        assert_eq!(reader.read("a"), Ok("é"));
        assert_eq!(reader.read("a"), Ok(&[9_u8][..]));
        assert_eq!(reader.read("a"), Ok(None::<&str>));
        assert_eq!(reader.read::<Vec<&str>>("a"), Ok(vec![""]));
    }

    #[test]
    fn an_error_names_the_field_the_byte_and_the_reason() {
        let shown = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            reader.read::<i8>("version").unwrap();
            reader.read::<&str>("group_id").unwrap_err().to_string()
        };
        assert_eq!(shown(&[0]), "`group_id` at byte 1 takes 2 bytes, but 0 are left");
        assert_eq!(shown(&[0, 0, 9, b'x']), "`group_id` at byte 3 takes 9 bytes, but 1 are left");
        assert_eq!(shown(&[0, 0xff, 0xff]), "`group_id` at byte 3 is null, which it must not be");
        assert_eq!(shown(&[0, 0xff, 0xfe]), "`group_id` at byte 3 has the length -2");
        assert_eq!(shown(&[0, 0, 1, 0xff]), "`group_id` at byte 4 is not UTF-8");
        let flexible =
            |bytes: &[u8]| Reader::of(bytes, FLEXIBLE).read::<&str>("group_id").unwrap_err().to_string();
        let too_long = "`group_id` at byte 5 has a length of more than 32 bits";
        assert_eq!(flexible(&[0xff; 9]), too_long);
        assert_eq!(flexible(&[0xff, 0xff, 0xff, 0xff, 0x10]), too_long);
    }

    #[test]
    fn an_array_that_can_not_be_there_is_refused_before_room_is_made_for_it() {
        let mut bytes = 0x7fff_ffff_i32.to_be_bytes().to_vec();
        bytes.extend([0; 9]);
        let error = Reader::new(&bytes).read::<Vec<&str>>("topics").unwrap_err();
        assert_eq!(error.problem, Problem::TooMany { count: 0x7fff_ffff, most: 4 });
        let mut bytes = 1_000_001_i32.to_be_bytes().to_vec();
        bytes.resize(3_000_000, 0);
        let error = Reader::new(&bytes).read::<Vec<&str>>("topics").unwrap_err();
        assert_eq!(error.problem, Problem::TooMany { count: 1_000_001, most: MOST_ELEMENTS });
        let error = Reader::of(&[0xff, 0xff, 0xff, 0xff, 0xf, 0, 0], FLEXIBLE).read::<Vec<&str>>("topics");
        assert_eq!(error.unwrap_err().problem, Problem::TooMany { count: 0xffff_fffe, most: 2 });
    }

    #[test]
    fn what_follows_a_whole_value_is_an_error() {
        assert_eq!(Reader::new(&[0, 0, 0, 1]).whole::<i32>(), Ok(1));
        let error = Reader::new(&[0, 0, 0, 1, 0]).whole::<i32>().unwrap_err();
        assert_eq!(error.to_string(), "`end` at byte 4 is followed by 1 bytes that mean nothing");
    }

    #[test]
    fn tagged_fields_are_read_in_their_order_and_unknown_ones_passed_over() {
        let read = |bytes: &[u8]| {
            let mut found = Vec::new();
            let mut reader = Reader::of(bytes, FLEXIBLE);
            reader.tags(|reader, tag| {
                Ok(tag == 3 && {
                    found.push(reader.read::<i8>("a")?);
                    true
                })
            })?;
            Ok::<_, DecodeError>((found, reader.position()))
        };
        assert_eq!(read(&[0]), Ok((vec![], 1)));
        assert_eq!(read(&[2, 1, 2, 9, 9, 3, 1, 7, 5]), Ok((vec![7], 8)));
        assert_eq!(read(&[2, 3, 1, 7, 3, 1, 7]).unwrap_err().problem, Problem::Tag(3));
        assert_eq!(
            read(&[1, 3, 2, 7, 7]).unwrap_err(),
            DecodeError { field: "end", position: 4, problem: Problem::LeftOver(1) }
        );
        assert_eq!(read(&[1, 3, 0, 7]).unwrap_err().problem, Problem::Short { needed: 1, left: 0 });
        assert_eq!(read(&[1, 0, 9, 7]).unwrap_err().problem, Problem::Short { needed: 9, left: 1 });
    }

    proptest! {
        #[test]
        fn makes_room_for_no_more_than_the_bytes_account_for(
            count in any::<i32>(),
            flexible in any::<bool>(),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = count.to_be_bytes().to_vec();
            bytes.extend(&rest);
            let mut reader = Reader::of(&bytes, Format { version: 0, flexible });
            if let Ok(Some(elements)) = reader.read::<Option<Vec<&str>>>("topics") {
                prop_assert!(elements.capacity() * size_of::<&str>() <= LARGEST_GROWTH * bytes.len());
            }
        }
    }
}
