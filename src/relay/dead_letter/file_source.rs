//! A file of dead letters and its rotated files as one source: the oldest first, each a partition of its own whose
//! offsets are line numbers.
//!
//! Lines appended after the source was opened are not read. A file is identified by its contents, not its name, so a
//! rotation in between changes nothing. Damaged lines are skipped with a warning.

use super::headers::to_record;
use super::line::{self, LineError};
use super::private_file;
use super::replay_progress::{FileProgress, ReplayEntries, ReplayProgress, ResumePoint};
use super::rotation::{MOST_ROTATED, rotated};
use crate::notice::{Notice, Severity};
use crate::record::{Checkpoint, Offset, Partition};
use crate::relay::line_source::{
    Line, LineFormat, LineLimits, LinePosition, LinePositions, LineProgress, LineSource, ParsedLine,
};
use crate::relay::source::{Commit, CommitError, PollLimit, Polled, Source, SourceError};
use crate::text::terminal;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reads of the folder, at most, until two agree.
const LOOKS: u32 = 3;
/// How much of a damaged line is shown.
const SHOWN_CHARS: usize = 40;

const FOREIGN: &str = "it is no file of dead letters: its first line is something else";

/// How files are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Skip a line of JSON that is not a dead letter, with a warning; otherwise the run ends there, since somebody
    /// edited it.
    pub(crate) skips_strangers: bool,
    /// A file is begun once the one before it is done, as for the order of one partition.
    pub(crate) one_by_one: bool,
}

/// A file that was there at the start.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    seen: Metadata,
}

/// A file that is to be read.
#[derive(Debug)]
struct Waiting {
    found: Found,
    partition: Partition,
    resume: ResumePoint,
}

/// What is read now, or was and is not done yet.
#[derive(Debug)]
struct UnderWay {
    places: LinePositions,
    /// For fingerprints alone, by the thread that commits.
    file: Arc<File>,
    committed: LinePosition,
    /// All of it was handed over.
    ended: bool,
}

impl UnderWay {
    fn is_done(&self) -> bool {
        self.ended && self.committed == self.places.handed_over()
    }
}

/// What polling and committing share.
#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<Partition, UnderWay>>,
    /// A file is done.
    done: Condvar,
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, BTreeMap<Partition, UnderWay>> {
        // Each change is one of a whole field.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that are done need not be known any longer.
    fn forget_done(&self) {
        self.files().retain(|_, file| !file.is_done());
        self.done.notify_all();
    }

    /// Waits until all files are done, up to this time.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.done.wait_timeout_while(self.files(), time, |files| !files.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }
}

/// Letters of files.
pub struct DeadLetterFiles {
    base: PathBuf,
    waiting: VecDeque<Waiting>,
    current: Option<(Partition, LineSource<DeadLetterLines>)>,
    shared: Arc<Shared>,
    replayed: Option<ReplayProgress>,
    /// Somebody commits; otherwise nothing is ever done.
    commits: bool,
    notices: VecDeque<Notice>,
    reading: ReadOptions,
}

