//! Reads frames from a stream into one reused buffer.

use crate::kafka::protocol::{DecodeError, frame_length};
use std::io::{self, Read};

/// The size of a read before the length of the frame is known, in bytes: most frames arrive in one read.
const READ_AHEAD: usize = 16 * 1024;
/// After this many frames the buffer is shrunk if it is far larger than the largest of them.
const REVIEW: u32 = 16;
/// The buffer is never shrunk below this size, in bytes.
const KEPT: usize = 64 * 1024;
/// The buffer may be this many times larger than the largest recent frame.
const MOST_SLACK: usize = 4;
const PREFIX: usize = 4;

/// Why a frame could not be read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The stream failed, or ended within a frame.
    Io(io::Error),
    /// The length is invalid.
    Length(DecodeError),
}

/// The buffer. It grows only as bytes arrive, so a false length alone costs no memory.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    /// The bytes read and not returned yet are in `start..end`.
    start: usize,
    end: usize,
    frames: u32,
    largest: usize,
}

impl Inbox {
    /// Reads the next frame of at most `limit` bytes, without its length field.
    pub(super) fn frame(&mut self, source: &mut impl Read, limit: usize) -> Result<&[u8], FrameError> {
        self.make_room();
        while self.end - self.start < PREFIX {
            self.read(source, READ_AHEAD)?;
        }
        let prefix = self.buffer.get(self.start..).and_then(|bytes| bytes.first_chunk()).copied();
        let prefix = prefix.ok_or_else(|| FrameError::Io(io::ErrorKind::UnexpectedEof.into()))?;
        let whole = PREFIX + frame_length(prefix, limit).map_err(FrameError::Length)?;
        self.largest = self.largest.max(whole);
        while self.end - self.start < whole {
            self.read(source, whole)?;
        }
        let frame = self.start + PREFIX..self.start + whole;
        self.start += whole;
        Ok(&self.buffer[frame])
    }

    /// Whether no bytes have been read ahead.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Moves the remaining bytes to the front, and frees memory that only one large frame needed.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.frames += 1;
        if self.frames < REVIEW {
            return;
        }
        let enough = self.largest.max(self.end).max(KEPT);
        if self.buffer.len() > enough.saturating_mul(MOST_SLACK) {
            self.buffer.truncate(enough);
            self.buffer.shrink_to_fit();
        }
        self.frames = 0;
        self.largest = 0;
    }

    /// Reads once, up to `wanted` buffered bytes or [`READ_AHEAD`].
    fn read(&mut self, source: &mut impl Read, wanted: usize) -> Result<(), FrameError> {
        // The buffer at most doubles, so a peer that claims a large frame has to send half of what it costs here.
        let room = wanted.min(self.end.saturating_mul(2)).max(READ_AHEAD);
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let upto = wanted.max(READ_AHEAD).min(self.buffer.len());
        match source.read(&mut self.buffer[self.end..upto]) {
            Ok(0) => Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            Err(error) => Err(FrameError::Io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 24;

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let framed = |body: &Vec<u8>| [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
        bodies.iter().flat_map(framed).collect()
    }

    /// Gives its bytes in pieces of these sizes, over and over.
    struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.1.next().copied().unwrap_or(1);
            self.0.take(piece as u64).read(buffer).inspect(|read| self.0 = &self.0[*read..])
        }
    }

    #[test]
    fn a_claimed_length_costs_no_memory() {
        let mut inbox = Inbox::default();
        let mut source = &[0, 0xff, 0xff, 0xff, 1, 2, 3][..];
        assert!(matches!(inbox.frame(&mut source, LIMIT), Err(FrameError::Io(_))));
        assert!(inbox.buffer.capacity() <= 2 * READ_AHEAD, "{}", inbox.buffer.capacity());
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_once() {
        for prefix in [[0, 0, 4, 1], [0xff; 4], [0x80, 0, 0, 0]] {
            let error = Inbox::default().frame(&mut &prefix[..], 1024).unwrap_err();
            assert!(matches!(error, FrameError::Length(_)), "{error:?}");
        }
    }

    #[test]
    fn one_large_frame_does_not_keep_its_memory_for_ever() {
        let bodies: Vec<Vec<u8>> =
            std::iter::once(4 << 20).chain([100; 40]).map(|size| vec![7; size]).collect();
        let bytes = framed(&bodies);
        let (mut inbox, mut source) = (Inbox::default(), &bytes[..]);
        for (number, body) in bodies.iter().enumerate() {
            assert_eq!(inbox.frame(&mut source, LIMIT).unwrap(), body);
            assert_eq!(inbox.buffer.capacity() > 1 << 20, number < 31, "after {number}");
        }
        assert!(inbox.is_empty());
    }

    #[test]
    fn frames_of_the_same_size_use_the_same_memory() {
        let bytes = framed(&vec![vec![7; 1 << 20]; 64]);
        let (mut inbox, mut source) = (Inbox::default(), &bytes[..]);
        inbox.frame(&mut source, LIMIT).unwrap();
        let memory = inbox.buffer.as_ptr();
        for _ in 1..64 {
            inbox.frame(&mut source, LIMIT).unwrap();
            assert_eq!(inbox.buffer.as_ptr(), memory);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_arrive(
            sizes in prop::collection::vec(prop_oneof![0..40_usize, 0..70_000_usize], 1..40),
            pieces in prop::collection::vec(1..40_000_usize, 1..8),
        ) {
            let body = |(number, size): (usize, &usize)| vec![number as u8; *size];
            let bodies: Vec<Vec<u8>> = sizes.iter().enumerate().map(body).collect();
            let bytes = framed(&bodies);
            let (mut inbox, mut source) = (Inbox::default(), Pieces(&bytes, pieces.iter().cycle()));
            for body in &bodies {
                prop_assert_eq!(inbox.frame(&mut source, LIMIT).unwrap(), &body[..]);
            }
            prop_assert!(inbox.is_empty());
            prop_assert!(inbox.frame(&mut source, LIMIT).is_err());
        }
    }
}
