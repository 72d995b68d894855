//! Dead letters in a file: one JSON object a line, with all that is needed to send the record again.
//!
//! Invariant: when [`put`](DeadLetters::put) returns, the lines are on the disk (`fdatasync`). What a crash left
//! of a line is cut off on the next start: it was never acknowledged, so its record is still in the topic. After
//! a failed write the file is cut back to its last whole line. No line is written that can't be read back.
//!
//! A file that would grow beyond its limit is renamed first: `NAME.1` is the oldest, and none is ever deleted.

use super::{DeadLetter, DeadLetterError, DeadLetters, line, private_file, rotation};
use crate::text::terminal;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How much of the file's end is read at a time, to find its last whole line.
const TAIL_STEP: u64 = 64 << 10;
/// How much is written to see whether there is room.
const TRIAL_BYTES: usize = 16 << 10;

const FOREIGN: &str = "it begins with something else than a dead letter: name another file";
const FOREIGN_TAIL: &str = "it ends in something that is no dead letter; name another file";

/// Why the file can't be used.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error } = self;
        let path = terminal::path(path);
        match error.kind() {
            io::ErrorKind::NotFound => {
                write!(f, "the dead-letter file {path} can't be made: its folder does not exist")
            }
            io::ErrorKind::WouldBlock => write!(
                f,
                "the dead-letter file {path} is in use by another process: give each run a file of its own"
            ),
            io::ErrorKind::IsADirectory => {
                write!(f, "the dead-letter file {path} can't be opened: it is a folder: name a file in it")
            }
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
    /// In bytes. One put stays in one file, which alone may exceed this.
    max_size: u64,
}

impl DeadLetterFile {
    /// Opens the file, or makes it (readable by its owner alone, since records may be confidential), and cuts off
    /// what a crash left of a line.
    ///
    /// # Errors
    /// It can't be made, opened or locked; it is a link, a folder or a device; or it holds something else.
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

    /// Renames the file to the next free number if `more` bytes would exceed its limit.
    fn rotate(&mut self, more: usize) -> io::Result<()> {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if self.length == 0 || self.length.saturating_add(more) <= self.max_size {
            return Ok(());
        }
        // Where there are too many, this one grows: no letter is lost for it.
        let Some(number) = rotation::next_number(&self.path)? else { return Ok(()) };
        std::fs::rename(&self.path, rotation::numbered(&self.path, number))?;
        // The old lock is kept until the new file is ours.
        (self.file, self.length) = open(&self.path)?;
        Ok(())
    }

    /// Moving, removing or emptying the file while it is in use costs no dead letter: if it is no longer at its path,
    /// the path is opened again.
    fn follow_path(&mut self) -> io::Result<()> {
        if !private_file::is_at(&self.file, &self.path)? {
            // The old lock is kept until the new file is ours.
            (self.file, self.length) = open(&self.path)?;
        } else if self.file.metadata()?.len() != self.length {
            self.length = mend(&mut self.file)?;
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow_path()?;
        self.rotate(lines.len())?;
        // At its end, wherever that is: a file that was emptied a moment ago gets no hole.
        self.file.write_all(lines)?;
        self.file.sync_data()
    }

    /// Best effort: what stays of a line is cut off before the next one, or on the next start.
    fn cut_back(&mut self) {
        if self.file.metadata().is_ok_and(|now| now.len() > self.length) {
            let _ = self.file.set_len(self.length);
        }
    }
}

/// Checks whether dead letters could be written to a file, without creating or changing it. Returns warnings.
///
/// # Errors
/// It can't be opened, or nothing can be written beside it.
pub fn probe(path: &Path, rotates: bool) -> Result<Vec<String>, OpenError> {
    let failed = |error| OpenError { path: path.to_owned(), error };
    let mut warnings = Vec::new();
    let is_there = match private_file::open(path) {
        Ok(file) => {
            refuse_foreign(&file).map_err(failed)?;
            warnings.extend(file.metadata().ok().as_ref().and_then(private_file::exposure));
            if private_file::lock(&file).is_err() {
                warnings.push("is in use by another process, perhaps a run".to_owned());
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(error)),
    };
    match room(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_there && !rotates => {
            warnings.push("can't be renamed or made again: its folder can't be written".to_owned());
        }
        room => room.map_err(failed)?,
    }
    if rotates && rotation::next_number(path).map_err(failed)?.is_none() {
        let most = rotation::MOST_ROTATED;
        warnings.push(format!("has {most} rotated files and is no longer renamed: move some of them away"));
    }
    Ok(warnings)
}

/// Whether something can be written in the file's folder.
fn room(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.trial", std::process::id()));
    let trial = Path::new(&name);
    let written = private_file::create(trial).and_then(|mut file| {
        let written = file.write_all(&[b'\n'; TRIAL_BYTES]).and_then(|()| file.sync_all());
        let removed = std::fs::remove_file(trial);
        written.and(removed)
    });
    match written {
        // Another look is at it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        written => written,
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = private_file::open_or_create(path)?;
    private_file::lock(&file)?;
    let length = mend(&mut file)?;
    file.sync_all()?;
    private_file::sync_folder(path)?;
    Ok((file, length))
}

/// Truncates an incomplete last line that a crash left, and returns the length. A file that is not ours is not changed.
fn mend(file: &mut File) -> io::Result<u64> {
    refuse_foreign(file)?;
    let length = whole_lines(file)?;
    if length < file.metadata()?.len() {
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length))?;
        Read::take(&mut *file, line::HEAD_BYTES as u64).read_to_end(&mut tail)?;
        if !line::is_beginning(&tail) && !tail.contains(&0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN_TAIL));
        }
        file.set_len(length)?;
    }
    Ok(length)
}

