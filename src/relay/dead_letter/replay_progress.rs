//! How far files of lines were sent: `NAME.replayed` beside them, a line of JSON for each file.
//!
//! Replaced atomically, so that a crash leaves the old or the new one. A file is identified by its contents, not its
//! name, so that its progress follows a rename, also while it is being sent, and is never applied to another file. For
//! another file or selection it begins at the start, which may send records again and skips none.

use super::private_file;
use super::rotation::MOST_ROTATED;
use crate::relay::line_source::{LinePosition, LineProgress};
use crate::text::{json, terminal};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes at the beginning of a file, and before a position, that identify it.
const FINGERPRINT_BYTES: u64 = 4 << 10;
/// Files remembered, at most; the oldest entries are forgotten first.
const MOST_ENTRIES: usize = 2 * MOST_ROTATED;
/// The largest file of this kind that is read or written. A commit's metadata is at most 4 KB.
const LARGEST: usize = 16 << 20;
/// How a line of ours begins.
const BEGIN: &[u8] = b"{\"file\":\"";

const FOREIGN: &str = "it is something else than a record of what was sent: move it away";

/// What is noted about files, locked for this process.
#[derive(Debug)]
pub struct ReplayProgress {
    path: PathBuf,
    selection: String,
    entries: ReplayEntries,
    /// Keeps the lock.
    locked: File,
}

/// What is noted about files, the newest last.
#[derive(Clone, Debug, Default)]
pub struct ReplayEntries {
    path: PathBuf,
    all: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Of the first line: what the file is found by.
    file: u64,
    place: LinePosition,
    /// Of the file as far as `place`.
    fingerprint: u64,
    /// What the metadata is about lies before this byte.
    ahead: u64,
    /// Of the file as far as `ahead`.
    ahead_fingerprint: u64,
    metadata: String,
}

/// Where to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The first line that is not done.
    pub place: LinePosition,
    /// What the core noted beside it.
    pub metadata: String,
}

impl ResumePoint {
    /// From the first line on.
    pub const START: Self = Self { place: LinePosition::START, metadata: String::new() };
}

/// Progress in one file. The file has to be open for this alone, since its cursor moves.
#[derive(Debug)]
pub struct FileProgress<'a> {
    /// The file.
    pub(crate) file: &'a File,
    /// How far it is done.
    pub(crate) done: LineProgress,
    /// What the core notes beside that.
    pub(crate) metadata: &'a str,
}

/// The name of the file beside `lines` in which progress is kept.
pub fn path_beside(lines: &Path) -> PathBuf {
    let mut name = lines.as_os_str().to_owned();
    name.push(".replayed");
    name.into()
}

