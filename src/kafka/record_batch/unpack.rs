//! Decompression up to a limit.
//!
//! The checksums of gzip and lz4 are ignored, since that of the batch covers the same bytes.

use super::Compression;
use super::error::BatchError;
use super::fields::Fields;
use super::lz4;
use super::scratch::{Fault, Scratch};
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read;
use std::sync::Arc;

/// The growth of the buffer if the size that gzip announces is too small.
const GROWTH: usize = 4;
/// The minimum size of the buffer for gzip, in bytes.
const SMALLEST_ROOM: usize = 4 << 10;
/// How much zstd decompresses between two checks of the limit, in bytes: the maximum size of a block.
const ZSTD_STEP: usize = 128 << 10;
/// The window that a zstd frame may always have, even above the limit: RFC 8878 requires it of every decoder, and
/// encoders announce the window of their level for any size.
const USUAL_WINDOW: usize = 8 << 20;
/// The magic of Java's snappy framing, which two version numbers follow.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: usize = 8;

/// The buffers and decoders for decompression, reused so that a batch costs one allocation: its payload. Keeps some
/// hundred KiB for gzip and up to a few MiB for zstd, once used.
#[derive(Default)]
pub struct Unpacker {
    scratch: Scratch,
    inflate: Option<Decompress>,
    zstd: Option<FrameDecoder>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").field("scratch", &self.scratch.capacity()).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// Without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decompresses `packed` into an allocation of exactly the right size, at most `limit` and 4 GiB, so that offsets
    /// fit into a `u32`. Uncompressed bytes were bounded by the fetch, so no limit applies to them.
    pub(super) fn payload(
        &mut self,
        base_offset: i64,
        compression: Compression,
        packed: &[u8],
        limit: usize,
    ) -> Result<Arc<[u8]>, BatchError> {
        let limit = limit.min(u32::MAX as usize);
        if compression == Compression::None {
            // A batch has less than 2 GiB: its length is an i32.
            return Ok(Arc::from(packed));
        }
        self.scratch.clear();
        let unpacked = self.unpack(compression, packed, limit);
        let payload = unpacked.map(|()| Arc::from(self.scratch.filled())).map_err(|fault| match fault {
            Fault::TooLarge => BatchError::TooLarge { base_offset, compression, limit },
            Fault::Broken(source) => BatchError::Unpack { base_offset, compression, source },
        });
        self.scratch.shrink();
        payload
    }

    fn unpack(&mut self, compression: Compression, packed: &[u8], limit: usize) -> Result<(), Fault> {
        match compression {
            Compression::None => Ok(()),
            Compression::Gzip => {
                let inflate = self.inflate.get_or_insert_with(|| Decompress::new(false));
                gunzip(inflate, packed, &mut self.scratch, limit)
            }
            Compression::Snappy => match packed.strip_prefix(XERIAL_MAGIC) {
                Some(framed) => unsnap_framed(framed, &mut self.scratch, limit),
                None => unsnap(packed, &mut self.scratch, limit),
            },
            Compression::Lz4 => lz4::unpack(packed, &mut self.scratch, limit),
            Compression::Zstd => {
                let decoder = self.zstd.get_or_insert_default();
                let unpacked = unzstd(decoder, packed, &mut self.scratch, limit);
                // Its window may have grown to the limit.
                if unpacked.is_err() || self.scratch.is_large() {
                    self.zstd = None;
                }
                unpacked
            }
        }
    }
}

/// gzip: consecutive members.
fn gunzip(inflate: &mut Decompress, packed: &[u8], scratch: &mut Scratch, limit: usize) -> Result<(), Fault> {
    let mut rest = packed;
    while !rest.is_empty() {
        let deflated = behind_gzip_header(rest).ok_or("its header is damaged")?;
        let consumed = inflate_member(inflate, deflated, scratch, limit)?;
        let mut trailer = Fields(deflated.get(consumed..).unwrap_or_default());
        trailer.bytes(8).ok_or("it ends in its middle")?;
        rest = trailer.0;
    }
    Ok(())
}