impl DeadLetterFiles {
    /// The letters of `path` and of its rotated files, from where `entries` says; `replayed` keeps how far they are
    /// done.
    ///
    /// # Errors
    /// There is no such file, it can't be read, or is no file of dead letters.
    pub fn open(
        path: &Path,
        entries: &ReplayEntries,
        replayed: Option<ReplayProgress>,
        reading: ReadOptions,
    ) -> io::Result<Self> {
        let mut source = Self {
            base: path.to_owned(),
            waiting: VecDeque::new(),
            current: None,
            shared: Arc::default(),
            replayed,
            commits: false,
            notices: VecDeque::new(),
            reading,
        };
        let topic: Arc<str> = terminal::path(Path::new(path.file_name().unwrap_or_default())).into();
        let mut any_known = false;
        for (found, number) in source.choose()?.into_iter().zip(0..) {
            let is_named = found.path == *path;
            let file = match source.open_found(&found) {
                Ok(file) => file,
                Err(error) if is_named => return Err(error),
                Err(error) => {
                    let text = format!("{} is skipped: {error}", terminal::path(&found.path));
                    source.tell(Severity::Warning, text);
                    continue;
                }
            };
            let mut head = Vec::new();
            Read::take(&file, line::HEAD_BYTES as u64).read_to_end(&mut head)?;
            if !line::is_beginning(&head) {
                if is_named {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, FOREIGN));
                }
                source.tell(
                    Severity::Warning,
                    format!("{} is skipped: {FOREIGN}", terminal::path(&found.path)),
                );
                continue;
            }
            let resume = entries.resume(&file)?;
            any_known |= resume.is_some();
            let resume = resume.unwrap_or(ResumePoint::START);
            if resume.place.line > 1 && (is_named || resume.place.byte < found.seen.len()) {
                let text = entries.resumed(&terminal::path(&found.path), resume.place.line);
                source.tell(Severity::Info, text);
            }
            if is_named || resume.place.byte < found.seen.len() {
                let partition = Partition::new(Arc::clone(&topic), number);
                source.waiting.push_back(Waiting { found, partition, resume });
            }
        }
        if let Some(text) = entries.stranger().filter(|_| !any_known) {
            source.tell(Severity::Warning, text);
        }
        Ok(source)
    }

    fn tell(&mut self, severity: Severity, text: String) {
        self.notices.push_back(Notice { severity, text });
    }

    /// The files that are there, the oldest first.
    fn choose(&mut self) -> io::Result<Vec<Found>> {
        let (mut found, mut notices) = self.list()?;
        for _ in 1..LOOKS {
            let (again, more) = self.list()?;
            let is_settled = again.len() == found.len()
                && again
                    .iter()
                    .zip(&found)
                    .all(|(a, b)| a.path == b.path && private_file::is_same(&a.seen, &b.seen));
            (found, notices) = (again, more);
            if is_settled {
                break;
            }
        }
        self.notices.extend(notices);
        if found.is_empty() {
            // In the words of the system.
            std::fs::metadata(&self.base)?;
        }
        Ok(found)
    }

    fn list(&self) -> io::Result<(Vec<Found>, Vec<Notice>)> {
        let paths = rotated(&self.base)?;
        if paths.len() > MOST_ROTATED {
            let text = format!("there are more than {MOST_ROTATED} rotated files: move some of them away");
            return Err(io::Error::other(text));
        }
        let mut found: Vec<Found> = Vec::new();
        let mut notices = Vec::new();
        for (_, path) in paths {
            match private_file::regular(&path) {
                Ok(seen) => found.push(Found { path, seen }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => notices.push(Notice {
                    severity: Severity::Warning,
                    text: format!("{} is skipped: {error}", terminal::path(&path)),
                }),
            }
        }
        match std::fs::metadata(&self.base) {
            Ok(seen) if seen.is_file() => found.push(Found { path: self.base.clone(), seen }),
            Ok(seen) if seen.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => return Err(io::Error::other("it is no regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Of several names of one file the last counts: the one that was asked for.
        let mut known = HashSet::new();
        found.reverse();
        found.retain(|file| private_file::number(&file.seen).is_none_or(|number| known.insert(number)));
        found.reverse();
        Ok((found, notices))
    }

    /// Opens a file under whatever name it has by now: it may be renamed at any moment, and another may take its name.
    fn open_found(&self, Found { path, seen }: &Found) -> io::Result<File> {
        let is_it = |now: &Metadata| private_file::is_same(now, seen);
        let is_there = |path: &Path| std::fs::metadata(path).is_ok_and(|now| is_it(&now));
        for _ in 0..LOOKS {
            let mut names = vec![path.clone()];
            if !is_there(path) {
                names = rotated(&self.base)?.into_iter().map(|(_, path)| path).rev().collect();
            }
            let Some(now) = names.into_iter().find(|path| is_there(path)) else { continue };
            match File::open(&now) {
                Ok(file) if is_it(&file.metadata()?) => return Ok(file),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "it was removed meanwhile"))
    }

    /// Begins a file.
    fn begin(&mut self, waiting: Waiting) -> io::Result<()> {
        let Waiting { found, partition, resume } = waiting;
        let (mut text, prints) = (self.open_found(&found)?, self.open_found(&found)?);
        let Found { path, seen } = found;
        text.seek(SeekFrom::Start(resume.place.byte))?;
        let rest = text.take(seen.len().saturating_sub(resume.place.byte));
        let start = (resume.place, resume.metadata);
        let lines = DeadLetterLines { skips_strangers: self.reading.skips_strangers };
        let source =
            LineSource::open(&terminal::path(&path), partition.clone(), Box::new(rest), start, lines)?;
        let under_way = UnderWay {
            places: source.places(),
            file: Arc::new(prints),
            committed: resume.place,
            ended: false,
        };
        self.shared.files().insert(partition.clone(), under_way);
        self.current = Some((partition, source));
        Ok(())
    }

    /// Whether the next file has to wait until those before it are done.
    fn waits_for_commits(&self) -> bool {
        self.reading.one_by_one && self.commits && !self.waiting.is_empty()
    }

    /// Begins the next file, if there is one.
    fn advance(&mut self) -> bool {
        let Some(waiting) = self.waiting.pop_front() else { return false };
        let path = terminal::path(&waiting.found.path);
        if let Err(error) = self.begin(waiting) {
            self.tell(Severity::Error, format!("{path} can't be read and is skipped: {error}"));
        }
        true
    }
}

impl Source for DeadLetterFiles {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        // Each round ends a file, or begins one.
        for _ in 0..=2 * (MOST_ROTATED + 1) {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(Polled::Notice(notice));
            }
            if let Some((partition, source)) = &mut self.current {
                match source.poll(want, wait)? {
                    Polled::End => {
                        if let Some(file) = self.shared.files().get_mut(partition) {
                            file.ended = true;
                        }
                        self.shared.forget_done();
                        self.current = None;
                    }
                    polled => return Ok(polled),
                }
            } else if want.records == 0 || (self.waits_for_commits() && !self.shared.wait(wait)) {
                return Ok(Polled::Nothing);
            } else if !self.advance() {
                return Ok(Polled::End);
            }
        }
        Ok(Polled::Nothing)
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        self.commits = true;
        Box::new(DeadLetterCommitter { shared: Arc::clone(&self.shared), replayed: self.replayed.take() })
    }
}

/// Keeps how far each file is done.
struct DeadLetterCommitter {
    shared: Arc<Shared>,
    replayed: Option<ReplayProgress>,
}

impl Commit for DeadLetterCommitter {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let about = |checkpoint: &Checkpoint| -> Option<(Arc<File>, LineProgress)> {
            let files = self.shared.files();
            let file = files.get(&checkpoint.position.partition)?;
            Some((Arc::clone(&file.file), file.places.done(checkpoint.position.next.0)))
        };
        let found: Vec<(&Checkpoint, Arc<File>, LineProgress)> = checkpoints
            .iter()
            .filter_map(|checkpoint| about(checkpoint).map(|(file, done)| (checkpoint, file, done)))
            .collect();
        if let Some(replayed) = &mut self.replayed {
            let news = found.iter().map(|(checkpoint, file, done)| FileProgress {
                file,
                done: *done,
                metadata: &checkpoint.metadata,
            });
            replayed.keep(&news.collect::<Vec<_>>()).map_err(|error| {
                let path = terminal::path(replayed.path());
                CommitError::Retriable(format!("progress can't be saved in {path}: {error}"))
            })?;
        }
        for (checkpoint, _, done) in &found {
            if let Some(file) = self.shared.files().get_mut(&checkpoint.position.partition) {
                file.committed = done.place;
            }
        }
        self.shared.forget_done();
        Ok(())
    }
}

