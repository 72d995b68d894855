//! Compression.

use super::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::{self, Write};

/// Appends `plain` to `out`, compressed. Snappy is raw, as librdkafka writes it; Java reads both.
pub(super) fn pack(compression: Compression, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match compression {
        Compression::None => out.extend_from_slice(plain),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(plain)?;
            encoder.finish()?;
        }
        Compression::Snappy => {
            let packed = snap::raw::Encoder::new().compress_vec(plain).map_err(io::Error::other)?;
            out.extend_from_slice(&packed);
        }
        Compression::Lz4 => {
            // Java's decoder requires independent blocks.
            let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)?;
        }
        Compression::Zstd => out.extend_from_slice(&compress_to_vec(plain, CompressionLevel::Fastest)),
    }
    Ok(())
}