fn refuse_foreign(mut file: &File) -> io::Result<()> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::take(file, line::HEAD_BYTES as u64).read_to_end(&mut head)?;
    if line::is_beginning(&head) { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN)) }
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

/// The letters as lines.
fn written(letters: &[DeadLetter], longest: usize) -> Result<String, String> {
    let mut lines = String::new();
    for letter in letters {
        let place = || format!("{} offset {}", letter.record.partition(), letter.record.offset());
        line::is_readable(letter).map_err(|error| format!("{}: {error}", place()))?;
        let start = lines.len();
        line::write(&mut lines, letter);
        let length = lines.len() - start - 1;
        if length > longest {
            return Err(format!(
                "the letter of {} takes a line of {length} bytes, longer than is read back ({longest}): let rejected \
                 records go to a topic instead",
                place()
            ));
        }
    }
    Ok(lines)
}

impl DeadLetters for DeadLetterFile {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let path = terminal::path(&self.path);
        let fatal = |text: String| {
            DeadLetterError::Fatal(format!(
                "the dead-letter file {path} can't be written: {text}. Nothing past the rejected record is committed"
            ))
        };
        let lines = written(letters, line::LONGEST).map_err(fatal)?;
        match self.append(lines.as_bytes()) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.cut_back();
                Err(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DeadLetterError::Retriable(
                        format!("the dead-letter file {path} can't be written: {error}: make room"),
                    ),
                    io::ErrorKind::WouldBlock => fatal("another process has put its own there".to_owned()),
                    _ => fatal(format!("{error}: correct that and start again")),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Offset, Partition, Record};
    use crate::relay::dead_letter::Rejection;
    use rotation::numbered;
    use std::time::{Duration, UNIX_EPOCH};

