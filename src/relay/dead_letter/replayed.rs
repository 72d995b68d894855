//! How far a file of dead letters was sent again: `NAME.replayed` beside it, one line of JSON.
//!
//! Written anew beside the old one, synced and put in its place, so that after a crash either is whole. It counts for
//! the very file and selection it was written for; for any other it begins at the start, which may send letters again
//! and skips none.

use super::file::{is_at, sync_folder, whole_lines};
use crate::relay::json;
use crate::relay::lines::Place;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// So many bytes at the beginning, and so many before the position, tell a file from another.
const FINGERPRINT_BYTES: u64 = 4 << 10;
/// The largest file of this kind that is read: a commit's metadata is at most 4 KB.
const LARGEST: u64 = 64 << 10;

/// The progress of one file's replay, locked for this process.
#[derive(Debug)]
pub struct Replayed {
    path: PathBuf,
    letters: File,
    selection: String,
    /// Keeps the lock.
    held: File,
}

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The first line that is not done.
    pub place: Place,
    /// What the core noted beside it.
    pub metadata: String,
    /// What a person should know about it, if anything.
    pub notice: Option<String>,
}

impl Resume {
    /// From the first line on.
    pub fn from_start(notice: Option<String>) -> Self {
        Self { place: Place::START, metadata: String::new(), notice }
    }
}

/// A file of dead letters, opened to be read: from its beginning up to its last line break.
///
/// # Errors
/// It can't be read.
pub fn open_letters(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::open(path)?;
    let length = whole_lines(&mut file)?;
    Ok((file, length))
}

/// The name of the file beside `letters` in which its progress is kept.
pub fn path_beside(letters: &Path) -> PathBuf {
    let mut name = letters.as_os_str().to_owned();
    name.push(".replayed");
    name.into()
}

impl Replayed {
    /// Where it would go on, with nothing made and nothing locked.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn look(letters: &Path, selection: &str) -> io::Result<Resume> {
        let path = path_beside(letters);
        let (mut letters, _) = open_letters(letters)?;
        match File::open(&path) {
            Ok(mut held) => read(&path, &mut held, &mut letters, selection),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Resume::from_start(None)),
            Err(error) => Err(error),
        }
    }

    /// Reads how far the letters that `selection` wants were sent, and keeps others from sending them meanwhile.
    ///
    /// # Errors
    /// A file can't be read or made; [`WouldBlock`](io::ErrorKind::WouldBlock): another process is at it.
    pub fn open(letters: &Path, selection: String) -> io::Result<(Self, Resume)> {
        let path = path_beside(letters);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let mut held = options.open(&path)?;
        lock(&held)?;
        if !is_at(&held, &path)? {
            // It was replaced between opening and locking: somebody else has it.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (mut letters, _) = open_letters(letters)?;
        let resume = read(&path, &mut held, &mut letters, &selection)?;
        Ok((Self { path, letters, selection, held }, resume))
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps how far it is done. Returns once that is durable.
    ///
    /// # Errors
    /// It can't be written; what was kept before still stands.
    pub fn keep(&mut self, place: Place, metadata: &str) -> io::Result<()> {
        let fingerprint = fingerprint(&mut self.letters, place.byte)?
            .ok_or_else(|| io::Error::other("the file of letters has become shorter"))?;
        let line = format!(
            "{{\"line\":{},\"byte\":{},\"fingerprint\":\"{fingerprint:016x}\",\"selection\":\"{}\",\"done_beyond\":\"{}\"}}\n",
            place.line,
            place.byte,
            json::escape(&self.selection),
            json::escape(metadata)
        );
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        private(&mut options);
        let mut file = options.open(&new)?;
        lock(&file)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.held = file;
        sync_folder(&self.path)
    }
}

/// Makes sense of what is there.
fn read(path: &Path, held: &mut File, letters: &mut File, selection: &str) -> io::Result<Resume> {
    let path = path.display();
    let start =
        |why: &str| Ok(Resume::from_start(Some(format!("{path} {why}: it begins with the first line"))));
    let mut text = Vec::new();
    Read::take(held, LARGEST).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(Resume::from_start(None));
    }
    let Some(found) = Found::parse(&text) else { return start("makes no sense") };
    if found.selection != selection {
        return start("is about another command, --only or --since");
    }
    if fingerprint(letters, found.place.byte)? != Some(found.fingerprint) {
        return start("is about another file");
    }
    let line = found.place.line;
    let notice = (line > 1)
        .then(|| format!("going on with line {line}, as {path} has it; without that file it begins anew"));
    Ok(Resume { place: found.place, metadata: found.metadata, notice })
}

