//! Dead letters in a file: one JSON object a line, with all that is needed to send the record again.
//!
//! Invariant: when [`put`](DeadLetters::put) returns, the lines are on the disk (`fdatasync`). What a crash left
//! of a line is cut off on the next start: it was never acknowledged, so its record is still in the topic. After
//! a failed write the file is cut back to its last whole line.

use super::{DeadLetterError, DeadLetters, Letter};
use crate::relay::record::Header;
use crate::relay::{base64, json};
use std::fmt;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How much of the file's end is read at a time, to find its last whole line.
const TAIL_STEP: u64 = 64 << 10;

/// How each of our lines begins.
const LINE_BEGIN: &[u8] = b"{\"topic\":\"";
const FOREIGN: &str = "it ends in something that is no dead letter; name another file";

/// Why the file can't be used.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error } = self;
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => {
                write!(f, "the dead-letter file {path} can't be made: its folder does not exist")
            }
            io::ErrorKind::WouldBlock => write!(
                f,
                "the dead-letter file {path} is in use by another process: give each its own with --dead-letter"
            ),
            _ => write!(f, "the dead-letter file {path} can't be opened: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A file of dead letters, locked for this process.
#[derive(Debug)]
pub struct DeadLetterFile {
    path: PathBuf,
    file: File,
    /// The length of all whole lines.
    length: u64,
}

impl DeadLetterFile {
    /// Opens the file, or makes it (readable by its owner alone, since records may be confidential), and cuts off
    /// what a crash left of a line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        match open(&path) {
            Ok((file, length)) => Ok(Self { path, file, length }),
            Err(error) => Err(OpenError { path, error }),
        }
    }

    /// Whoever moves, removes or empties the file while it is in use must not cost a letter: a file that is no
    /// longer at its path is left, and the path is opened anew.
    fn follow_path(&mut self) -> io::Result<()> {
        let same = is_at(&self.file, &self.path)?;
        if !same || self.file.metadata()?.len() != self.length {
            // The old lock is kept until the new file is ours, unless both are the same file.
            if same {
                self.length = whole_lines(&mut self.file)?;
                self.file.set_len(self.length)?;
            } else {
                (self.file, self.length) = open(&self.path)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow_path()?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// Whether the open file is the one that the path names now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file can't be moved or removed.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let length = whole_lines(&mut file)?;
    if length < file.metadata()?.len() {
        refuse_foreign_tail(&mut file, length)?;
        file.set_len(length)?;
    }
    file.sync_all()?;
    sync_folder(path)?;
    Ok((file, length))
}

/// Only what we wrote ourselves is cut off: a file of somebody else's stays as it is.
fn refuse_foreign_tail(file: &mut File, start: u64) -> io::Result<()> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    Read::take(&mut *file, LINE_BEGIN.len() as u64).read_to_end(&mut tail)?;
    // A power cut may leave zeros in the place of what was being written.
    let ours =
        LINE_BEGIN.starts_with(&tail) || tail.starts_with(LINE_BEGIN) || tail.iter().all(|byte| *byte == 0);
    if ours { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN)) }
}

/// A new file is durable only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The length up to and with the last line break.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(TAIL_STEP);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::take(&mut *file, end - start).read_to_end(&mut part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl DeadLetters for DeadLetterFile {
    fn put(&mut self, letters: &[Letter]) -> Result<(), DeadLetterError> {
        let mut lines = String::new();
        for letter in letters {
            write_line(&mut lines, letter);
        }
        let Err(error) = self.append(lines.as_bytes()) else {
            self.length += lines.len() as u64;
            return Ok(());
        };
        // Best effort: what stays of a line is cut off on the next start.
        let _ = self.file.set_len(self.length);
        Err(DeadLetterError::Fatal(format!(
            "the dead-letter file {} can't be written: {error}. Nothing past the refused record is committed: make \
             room and start again",
            self.path.display()
        )))
    }
}

/// One line: keys in a fixed order, bytes as text where they are UTF-8 and else as `..._base64`.
fn write_line(line: &mut String, letter: &Letter) {
    let Letter { record, refusal } = letter;
    line.push('{');
    text(line, "topic", record.partition().topic());
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "\"partition\":{},\"offset\":{},\"timestamp\":{},",
        record.partition().number(),
        record.offset(),
        record.timestamp()
    );
    bytes(line, "key", record.key());
    bytes(line, "value", record.value());
    line.push_str("\"headers\":[");
    for (n, Header { name, value }) in record.headers().enumerate() {
        line.push_str(if n == 0 { "{" } else { ",{" });
        bytes(line, "name", Some(name));
        bytes(line, "value", value);
        line.pop();
        line.push('}');
    }
    line.push_str("],");
    match refusal.status {
        Some(status) => {
            let _ = write!(line, "\"status\":{status},");
        }
        None => line.push_str("\"status\":null,"),
    }
    text(line, "reason", &refusal.reason);
    let _ = writeln!(
        line,
        "\"attempts\":{},\"first_attempt_ms\":{},\"last_attempt_ms\":{}}}",
        refusal.attempts,
        millis(refusal.first_attempt),
        millis(refusal.last_attempt)
    );
}

fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

fn bytes(line: &mut String, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => {
            let _ = write!(line, "\"{name}\":null,");
        }
        Some((Ok(valid), _)) => text(line, name, valid),
        Some((Err(_), raw)) => {
            let _ = write!(line, "\"{name}_base64\":\"{}\",", base64::encode(raw));
        }
    }
}

