//! Dead letters in a file: one JSON object a line, with all that is needed to send the record again.
//!
//! Invariant: when [`put`](DeadLetters::put) returns, the lines are on the disk (`fdatasync`). What a crash left
//! of a line is cut off on the next start: it was never acknowledged, so its record is still in the topic. After
//! a failed write the file is cut back to its last whole line.
//!
//! A file that would grow beyond its limit is renamed first: `NAME.1` is the oldest, and none is ever deleted.

use super::{DeadLetterError, DeadLetters, Letter, line};
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How much of the file's end is read at a time, to find its last whole line.
const TAIL_STEP: u64 = 64 << 10;

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
    /// What is put at once stays together: a file is longer than this only if it holds one put.
    max_size: u64,
}

impl DeadLetterFile {
    /// Opens the file, or makes it (readable by its owner alone, since records may be confidential), and cuts off
    /// what a crash left of a line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        match open(&path) {
            Ok((file, length)) => Ok(Self { path, file, length, max_size: u64::MAX }),
            Err(error) => Err(OpenError { path, error }),
        }
    }

    /// Begins a new file before one would be longer than this, in bytes.
    pub fn with_max_size(self, max_size: u64) -> Self {
        Self { max_size, ..self }
    }

    /// Makes room for so many bytes: a file that has none is renamed to the next free number.
    fn rotate(&mut self, more: usize) -> io::Result<()> {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if self.length == 0 || self.length.saturating_add(more) <= self.max_size {
            return Ok(());
        }
        let number = highest_number(&self.path)?.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        std::fs::rename(&self.path, numbered(&self.path, number))?;
        // The old lock is kept until the new file is ours.
        (self.file, self.length) = open(&self.path)?;
        Ok(())
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
        self.rotate(lines.len())?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// `NAME.7`
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The highest number that a file beside this one has behind its name; 0 where there is none.
fn highest_number(path: &Path) -> io::Result<u64> {
    let mut start = path.file_name().map(OsString::from).unwrap_or_default();
    start.push(".");
    let start = start.as_encoded_bytes();
    let mut highest = 0;
    for entry in std::fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        let number = name.as_encoded_bytes().strip_prefix(start);
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the open file is the one that the path names now.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
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
pub(super) fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
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
    Read::take(&mut *file, line::BEGIN.len() as u64).read_to_end(&mut tail)?;
    // A power cut may leave zeros in the place of what was being written.
    let ours =
        line::BEGIN.starts_with(&tail) || tail.starts_with(line::BEGIN) || tail.iter().all(|byte| *byte == 0);
    if ours { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN)) }
}

/// A new file is durable only once its folder is.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// The length up to and with the last line break.
pub(super) fn whole_lines(file: &mut File) -> io::Result<u64> {
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
            line::write(&mut lines, letter);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::dead_letter::Refusal;
    use crate::relay::record::{Header, Offset, Partition, Record};
    use std::time::{Duration, UNIX_EPOCH};

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
    fn a_full_file_is_renamed_and_none_is_overwritten() {
        let scratch = Scratch::new("rotates");
        let rotated = |number| numbered(&scratch.0, number);
        std::fs::write(rotated(7), "from before").unwrap();
        let open = || DeadLetterFile::open(&scratch.0).unwrap().with_max_size(600);
        let mut file = open();
        for offset in 0..3 {
            file.put(&[letter(offset, None)]).unwrap();
        }
        file.put(&[letter(3, Some(&[b'x'; 900])), letter(4, None)]).unwrap();
        drop(file);
        open().put(&[letter(5, None)]).unwrap();
        let offsets = |path: &Path| -> Vec<i64> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|text| line::parse(text.as_bytes()).unwrap().record.offset().0).collect()
        };
        let files = [rotated(8), rotated(9), rotated(10), scratch.0.clone()];
        let found: Vec<Vec<i64>> = files.iter().map(|path| offsets(path)).collect();
        assert_eq!(found, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
        assert_eq!(std::fs::read_to_string(rotated(7)).unwrap(), "from before");
        (7..=10).for_each(|number| std::fs::remove_file(rotated(number)).unwrap());
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