impl ReplayProgress {
    /// What is noted, with nothing made and nothing locked, and what a person should know about it, if anything.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn look(path: &Path, selection: &str) -> io::Result<(ReplayEntries, Option<String>)> {
        match private_file::regular(path).and_then(|_| File::open(path)) {
            Ok(file) => ReplayEntries::read(path, &file, selection),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((ReplayEntries::default(), None)),
            Err(error) => Err(error),
        }
    }

    /// Reads what `selection` has sent, and keeps others from sending it meanwhile.
    ///
    /// # Errors
    /// The file can't be read or made; [`WouldBlock`](io::ErrorKind::WouldBlock): another process has it.
    pub fn open(path: PathBuf, selection: String) -> io::Result<(Self, Option<String>)> {
        let locked = private_file::open_or_create(&path)?;
        private_file::lock(&locked)?;
        if !private_file::is_at(&locked, &path)? {
            // It was replaced between opening and locking: somebody else has it.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (entries, notice) = ReplayEntries::read(&path, &locked, &selection)?;
        Ok((Self { path, selection, entries, locked }, notice))
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is noted.
    pub fn entries(&self) -> &ReplayEntries {
        &self.entries
    }

    /// Keeps how far files are done. Returns once that is durable.
    ///
    /// # Errors
    /// It can't be written; what was kept before still stands.
    pub fn keep(&mut self, news: &[FileProgress<'_>]) -> io::Result<()> {
        let mut entries = self.entries.all.clone();
        for FileProgress { file, done: LineProgress { place, handed_over }, metadata } in news {
            if *handed_over == LinePosition::START {
                continue;
            }
            let ahead = if metadata.is_empty() { place.byte } else { handed_over.byte };
            let print = |byte| fingerprint(file, byte);
            let (Some(at_place), Some(at_ahead)) = (print(place.byte)?, print(ahead)?) else {
                // The file was cut short: what is done is not in it any more.
                continue;
            };
            let entry = Entry {
                file: identity(file)?,
                place: *place,
                fingerprint: at_place,
                ahead,
                ahead_fingerprint: at_ahead,
                metadata: (*metadata).to_owned(),
            };
            let mut kept = Vec::with_capacity(entries.len());
            for other in entries {
                // Two files may begin alike; what is about this one is replaced.
                if other.file != entry.file || !other.is_about(file)? {
                    kept.push(other);
                }
            }
            kept.push(entry);
            entries = kept;
        }
        let text = self.written(&mut entries);
        self.locked = private_file::replace(&self.path, text.as_bytes())?;
        self.entries.all = entries;
        Ok(())
    }

    /// As text; what is too much is dropped from the front.
    fn written(&self, entries: &mut Vec<Entry>) -> String {
        let selection = json::escape(&self.selection);
        let lines: Vec<String> = entries.iter().map(|entry| entry.line(&selection)).collect();
        let (mut from, mut size) = (lines.len(), 0);
        while from > 0 && lines.len() - from < MOST_ENTRIES {
            size += lines[from - 1].len();
            if size > LARGEST {
                break;
            }
            from -= 1;
        }
        entries.drain(..from);
        lines[from..].concat()
    }
}

impl ReplayEntries {
    fn read(path: &Path, mut file: &File, selection: &str) -> io::Result<(Self, Option<String>)> {
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        Read::take(file, LARGEST as u64).read_to_end(&mut text)?;
        let mut entries = Self { path: path.to_owned(), all: Vec::new() };
        if text.is_empty() {
            return Ok((entries, None));
        }
        if !text.starts_with(BEGIN) && text.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN));
        }
        let begin = |why| Some(format!("{} {why}: starting at the first line", terminal::path(path)));
        let found: Vec<(Entry, String)> =
            text.split(|byte| *byte == b'\n').filter_map(Entry::parse).collect();
        if found.is_empty() {
            return Ok((entries, begin("is damaged")));
        }
        entries.all = found.into_iter().filter(|(_, of)| of == selection).map(|(entry, _)| entry).collect();
        let notice = entries.all.is_empty().then(|| begin("is about another command or selection"));
        Ok((entries, notice.flatten()))
    }

    /// Where this file, open for this alone, goes on; `None` if nothing is noted about it.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn resume(&self, file: &File) -> io::Result<Option<ResumePoint>> {
        if self.all.is_empty() {
            return Ok(None);
        }
        let identity = identity(file)?;
        let mut found: Option<&Entry> = None;
        for entry in self.all.iter().filter(|entry| entry.file == identity) {
            if found.is_none_or(|found| found.place.byte <= entry.place.byte) && entry.is_about(file)? {
                found = Some(entry);
            }
        }
        Ok(found.map(|entry| ResumePoint { place: entry.place, metadata: entry.metadata.clone() }))
    }

    /// What to say if nothing is known of any of the files at hand.
    pub fn stranger(&self) -> Option<String> {
        let path = terminal::path(&self.path);
        (!self.all.is_empty()).then(|| format!("{path} is about another file: starting at the first line"))
    }

    /// What to say of a file that goes on.
    pub fn resumed(&self, file: &str, line: i64) -> String {
        let path = terminal::path(&self.path);
        format!("resuming at line {line} of {file}, as noted in {path}: remove that to send everything again")
    }
}

impl Entry {
    fn is_about(&self, file: &File) -> io::Result<bool> {
        Ok(fingerprint(file, self.place.byte)? == Some(self.fingerprint)
            && fingerprint(file, self.ahead)? == Some(self.ahead_fingerprint))
    }

    fn line(&self, selection: &str) -> String {
        let Self {
            file,
            place: LinePosition { line, byte },
            fingerprint,
            ahead,
            ahead_fingerprint,
            metadata,
        } = self;
        format!(
            "{{\"file\":\"{file:016x}\",\"line\":{line},\"byte\":{byte},\"fingerprint\":\"{fingerprint:016x}\",\
             \"ahead\":{ahead},\"ahead_fingerprint\":\"{ahead_fingerprint:016x}\",\"selection\":\"{selection}\",\
             \"done_beyond\":\"{}\"}}\n",
            json::escape(metadata)
        )
    }

