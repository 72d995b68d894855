//! LZ4's frame format, so that each block is decompressed in place.
//!
//! The header's checksum is deliberately ignored: messages of v0 have a wrong one (KAFKA-3160).
//!
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>

use super::fields::Fields;
use super::scratch::{Fault, Scratch};
use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};

const MAGIC: u32 = 0x184d_2204;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;
const VERSION_BITS: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
/// The bit of a block's size that marks an uncompressed block.
const STORED: u32 = 1 << 31;
/// How far back a block may refer to earlier blocks, in bytes.
const WINDOW: usize = 64 << 10;

/// Decompresses consecutive frames.
pub(super) fn unpack(packed: &[u8], scratch: &mut Scratch, limit: usize) -> Result<(), Fault> {
    let mut fields = Fields(packed);
    while fields.remaining() > 0 {
        match little_endian(&mut fields).ok_or(CUT)? {
            MAGIC => frame(&mut fields, scratch, limit)?,
            magic if SKIPPABLE.contains(&magic) => {
                let size = little_endian(&mut fields).ok_or(CUT)?;
                fields.bytes(size as usize).ok_or(CUT)?;
            }
            _ => return Err("it is no LZ4 frame".into()),
        }
    }
    Ok(())
}

const CUT: &str = "it ends in its middle";

fn little_endian(fields: &mut Fields<'_>) -> Option<u32> {
    fields.u32().map(u32::swap_bytes)
}

fn frame(fields: &mut Fields<'_>, scratch: &mut Scratch, limit: usize) -> Result<(), Fault> {
    let &[flags, sizes] = fields.bytes(2).ok_or(CUT)? else { return Err(CUT.into()) };
    if flags & VERSION_BITS != VERSION {
        return Err("its version is not known".into());
    }
    if flags & DICTIONARY != 0 {
        return Err("it needs a dictionary".into());
    }
    let largest_block = match sizes >> 4 & 0b111 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err("the size of its blocks is not known".into()),
    };
    let content_size = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    let header_checksum = 1;
    fields.bytes(content_size + header_checksum).ok_or(CUT)?;
    let linked = flags & INDEPENDENT_BLOCKS == 0;
    let begin = scratch.filled().len();
    loop {
        let size = little_endian(fields).ok_or(CUT)?;
        if size == 0 {
            break;
        }
        let packed = fields.bytes((size & !STORED) as usize).ok_or(CUT)?;
        if size & STORED != 0 {
            let (_, room) = scratch.room(packed.len(), limit).ok_or(Fault::TooLarge)?;
            room.copy_from_slice(packed);
            scratch.advance(packed.len());
        } else {
            block(packed, linked.then_some(begin), scratch, largest_block, limit)?;
        }
        if flags & BLOCK_CHECKSUMS != 0 {
            fields.u32().ok_or(CUT)?;
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        fields.u32().ok_or(CUT)?;
    }
    Ok(())
}

/// Decompresses one block; `linked` is the start of the frame that it may refer to.
fn block(
    packed: &[u8],
    linked: Option<usize>,
    scratch: &mut Scratch,
    largest: usize,
    limit: usize,
) -> Result<(), Fault> {
    let size = largest.min(scratch.left(limit));
    let (before, room) = scratch.room(size, limit).ok_or(Fault::TooLarge)?;
    let unpacked = match linked {
        Some(begin) => {
            let begin = begin.max(before.len().saturating_sub(WINDOW));
            decompress_into_with_dict(packed, room, before.get(begin..).unwrap_or_default())
        }
        None => decompress_into(packed, room),
    };
    match unpacked {
        Ok(size) => {
            scratch.advance(size);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if size < largest => Err(Fault::TooLarge),
        Err(error) => Err(error.into()),
    }
}
