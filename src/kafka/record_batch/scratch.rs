//! Where a batch is unpacked to: a buffer that is kept from batch to batch, and bounded by a limit.

use std::error::Error;

/// A scratch buffer larger than this is freed after the batch that needed it, in bytes.
pub(super) const KEPT_SCRATCH: usize = 2 << 20;

/// Why decompression failed.
pub(super) enum Fault {
    /// The output would exceed the limit.
    TooLarge,
    /// The input is not valid.
    Broken(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// A buffer that is filled from the front; the rest is left over from former batches.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    filled: usize,
}

impl Scratch {
    /// The output so far.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// The output so far, and room for `size` more bytes, if the limit permits.
    pub(crate) fn room(&mut self, size: usize, limit: usize) -> Option<(&[u8], &mut [u8])> {
        let end = self.filled.checked_add(size).filter(|end| *end <= limit)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let (filled, rest) = self.bytes.split_at_mut_checked(self.filled)?;
        Some((filled, rest.get_mut(..size)?))
    }

    /// How many more bytes the limit permits.
    pub(crate) fn left(&self, limit: usize) -> usize {
        limit.saturating_sub(self.filled)
    }

    /// Begins anew, keeping the memory.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// How many bytes of memory it keeps.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether it holds more than is kept from batch to batch.
    pub(crate) fn is_large(&self) -> bool {
        self.filled > KEPT_SCRATCH
    }

    /// `size` bytes of the room have been filled.
    pub(crate) fn advance(&mut self, size: usize) {
        self.filled = self.filled.saturating_add(size).min(self.bytes.len());
    }

    /// Gives back what is more than a usual batch needs.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.len() > KEPT_SCRATCH {
            self.bytes.truncate(KEPT_SCRATCH);
            self.bytes.shrink_to_fit();
        }
    }
}
