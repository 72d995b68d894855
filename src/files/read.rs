//! Reading a file within bounds of size and time, and its bytes as text.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// The largest file of settings that is read, in bytes.
pub const LARGEST_FILE: u64 = 1 << 20;
/// How long a pipe or a device has until its end: enough for `<(command)`, whose other side is there already.
const LONGEST_READ: Duration = Duration::from_secs(5);

/// What some editors write at the beginning of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a file can't be used, with its name.
#[derive(Debug)]
pub struct FileError {
    /// Its path, as it was given.
    pub(crate) path: PathBuf,
    /// What is wrong.
    pub(crate) reason: io::Error,
}

impl FileError {
    fn new(path: &Path, reason: io::Error) -> Self {
        Self { path: path.to_owned(), reason }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't read {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// The same as [`read`], with an error that names the file.
///
/// # Errors
/// Those of [`read`].
pub fn read_named(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    read(path, most).map_err(|reason| FileError::new(path, reason))
}

/// The same of a regular file alone: never waits for whoever writes to a pipe.
pub(super) fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let failed = |reason| FileError::new(path, reason);
    match std::fs::metadata(path).map_err(failed)?.file_type() {
        kind if kind.is_file() || kind.is_dir() => read_named(path, most),
        _ => Err(failed(io::Error::other("it is no longer a regular file"))),
    }
}

/// What a file held, as text in UTF-8 without a byte order mark.
///
/// # Errors
/// It is in another encoding.
pub fn text<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, FileError> {
    not_utf16(path, bytes)?;
    let not_utf8 = |_| FileError::new(path, io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"));
    std::str::from_utf8(without_mark(bytes)).map_err(not_utf8)
}

/// # Errors
/// It is what Windows calls Unicode, in which nothing else is recognized.
pub fn not_utf16(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let text = "it is in UTF-16, as Windows writes text: save it as UTF-8";
        return Err(FileError::new(path, io::Error::new(ErrorKind::InvalidData, text)));
    }
    Ok(())
}

/// Bytes without the byte order mark of UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// The bytes of a file, at most `most` of them.
///
/// # Errors
/// The file can't be read, is larger ([`ErrorKind::FileTooLarge`]), or is a pipe that didn't end in time
/// ([`ErrorKind::TimedOut`]).
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_file() {
        return read_at_most(path, most);
    }
    if kind.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    let (done, outcome) = mpsc::channel();
    let path = path.to_owned();
    // It stays behind where the pipe never ends: opening one waits for a writer, and nothing interrupts that.
    let reader = std::thread::Builder::new().name("file".into());
    reader.spawn(move || drop(done.send(read_at_most(&path, most))))?;
    outcome.recv_timeout(LONGEST_READ).unwrap_or_else(|_| {
        let text = format!("it is a pipe or device that did not end within {LONGEST_READ:?}");
        Err(io::Error::new(ErrorKind::TimedOut, text))
    })
}

/// The text of a file of at most `most` bytes, without a byte order mark.
///
/// # Errors
/// Those of [`read`]; [`ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    text(path, &read(path, most)?).map(str::to_owned).map_err(|error| error.reason)
}

fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("it is larger than {most} bytes: is it the right file?");
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_an_error() {
        assert_eq!(read("/dev/zero".as_ref(), 10).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read("/".as_ref(), 10).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read("/nowhere/file".as_ref(), 10).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read("/dev/null".as_ref(), 10).unwrap(), b"");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_that_nobody_writes_to_is_an_error_and_one_that_ends_is_read() {
        let path = std::env::temp_dir().join(format!("sluicegate-pipe-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "x = y")
        });
        assert_eq!(read_text(&path, 10).unwrap(), "x = y");
        writer.join().unwrap().unwrap();
        let waited = read(&path, 10);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn the_bound_is_the_last_size_that_is_read() {
        let path = std::env::temp_dir().join(format!("sluicegate-bound-{}", std::process::id()));
        std::fs::write(&path, "12345").unwrap();
        let (fits, too_large) = (read_text(&path, 5), read(&path, 4));
        std::fs::write(&path, b"\xff").unwrap();
        let not_text = read_text(&path, 5);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(fits.unwrap(), "12345");
        assert_eq!(too_large.unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(not_text.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn text_has_no_mark_and_is_utf_8() {
        let path = Path::new("f");
        assert_eq!(text(path, b"\xef\xbb\xbfab").unwrap(), "ab");
        for (bytes, what) in [(&b"\xff\xfea\0"[..], "it is in UTF-16"), (b"a\xff", "it is not UTF-8")] {
            let error = text(path, bytes).unwrap_err().to_string();
            assert!(error.starts_with("can't read f: ") && error.contains(what), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_was_a_file_and_is_a_pipe_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("sluicegate-later-pipe-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = read_regular(&path, 10).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.to_string().ends_with("it is no longer a regular file"), "{error}");
        assert!(read_regular("/".as_ref(), 10).unwrap_err().to_string().contains("it is a directory"));
    }
}