    /// With the selection it is about.
    fn parse(line: &[u8]) -> Option<(Self, String)> {
        let text = std::str::from_utf8(line).ok()?;
        let member = |name| json::member(text, name);
        let string = |name| json::string(member(name)?);
        let hexadecimal = |name| u64::from_str_radix(&string(name)?, 16).ok();
        let place = LinePosition { line: member("line")?.parse().ok()?, byte: member("byte")?.parse().ok()? };
        let entry = Self {
            file: hexadecimal("file")?,
            place: Some(place).filter(|place| place.line >= 1)?,
            fingerprint: hexadecimal("fingerprint")?,
            ahead: member("ahead")?.parse().ok()?,
            ahead_fingerprint: hexadecimal("ahead_fingerprint")?,
            metadata: string("done_beyond")?,
        };
        Some((entry, string("selection")?))
    }
}

/// What a file is found by: its first line without the line break, as far as that is short.
fn identity(mut file: &File) -> io::Result<u64> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::take(file, FINGERPRINT_BYTES).read_to_end(&mut head)?;
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    Ok(hash(&head[..end]))
}

/// What tells a file from another as far as this byte, or none where it is shorter: of its beginning, and of what is
/// right before the byte.
fn fingerprint(mut file: &File, byte: u64) -> io::Result<Option<u64>> {
    if file.metadata()?.len() < byte {
        return Ok(None);
    }
    let length = byte.min(FINGERPRINT_BYTES);
    let mut bytes = Vec::new();
    for start in [0, byte - length] {
        file.seek(SeekFrom::Start(start))?;
        Read::take(file, length).read_to_end(&mut bytes)?;
    }
    Ok(Some(hash(&bytes)))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of lines and what is noted beside it, gone at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluicegate-{}-{name}.jsonl", std::process::id()));
            std::fs::write(&path, text).unwrap();
            let _ = std::fs::remove_file(path_beside(&path));
            Self(path)
        }

        fn open(&self, selection: &str) -> (ReplayProgress, Option<String>) {
            ReplayProgress::open(path_beside(&self.0), selection.into()).unwrap()
        }

        fn keep(
            &self,
            replayed: &mut ReplayProgress,
            place: LinePosition,
            handed_over: LinePosition,
            metadata: &str,
        ) {
            let file = File::open(&self.0).unwrap();
            replayed
                .keep(&[FileProgress { file: &file, done: LineProgress { place, handed_over }, metadata }])
                .unwrap();
        }

        fn resume(&self, selection: &str) -> Option<ResumePoint> {
            self.open(selection).0.entries().resume(&File::open(&self.0).unwrap()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
            let _ = std::fs::remove_file(path_beside(&self.0));
        }
    }

    const SECOND: LinePosition = LinePosition { line: 2, byte: 6 };
    const THIRD: LinePosition = LinePosition { line: 3, byte: 13 };

    #[test]
    fn what_was_kept_is_where_it_resumes_also_under_another_name() {
        let scratch = Scratch::new("kept", "first\nsecond\n");
        let (mut replayed, notice) = scratch.open("");
        assert_eq!((notice, scratch.0.exists()), (None, true));
        scratch.keep(&mut replayed, SECOND, THIRD, "1:\"x\"");
        drop(replayed);
        assert_eq!(scratch.resume(""), Some(ResumePoint { place: SECOND, metadata: "1:\"x\"".into() }));
        let (mut replayed, _) = scratch.open("");
        scratch.keep(&mut replayed, THIRD, THIRD, "");
        drop(replayed);
        // Letters that came meanwhile are what is left; a name is not what a file is known by.
        std::fs::write(&scratch.0, "first\nsecond\nthird\n").unwrap();
        let other = Scratch::new("kept-renamed", "");
        std::fs::rename(&scratch.0, &other.0).unwrap();
        let (replayed, _) = scratch.open("");
        let resume = replayed.entries().resume(&File::open(&other.0).unwrap()).unwrap();
        assert_eq!(resume, Some(ResumePoint { place: THIRD, metadata: String::new() }));
    }

    #[test]
    fn files_are_told_apart() {
        let (one, two) = (Scratch::new("one", "first\nsecond\n"), Scratch::new("two", "first\nzweite\n"));
        let (mut replayed, _) = one.open("");
        one.keep(&mut replayed, SECOND, SECOND, "");
        let of = |scratch: &Scratch, replayed: &ReplayProgress| {
            let resume = replayed.entries().resume(&File::open(&scratch.0).unwrap()).unwrap();
            resume.map(|resume| resume.place)
        };
        assert_eq!(of(&two, &replayed), Some(SECOND), "as far as that they are the same");
        two.keep(&mut replayed, THIRD, THIRD, "");
        one.keep(&mut replayed, THIRD, THIRD, "");
        assert_eq!((of(&one, &replayed), of(&two, &replayed)), (Some(THIRD), Some(THIRD)));
        std::fs::write(&two.0, "other\nzweite\n").unwrap();
        assert_eq!(of(&two, &replayed), None);
    }

    #[test]
    fn another_file_or_selection_begins_at_the_start() {
        let scratch = Scratch::new("another", "first\nsecond\n");
        scratch.keep(&mut scratch.open("status=422").0, SECOND, THIRD, "");
        assert!(scratch.open("").1.unwrap().contains("another command or selection"));
        for text in ["fir\nt\nsecond\n", "f\n", ""] {
            std::fs::write(&scratch.0, text).unwrap();
            assert_eq!(scratch.resume("status=422"), None, "{text}");
        }
        // What was noted about lines that are done beyond the place is about these very lines.
        std::fs::write(&scratch.0, "first\nsecond\n").unwrap();
        scratch.keep(&mut scratch.open("").0, LinePosition::START, THIRD, "beyond");
        assert_eq!(scratch.resume("").unwrap().metadata, "beyond");
        std::fs::write(&scratch.0, "first\nfourth\n").unwrap();
        assert_eq!(scratch.resume(""), None);
        std::fs::write(path_beside(&scratch.0), "\0\0\0").unwrap();
        assert!(scratch.open("").1.unwrap().contains("is damaged"));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let scratch = Scratch::new("precious", "first\nsecond\n");
        let path = path_beside(&scratch.0);
        std::fs::write(&path, "precious").unwrap();
        let error = ReplayProgress::open(path.clone(), String::new()).unwrap_err();
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_neither_followed_nor_written_through() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let (scratch, victim) =
            (Scratch::new("linked", "first\nsecond\n"), Scratch::new("victim", "precious"));
        let path = path_beside(&scratch.0);
        symlink(&victim.0, &path).unwrap();
        let error = ReplayProgress::open(path.clone(), String::new()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(ReplayProgress::look(&path, "").unwrap_err().to_string().contains("symbolic link"));
        std::fs::remove_file(&path).unwrap();
        let mut new = path.clone().into_os_string();
        new.push(".new");
        symlink(&victim.0, &new).unwrap();
        let (mut replayed, _) = scratch.open("");
        scratch.keep(&mut replayed, SECOND, SECOND, "");
        assert_eq!(std::fs::read(&victim.0).unwrap(), b"precious");
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(std::fs::symlink_metadata(&new).is_err(), "nothing is left over");
    }

    #[test]
    fn what_was_noted_longest_ago_is_forgotten_first() {
        let scratch = Scratch::new("forgotten", "first\nsecond\n");
        let (mut replayed, _) = scratch.open("");
        let entry = |file| Entry {
            file,
            place: SECOND,
            fingerprint: 0,
            ahead: 6,
            ahead_fingerprint: 0,
            metadata: String::new(),
        };
        replayed.entries.all = (0..MOST_ENTRIES as u64 + 7).map(entry).collect();
        scratch.keep(&mut replayed, SECOND, SECOND, "");
        drop(replayed);
        let (replayed, _) = scratch.open("");
        let all = &replayed.entries().all;
        assert_eq!((all.len(), all[0].file, all.last().unwrap().place), (MOST_ENTRIES, 8, SECOND));
        assert!(replayed.entries().resume(&File::open(&scratch.0).unwrap()).unwrap().is_some());
        // Entries that are very long are bounded in bytes.
        let mut long = vec![Entry { metadata: "x".repeat(LARGEST / 3), ..entry(1) }; 4];
        assert!(replayed.written(&mut long).len() <= LARGEST);
        assert_eq!(long.len(), 2);
    }

    #[test]
    fn one_process_at_a_time() {
        let scratch = Scratch::new("locked", "first\nsecond\n");
        let (mut replayed, _) = scratch.open("");
        let taken = || ReplayProgress::open(path_beside(&scratch.0), String::new()).unwrap_err().kind();
        assert_eq!(taken(), io::ErrorKind::WouldBlock);
        scratch.keep(&mut replayed, SECOND, SECOND, "");
        assert_eq!(taken(), io::ErrorKind::WouldBlock, "also after it was replaced");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\{\"file\":)?[0-9a-z\":,{}\\-]{0,60}") {
            let _ = Entry::parse(text.as_bytes());
        }
    }
}