struct Found {
    place: Place,
    fingerprint: u64,
    selection: String,
    metadata: String,
}

impl Found {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let member = |name| json::member(text, name);
        let place = Place { line: member("line")?.parse().ok()?, byte: member("byte")?.parse().ok()? };
        Some(Self {
            place: Some(place).filter(|place| place.line >= 1)?,
            fingerprint: u64::from_str_radix(&json::string(member("fingerprint")?)?, 16).ok()?,
            selection: json::string(member("selection")?)?,
            metadata: json::string(member("done_beyond")?)?,
        })
    }
}

/// What tells a file from another as far as this byte, or none where it is shorter: FNV-1a over its beginning and over
/// what is right before the byte.
fn fingerprint(file: &mut File, byte: u64) -> io::Result<Option<u64>> {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    if file.metadata()?.len() < byte {
        return Ok(None);
    }
    let length = byte.min(FINGERPRINT_BYTES);
    let mut bytes = Vec::new();
    for start in [0, byte - length] {
        file.seek(SeekFrom::Start(start))?;
        Read::take(&mut *file, length).read_to_end(&mut bytes)?;
    }
    Ok(Some(bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))))
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Readable by its owner alone, as the letters are.
fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of letters and what is kept beside it, gone at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluicegate-{}-{name}.jsonl", std::process::id()));
            std::fs::write(&path, text).unwrap();
            let _ = std::fs::remove_file(path_beside(&path));
            Self(path)
        }

        fn open(&self, selection: &str) -> (Replayed, Resume) {
            Replayed::open(&self.0, selection.into()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
            let _ = std::fs::remove_file(path_beside(&self.0));
        }
    }

    const SECOND: Place = Place { line: 2, byte: 6 };

    #[test]
    fn what_was_kept_is_where_it_goes_on() {
        let scratch = Scratch::new("kept", "first\nsecond\n");
        let (mut replayed, resume) = scratch.open("");
        assert_eq!(resume, Resume::from_start(None));
        replayed.keep(SECOND, "1:\"x\"").unwrap();
        drop(replayed);
        let (mut replayed, resume) = scratch.open("");
        assert_eq!((resume.place, resume.metadata.as_str()), (SECOND, "1:\"x\""));
        assert!(resume.notice.unwrap().contains("line 2"));
        replayed.keep(Place { line: 3, byte: 13 }, "").unwrap();
        drop(replayed);
        // Letters that came meanwhile are what is left.
        std::fs::write(&scratch.0, "first\nsecond\nthird\n").unwrap();
        assert_eq!(scratch.open("").1.place, Place { line: 3, byte: 13 });
    }

    #[test]
    fn another_file_or_selection_begins_at_the_start() {
        let scratch = Scratch::new("another", "first\nsecond\n");
        scratch.open("status=422").0.keep(SECOND, "").unwrap();
        for (text, selection, why) in [
            ("first\nsecond\n", "", "another command, --only"),
            ("fir\nt\nsecond\n", "status=422", "another file"),
            ("f\n", "status=422", "another file"),
        ] {
            std::fs::write(&scratch.0, text).unwrap();
            let resume = scratch.open(selection).1;
            assert_eq!(resume.place, Place::START);
            assert!(resume.notice.as_ref().unwrap().contains(why), "{resume:?}");
        }
        std::fs::write(path_beside(&scratch.0), "\0\0\0").unwrap();
        assert!(scratch.open("").1.notice.unwrap().contains("makes no sense"));
    }

    #[test]
    fn one_process_at_a_time() {
        let scratch = Scratch::new("locked", "first\nsecond\n");
        let (mut replayed, _) = scratch.open("");
        let taken = || Replayed::open(&scratch.0, String::new()).unwrap_err().kind();
        assert_eq!(taken(), io::ErrorKind::WouldBlock);
        replayed.keep(SECOND, "").unwrap();
        assert_eq!(taken(), io::ErrorKind::WouldBlock, "also after it was replaced");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\{\"line\":)?[0-9a-z\":,{}\\-]{0,60}") {
            let _ = Found::parse(text.as_bytes());
        }
    }
}