fn text(line: &mut String, name: &str, value: &str) {
    let _ = write!(line, "\"{name}\":\"{}\",", json::escape(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::dead_letter::Refusal;
    use crate::relay::record::{Offset, Partition, Record};
    use std::time::Duration;

    fn letter(offset: i64, value: Option<&[u8]>) -> Letter {
        let headers = [Header { name: b"a", value: Some(b"\xff") }, Header { name: b"a", value: None }];
        let partition = Partition::new("t", 1);
        let record = Record::with_headers(partition, Offset(offset), 7, Some(b"k"), value, &headers);
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let refusal = Refusal {
            status: Some(422),
            reason: "no \"thanks\"".into(),
            attempts: 2,
            first_attempt: at,
            last_attempt: at,
        };
        Letter { record, refusal }
    }

    /// A file of its own for each test, gone at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluicegate-{}-{name}.jsonl", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }

        fn read(&self) -> String {
            std::fs::read_to_string(&self.0).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_line_holds_all_that_is_needed_to_send_the_record_again() {
        let scratch = Scratch::new("line");
        let mut file = DeadLetterFile::open(&scratch.0).unwrap();
        file.put(&[letter(5, Some("z\u{1}\n\\é".as_bytes())), letter(6, None)]).unwrap();
        let line = |offset: i64, value: &str| {
            format!(
                r#"{{"topic":"t","partition":1,"offset":{offset},"timestamp":7,"key":"k","value":{value},"headers":[{{"name":"a","value_base64":"/w=="}},{{"name":"a","value":null}}],"status":422,"reason":"no \"thanks\"","attempts":2,"first_attempt_ms":1500,"last_attempt_ms":1500}}"#
            )
        };
        let expected = format!("{}\n{}\n", line(5, r#""z\u0001\n\\é""#), line(6, "null"));
        assert_eq!(scratch.read(), expected);
    }

    #[test]
    fn appends_to_what_is_there() {
        let scratch = Scratch::new("append");
        for offset in 0..3 {
            DeadLetterFile::open(&scratch.0).unwrap().put(&[letter(offset, None)]).unwrap();
        }
        assert_eq!(scratch.read().lines().count(), 3);
    }

    #[test]
    fn a_crash_at_any_byte_costs_no_acknowledged_letter() {
        let scratch = Scratch::new("crash");
        let mut file = DeadLetterFile::open(&scratch.0).unwrap();
        file.put(&[letter(1, Some(b"kept"))]).unwrap();
        let acknowledged = scratch.read();
        file.put(&[letter(2, Some(b"lost")), letter(3, Some(b"lost"))]).unwrap();
        drop(file);
        let written = scratch.read();
        for end in acknowledged.len()..written.len() {
            std::fs::write(&scratch.0, &written[..end]).unwrap();
            DeadLetterFile::open(&scratch.0).unwrap().put(&[letter(4, None)]).unwrap();
            let repaired = scratch.read();
            assert!(repaired.starts_with(&acknowledged));
            assert!(repaired.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{repaired}");
            assert!(repaired.lines().last().unwrap().contains("\"offset\":4"));
        }
    }

    #[test]
    fn a_long_half_line_is_found_and_cut_off() {
        let scratch = Scratch::new("long");
        let half = format!("{{}}\n{{\"topic\":\"{}", "x".repeat(3 * TAIL_STEP as usize));
        std::fs::write(&scratch.0, half).unwrap();
        drop(DeadLetterFile::open(&scratch.0).unwrap());
        assert_eq!(scratch.read(), "{}\n");
    }

    #[test]
    fn a_file_that_is_not_ours_stays_as_it_is() {
        let scratch = Scratch::new("foreign");
        std::fs::write(&scratch.0, "notes without a line break").unwrap();
        let error = DeadLetterFile::open(&scratch.0).unwrap_err().to_string();
        assert!(error.contains("no dead letter"), "{error}");
        assert_eq!(scratch.read(), "notes without a line break");
    }

    #[test]
    fn a_file_that_is_removed_moved_or_emptied_meanwhile_costs_no_letter() {
        let scratch = Scratch::new("moved");
        let mut file = DeadLetterFile::open(&scratch.0).unwrap();
        file.put(&[letter(1, None)]).unwrap();
        std::fs::remove_file(&scratch.0).unwrap();
        file.put(&[letter(2, None)]).unwrap();
        assert!(scratch.read().contains("\"offset\":2") && scratch.read().lines().count() == 1);
        std::fs::write(&scratch.0, "").unwrap();
        file.put(&[letter(3, None)]).unwrap();
        assert!(scratch.read().starts_with('{') && scratch.read().contains("\"offset\":3"));
        file.put(&[letter(4, None)]).unwrap();
        assert_eq!(scratch.read().lines().count(), 2);
    }

    #[test]
    fn one_file_serves_one_process() {
        let scratch = Scratch::new("lock");
        let _first = DeadLetterFile::open(&scratch.0).unwrap();
        let error = DeadLetterFile::open(&scratch.0).unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_so() {
        let error = DeadLetterFile::open("no/such/folder/dead.jsonl").unwrap_err().to_string();
        assert!(
            error.contains("no/such/folder/dead.jsonl") && error.contains("folder does not exist"),
            "{error}"
        );
    }
}