/// Decompresses one member and returns its size in the input. The last four bytes announce the size of the output, so
/// that it is written in one go. If they are wrong, it starts over with more room.
fn inflate_member(
    inflate: &mut Decompress,
    deflated: &[u8],
    scratch: &mut Scratch,
    limit: usize,
) -> Result<usize, Fault> {
    let announced = deflated.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let left = scratch.left(limit);
    // Never more than deflate can produce, so that a false size costs no memory.
    let mut size = announced.min(deflated.len().saturating_mul(1032)).clamp(SMALLEST_ROOM.min(left), left);
    loop {
        let (_, room) = scratch.room(size, limit).ok_or(Fault::TooLarge)?;
        inflate.reset(false);
        let status = inflate.decompress(deflated, room, FlushDecompress::Finish)?;
        let written = usize::try_from(inflate.total_out()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd => {
                scratch.advance(written);
                return Ok(usize::try_from(inflate.total_in()).unwrap_or(usize::MAX));
            }
            Status::Ok | Status::BufError if written < size => return Err("it ends in its middle".into()),
            Status::Ok | Status::BufError if size == left => return Err(Fault::TooLarge),
            Status::Ok | Status::BufError => size = size.saturating_mul(GROWTH).min(left),
        }
    }
}

/// RFC 1952, section 2.3.
fn behind_gzip_header(packed: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(packed);
    let [0x1f, 0x8b, 8, flags, ..] = *fields.bytes(10)? else { return None };
    if flags & 4 != 0 {
        let [low, high] = *fields.bytes(2)? else { return None };
        fields.bytes(usize::from(u16::from_le_bytes([low, high])))?;
    }
    for text in [8, 16] {
        if flags & text != 0 {
            let length = fields.0.iter().position(|byte| *byte == 0)?;
            fields.bytes(length + 1)?;
        }
    }
    if flags & 2 != 0 {
        fields.bytes(2)?;
    }
    Some(fields.0)
}

/// Snappy, raw.
fn unsnap(packed: &[u8], scratch: &mut Scratch, limit: usize) -> Result<(), Fault> {
    let size = snap::raw::decompress_len(packed)?;
    let (_, room) = scratch.room(size, limit).ok_or(Fault::TooLarge)?;
    let size = snap::raw::Decoder::new().decompress(packed, room)?;
    scratch.advance(size);
    Ok(())
}

/// Snappy in blocks with lengths. The version numbers are ignored, since encoders disagree on them.
fn unsnap_framed(framed: &[u8], scratch: &mut Scratch, limit: usize) -> Result<(), Fault> {
    let mut fields = Fields(framed);
    fields.bytes(XERIAL_VERSIONS).ok_or("it ends in its header")?;
    while fields.remaining() > 0 {
        let size = fields.i32().and_then(|size| usize::try_from(size).ok());
        let block = size.and_then(|size| fields.bytes(size)).ok_or("a block ends in its middle")?;
        unsnap(block, scratch, limit)?;
    }
    Ok(())
}