/// How a line of a file becomes a letter.
#[derive(Clone, Copy, Debug)]
struct DeadLetterLines {
    skips_strangers: bool,
}

impl LineFormat for DeadLetterLines {
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<ParsedLine, String> {
        let parsed = line::parse(&line.bytes);
        let (at, letter) = match (parsed, &line.lost) {
            (Ok(letter), _) => (0, Some(letter)),
            (Err(error @ LineError::Member(_)), None) if !self.skips_strangers => {
                return Err(format!(
                    "{error}. Correct it, or select dead letters by a condition, which skips such lines"
                ));
            }
            (Err(_), _) => line::salvage(&line.bytes).map_or((0, None), |(at, letter)| (at, Some(letter))),
        };
        let record = letter.map(|letter| to_record(&letter, partition.clone(), Offset(line.place.line)));
        let damaged = line.bytes.get(..at).unwrap_or_default();
        let is_sound = record.is_some() && line.lost.is_none() && damaged.is_empty();
        let notice = (!is_sound).then(|| describe(line, damaged, record.is_some()));
        Ok(ParsedLine { record, notice })
    }

    fn takes_unfinished(&self) -> bool {
        false
    }

    fn bounds(&self) -> LineLimits {
        LineLimits { longest: line::LONGEST, skips_damage: true }
    }
}

/// What is wrong with a line, and what becomes of it.
fn describe(line: &Line, before_letter: &[u8], has_letter: bool) -> String {
    let rest = if has_letter { before_letter } else { &line.bytes };
    let (lost, zeros, head) = line.lost.as_ref().map_or((0, 0, &[][..]), |it| (it.bytes, it.zeros, &it.head));
    let bytes = lost.saturating_add(rest.len() as u64);
    let head: Vec<u8> = head.iter().chain(rest).copied().skip_while(|byte| *byte == 0).collect();
    let what = match (zeros, head.is_empty()) {
        (0, true) => format!("{bytes} bytes"),
        (0, false) => format!("{bytes} bytes, \"{}\"", terminal::excerpt(&head, SHOWN_CHARS)),
        (zeros, true) => format!("{bytes} bytes, {zeros} of them NUL"),
        (zeros, false) => {
            format!("{bytes} bytes, {zeros} of them NUL, \"{}\"", terminal::excerpt(&head, SHOWN_CHARS))
        }
    };
    match (has_letter, line.lost.as_ref().is_some_and(|lost| lost.too_long)) {
        (true, _) => format!("begins with damage, which is skipped ({what}); the letter behind it is used"),
        (false, true) => format!("is longer than {} bytes and is skipped ({what})", line::LONGEST),
        (false, false) => format!("is no dead letter and is skipped ({what})"),
    }
}
