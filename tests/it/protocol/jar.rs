//! Files out of a jar, which is a zip archive: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::io::Read;
use std::path::Path;

/// An archive, read whole.
pub struct Jar(Vec<u8>);

impl Jar {
    pub fn open(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    fn int16(&self, at: usize) -> usize {
        u16::from_le_bytes(self.0[at..at + 2].try_into().unwrap()).into()
    }

    fn int32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    /// The text of the file of this name.
    pub fn text(&self, name: &str) -> Option<String> {
        let end = self.0.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").expect("a directory's end");
        let (count, mut entry) = (self.int16(end + 10), self.int32(end + 16));
        for _ in 0..count {
            let (packed, name_length) = (self.int32(entry + 20), self.int16(entry + 28));
            if &self.0[entry + 46..entry + 46 + name_length] == name.as_bytes() {
                return Some(self.unpacked(self.int32(entry + 42), self.int16(entry + 10), packed));
            }
            entry += 46 + name_length + self.int16(entry + 30) + self.int16(entry + 32);
        }
        None
    }

    fn unpacked(&self, header: usize, method: usize, packed: usize) -> String {
        let start = header + 30 + self.int16(header + 26) + self.int16(header + 28);
        let bytes = &self.0[start..start + packed];
        if method == 0 {
            return String::from_utf8(bytes.to_vec()).unwrap();
        }
        let mut text = String::new();
        flate2::read::DeflateDecoder::new(bytes).read_to_string(&mut text).unwrap();
        text
    }
}
