//! Reading files that people name: settings, secrets, certificates. Bounded in size and, where the path leads to a
//! pipe or a device, in time, so that a wrong name gives an error and neither fills memory nor waits for ever.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The largest file of settings that is read, in bytes.
pub const LARGEST_FILE: u64 = 1 << 20;
/// How long a pipe or a device has until its end: enough for `<(command)`, whose other side is there already.
const LONGEST_READ: Duration = Duration::from_secs(5);

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

/// The text of a file of at most `most` bytes.
///
/// # Errors
/// Those of [`read`]; [`ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_utf8 = |_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(read(path, most)?).map_err(not_utf8)
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
}