/// zstd: consecutive frames. A frame's window may be as large as the limit, so with scratch and payload the memory is
/// bounded by three times the limit.
fn unzstd(
    decoder: &mut FrameDecoder,
    packed: &[u8],
    scratch: &mut Scratch,
    limit: usize,
) -> Result<(), Fault> {
    decoder.set_max_window_size(limit.max(USUAL_WINDOW) as u64);
    let mut rest = packed;
    while !rest.is_empty() {
        decoder.reset(&mut rest)?;
        if decoder.content_size() > scratch.left(limit) as u64 {
            return Err(Fault::TooLarge);
        }
        while !decoder.is_finished() {
            decoder.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBytes(ZSTD_STEP))?;
            let size = decoder.can_collect();
            let (_, room) = scratch.room(size, limit).ok_or(Fault::TooLarge)?;
            let size = decoder.read(room)?;
            scratch.advance(size);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scratch::KEPT_SCRATCH;
    use super::*;
    use crate::kafka::record_batch::pack::pack;
    use flate2::{Compression as Level, GzBuilder};
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    /// Text that compresses, more than three of the smallest LZ4 blocks long.
    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|n| format!("line {}, ", n * n % 977).into_bytes()).collect()
    }

    fn unpacked(compression: Compression, packed: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
        Unpacker::new().payload(0, compression, packed, limit).map(|payload| payload.to_vec())
    }

    /// Two pieces, packed one behind the other, are one; with the limit at its size, but not below.
    fn reads_both(compression: Compression, mut packed: Vec<u8>) {
        packed.extend_from_within(..);
        let twice = text().repeat(2);
        assert_eq!(unpacked(compression, &packed, twice.len()).unwrap(), twice);
        let error = unpacked(compression, &packed, twice.len() - 1).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { .. }), "{error}");
        let error = unpacked(compression, &packed[..packed.len() - 1], twice.len()).unwrap_err();
        assert!(matches!(error, BatchError::Unpack { .. }), "{error}");
    }

    #[test]
    fn reads_members_and_frames_one_behind_the_other() {
        for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let mut packed = Vec::new();
            pack(compression, &text(), &mut packed).unwrap();
            reads_both(compression, packed);
        }
    }

    #[test]
    fn reads_gzip_with_everything_its_header_may_have() {
        let extra = GzBuilder::new().extra(*b"extra\0bytes").filename("a name").comment("a comment").mtime(7);
        let mut encoder = extra.write(Vec::new(), Level::default());
        encoder.write_all(&text()).unwrap();
        reads_both(Compression::Gzip, encoder.finish().unwrap());
    }

    #[test]
    fn reads_gzip_that_announces_too_little() {
        let mut packed = Vec::new();
        pack(Compression::Gzip, &text(), &mut packed).unwrap();
        let size = packed.len() - 4;
        packed[size..].fill(0);
        reads_both(Compression::Gzip, packed);
    }

    #[test]
    fn reads_lz4_with_linked_blocks_sizes_and_checksums() {
        for (mode, checks) in
            [(BlockMode::Linked, true), (BlockMode::Linked, false), (BlockMode::Independent, true)]
        {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(BlockSize::Max64KB)
                .block_checksums(checks)
                .content_checksum(checks)
                .content_size(checks.then_some(text().len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&text()).unwrap();
            reads_both(Compression::Lz4, encoder.finish().unwrap());
        }
    }

    #[test]
    fn reads_lz4_that_is_stored_as_it_is_and_leaps_what_is_to_be_skipped() {
        // Magic, version with independent blocks, 64 KiB blocks, no checksum that fits; a stored block, the end.
        let frame = b"\x04\x22\x4d\x18\x60\x40\xff\x03\0\0\x80abc\0\0\0\0";
        let skipped = b"\x53\x2a\x4d\x18\x02\0\0\0zz";
        let packed = [&skipped[..], frame, skipped, frame].concat();
        assert_eq!(unpacked(Compression::Lz4, &packed, 6).unwrap(), b"abcabc");
        assert!(matches!(unpacked(Compression::Lz4, &packed, 5), Err(BatchError::TooLarge { .. })));
    }

    #[test]
    fn gives_back_what_a_large_batch_needed() {
        let plain = vec![7; 2 * KEPT_SCRATCH];
        for compression in &Compression::ALL[1..] {
            let (mut packed, mut unpacker) = (Vec::new(), Unpacker::new());
            pack(*compression, &plain, &mut packed).unwrap();
            assert_eq!(unpacker.payload(0, *compression, &packed, plain.len()).unwrap().len(), plain.len());
            assert!(unpacker.scratch.capacity() <= KEPT_SCRATCH, "{compression}");
        }
    }
}