    fn letter(offset: i64, value: Option<&[u8]>) -> DeadLetter {
        let headers = [Header { name: b"a", value: Some(b"\xff") }, Header { name: b"a", value: None }];
        let partition = Partition::new("t", 1);
        let record = Record::with_headers(partition, Offset(offset), 7, Some(b"k"), value, &headers);
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let rejection = Rejection {
            status: Some(422),
            reason: "no \"thanks\"".into(),
            attempts: 2,
            first_attempt: at,
            last_attempt: at,
        };
        DeadLetter { record, rejection }
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
        DeadLetterFile::open(&scratch.0).unwrap().put(&[letter(1, None)]).unwrap();
        let whole = scratch.read();
        let long = 3 * TAIL_STEP as usize;
        for half in [
            "{\"topic\":\"".to_owned() + &"x".repeat(long),
            "\0".repeat(long),
            "{\"to\0\0".into(),
            ",\"a\0".into(),
        ] {
            std::fs::write(&scratch.0, whole.clone() + &half).unwrap();
            drop(DeadLetterFile::open(&scratch.0).unwrap());
            assert_eq!(scratch.read(), whole);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_stays_as_it_is() {
        let scratch = Scratch::new("foreign");
        for (text, why) in [
            ("notes without a line break", "begins with something else"),
            ("{\"level\":\"info\"}\n", "begins with something else"),
            ("{\"topic\":\"t\"}\nnotes", "ends in something that is no dead letter"),
        ] {
            std::fs::write(&scratch.0, text).unwrap();
            let error = DeadLetterFile::open(&scratch.0).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(probe(&scratch.0, false).is_err() || text.ends_with("notes"));
            assert_eq!(scratch.read(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_a_file_of_our_own_is_written() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let (scratch, victim) = (Scratch::new("link"), Scratch::new("link-victim"));
        std::fs::write(&victim.0, "").unwrap();
        symlink(&victim.0, &scratch.0).unwrap();
        let rejected = |why: &str| {
            for error in [DeadLetterFile::open(&scratch.0).err(), probe(&scratch.0, false).err()] {
                let error = error.unwrap().to_string();
                assert!(error.contains(why) && error.contains("sluicegate-"), "{error}");
            }
        };
        rejected("symbolic link");
        std::fs::remove_file(&scratch.0).unwrap();
        symlink("/no/such/target", &scratch.0).unwrap();
        rejected("symbolic link");
        std::fs::remove_file(&scratch.0).unwrap();
        std::fs::create_dir(&scratch.0).unwrap();
        rejected("it is a folder");
        std::fs::remove_dir(&scratch.0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&scratch.0).unwrap();
        rejected("no regular file");
        std::fs::remove_file(&scratch.0).unwrap();
        assert_eq!(probe(&scratch.0, true).unwrap(), Vec::<String>::new());
        assert!(!scratch.0.exists(), "a look makes nothing");
        let mut file = DeadLetterFile::open(&scratch.0).unwrap();
        assert_eq!(std::fs::metadata(&scratch.0).unwrap().mode() & 0o777, 0o600);
        // What takes its place later is not written either.
        std::fs::remove_file(&scratch.0).unwrap();
        symlink(&victim.0, &scratch.0).unwrap();
        assert!(matches!(file.put(&[letter(1, None)]), Err(DeadLetterError::Fatal(_))));
        assert_eq!(victim.read(), "");
    }

    #[test]
    fn a_letter_that_could_not_be_read_back_is_not_written() {
        let scratch = Scratch::new("unreadable");
        let mut file = DeadLetterFile::open(&scratch.0).unwrap();
        for record in [
            Record::new(Partition::new("no topic\n", 0), Offset(1), 0, None, None),
            Record::new(Partition::new("t", 0), Offset(-1), 0, None, None),
        ] {
            let unreadable = DeadLetter { record, ..letter(1, None) };
            let Err(DeadLetterError::Fatal(text)) = file.put(&[unreadable]) else { panic!("written") };
            assert!(text.contains("makes no sense"), "{text}");
        }
        assert_eq!(scratch.read(), "");
        let text = written(&[letter(7, Some(&[b'x'; 500]))], 400).unwrap_err();
        assert!(text.contains("t-1 offset 7") && text.contains("to a topic instead"), "{text}");
    }

    #[test]
    fn a_file_with_too_many_rotated_ones_grows() {
        let folder = std::env::temp_dir().join(format!("sluicegate-{}-many", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("dead.jsonl");
        (1..=rotation::MOST_ROTATED as u64).for_each(|n| drop(File::create(numbered(&path, n)).unwrap()));
        let mut file = DeadLetterFile::open(&path).unwrap().with_max_size(1);
        (0..2).for_each(|offset| file.put(&[letter(offset, None)]).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert!(probe(&path, true).unwrap().iter().any(|text| text.contains("no longer renamed")));
        std::fs::remove_dir_all(&folder).unwrap();
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
