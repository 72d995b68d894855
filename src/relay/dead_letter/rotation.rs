//! The names of a file of dead letters and of those that it was renamed to when it was full: `NAME.1` is the oldest,
//! `NAME` is the one that is written.

use super::private_file::folder;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Rotated files, at most: beyond that the file is no longer renamed, and grows.
pub(crate) const MOST_ROTATED: usize = 10_000;

/// `NAME.7`
pub(crate) fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The rotated files beside this one with their numbers, ascending. What isn't a decimal number as we write it is
/// no number.
///
/// # Errors
/// The folder can't be read.
pub(crate) fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut start = path.file_name().map(OsString::from).unwrap_or_default();
    start.push(".");
    let start = start.as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        if let Some(number) = name.as_encoded_bytes().strip_prefix(start).and_then(number) {
            found.push((number, numbered(path, number)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The number that the next rotated file gets; `None` if there are too many.
///
/// # Errors
/// As of [`rotated`].
pub(crate) fn next_number(path: &Path) -> io::Result<Option<u64>> {
    let all = rotated(path)?;
    let highest = all.last().map_or(0, |(number, _)| *number);
    Ok((all.len() < MOST_ROTATED).then_some(highest).and_then(|highest| highest.checked_add(1)))
}

/// The name without the numbers of rotation: what is noted about rotated files is kept beside the file that is
/// written.
pub fn base(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    while let Some(name) = path.file_name().map(|name| name.as_encoded_bytes())
        && let Some(dot) = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0)
        && name.get(dot + 1..).and_then(number).is_some()
    {
        // What is behind the last dot.
        path.set_extension("");
    }
    path
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_we_write() {
        for (name, expected) in [
            ("/x/dead.jsonl.7", "/x/dead.jsonl"),
            ("/x/dead.jsonl", "/x/dead.jsonl"),
            ("dead.2.31", "dead"),
            ("dead.07", "dead.07"),
            ("dead.+7", "dead.+7"),
            ("dead.18446744073709551616", "dead.18446744073709551616"),
            (".7", ".7"),
            ("7", "7"),
            ("x/..", "x/.."),
            ("/", "/"),
        ] {
            assert_eq!(base(Path::new(name)), Path::new(expected), "{name}");
        }
    }
}
