//! Splits the bytes of a fetch response into batches.

use super::batch::Batch;
use super::error::BatchError;
use super::fields::{Fields, PREFIX};
use super::formats;

/// The offset of the format's number (magic), in all formats.
const MAGIC_AT: usize = 16;

/// The batches in a fetch response, in order. An incomplete batch at the end is dropped: the broker cuts at its size
/// limit, and the next fetch returns the batch whole. Ends after an error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches in `bytes`: format v2, or messages of v0 and v1, also mixed.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, rest: bytes }
    }

    /// The minimum size of the first batch, if it is incomplete: then no fetch with the same limit ever returns a
    /// record. (With KIP-74 a broker returns the first batch whole, whatever the limit.)
    pub fn first_length_wanted(&self) -> Option<usize> {
        if self.bytes.is_empty() {
            return None;
        }
        let wanted = match frame(self.bytes) {
            Some((_, length)) => usize::try_from(length).ok()?.checked_add(PREFIX)?,
            None => PREFIX,
        };
        (wanted > self.bytes.len()).then_some(wanted)
    }
}

/// The first batch's offset and the bytes it counts behind these two.
fn frame(bytes: &[u8]) -> Option<(i64, i32)> {
    let mut fields = Fields(bytes);
    Some((fields.i64()?, fields.i32()?))
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let (base_offset, length) = frame(rest)?;
        let Some(whole) = usize::try_from(length).ok().and_then(|length| length.checked_add(PREFIX)) else {
            return Some(Err(BatchError::Malformed { base_offset, what: "its length is negative" }));
        };
        let (bytes, behind) = rest.split_at_checked(whole)?;
        let batch = match bytes.get(MAGIC_AT) {
            Some(&magic) => formats::parse(bytes, magic as i8),
            None => Err(BatchError::Malformed { base_offset, what: "it is too short to say its format" }),
        };
        if batch.is_ok() {
            self.rest = behind;
        }
        Some(batch)
    }
}
