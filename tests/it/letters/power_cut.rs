//! A power cut, simulated: the file of dead letters cut at every byte written since its last fsync. On start it is
//! repaired, and no record whose offset was committed is missing.

use crate::letters::Folder;
use sluicegate::record::{Checkpoint, Record};
use sluicegate::relay::Relay;
use sluicegate::relay::dead_letter::file::DeadLetterFile;
use sluicegate::relay::dead_letter::{DeadLetter, DeadLetterError, DeadLetters, line};
use sluicegate::relay::event::Unobserved;
use sluicegate::relay::memory_source::MemorySource;
use sluicegate::relay::settings::{Intake, OnRejection, RelaySettings};
use sluicegate::relay::source::{Commit, CommitError, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::stop::Stop;
use sluicegate::relay::transport::{Answer, Attempt, SendError, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RECORDS: usize = 60;
const MAX_SIZE: u64 = 2_000;

/// What happened, in order: the files as they were synced after each put, and what was committed.
#[derive(Clone, Debug)]
enum Happened {
    Synced(BTreeMap<PathBuf, Vec<u8>>),
    Committed(i64),
}

type Story = Arc<Mutex<Vec<Happened>>>;

struct Watched<T> {
    inner: T,
    folder: PathBuf,
    story: Story,
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

impl DeadLetters for Watched<DeadLetterFile> {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        self.inner.put(letters)?;
        self.story.lock().unwrap().push(Happened::Synced(files(&self.folder)));
        Ok(())
    }
}

impl Source for Watched<MemorySource> {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        self.inner.poll(want, wait)
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        let story = Arc::clone(&self.story);
        Box::new(Watched { inner: self.inner.committer(), folder: self.folder.clone(), story })
    }
}

impl Commit for Watched<Box<dyn Commit>> {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let next = checkpoints.last().unwrap().position.next.0;
        self.story.lock().unwrap().push(Happened::Committed(next));
        self.inner.commit(checkpoints)
    }
}

/// Refuses each third record, after a while in which commits come due.
struct Picky(Duration);

fn is_refused(offset: i64) -> bool {
    offset % 3 == 0
}

impl Transport for Picky {
    fn send(&self, record: &Record, _attempt: Attempt) -> Result<Answer, SendError> {
        std::thread::sleep(self.0); // a slow receiver is the point
        let status = if is_refused(record.offset().0) { 422 } else { 204 };
        Ok(Answer { status, ..Answer::default() })
    }
}

fn run(folder: &Path, intake: Intake) -> Vec<Happened> {
    let story = Story::default();
    let values = (0..RECORDS).map(|n| vec![b'x'; n % 40]);
    let file = DeadLetterFile::open(folder.join("dead.jsonl")).unwrap().with_max_size(MAX_SIZE);
    let watched = |folder: &Path| (folder.to_owned(), Arc::clone(&story));
    let (of_source, of_file) = (watched(folder), watched(folder));
    let mut source =
        Watched { inner: MemorySource::new("t", values), folder: of_source.0, story: of_source.1 };
    let dead_letters = Watched { inner: file, folder: of_file.0, story: of_file.1 };
    let relay = Relay {
        settings: RelaySettings {
            intake,
            batch_size: NonZeroUsize::new(7).unwrap(),
            window_size: NonZeroUsize::new(7).unwrap(),
            max_concurrency: NonZeroUsize::new(3).unwrap(),
            on_rejection: OnRejection::DeadLetter,
            ..RelaySettings::default()
        },
        source: &mut source,
        transport: &Picky(if intake == Intake::Sliding {
            Duration::from_millis(100)
        } else {
            Duration::ZERO
        }),
        dead_letters: Box::new(dead_letters),
        observer: &Unobserved,
        stop: &Stop::new(),
    };
    relay.run().unwrap();
    story.lock().unwrap().clone()
}

/// The offsets of all letters, after the start that follows a power cut.
fn repaired(folder: &Path) -> BTreeSet<i64> {
    drop(DeadLetterFile::open(folder.join("dead.jsonl")).unwrap());
    let lines = files(folder).into_values().flat_map(|bytes| {
        let lines: Vec<i64> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|text| line::parse(text.trim_ascii_end()).expect("only whole lines").record.offset().0)
            .collect();
        lines
    });
    lines.collect()
}

fn restore(folder: &Path, state: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
    for (path, bytes) in state {
        fs::write(path, bytes).unwrap();
    }
}

/// The files as a power cut leaves them after so many bytes of what was written since `before` was synced. A file that
/// was renamed meanwhile is whole: it was synced under its old name.
fn cut(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
    current: &Path,
) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    let written = &after[current];
    let synced = before.get(current).filter(|bytes| written.starts_with(bytes)).map_or(0, Vec::len);
    let states = (synced..written.len()).map(|end| {
        let mut state = after.clone();
        state.insert(current.to_owned(), written[..end].to_vec());
        state
    });
    // The length may be on the disk before the bytes are: zeros in their place.
    let zeros = [1, written.len() - synced].map(|zeros| {
        let mut state = after.clone();
        state.insert(current.to_owned(), [&written[..synced], &vec![0; zeros]].concat());
        state
    });
    states.chain(zeros).chain([before.clone()]).collect()
}

fn no_committed_record_is_missing(name: &str, intake: Intake) {
    let folder = Folder::new(name);
    let story = run(&folder.0, intake);
    let current = folder.0.join("dead.jsonl");
    let (mut before, mut committed, mut cuts) = (BTreeMap::new(), 0, 0);
    for happened in &story {
        match happened {
            Happened::Committed(next) => {
                committed = *next;
                restore(&folder.0, &before);
                let there = repaired(&folder.0);
                assert!((0..committed).filter(|offset| is_refused(*offset)).all(|it| there.contains(&it)));
            }
            Happened::Synced(after) => {
                for state in cut(&before, after, &current) {
                    restore(&folder.0, &state);
                    let there = repaired(&folder.0);
                    for offset in (0..committed).filter(|offset| is_refused(*offset)) {
                        assert!(there.contains(&offset), "{offset} was committed and is missing");
                    }
                    cuts += 1;
                }
                before.clone_from(after);
            }
        }
    }
    assert_eq!(committed, RECORDS as i64);
    let rotated = files(&folder.0).len();
    println!("POWER CUT {name}: {cuts} cuts, {rotated} files, committed records missing 0");
    assert!(cuts > 1_000 && rotated > 2, "{cuts} cuts, {rotated} files");
}

#[test]
fn no_committed_record_is_missing_in_batches() {
    no_committed_record_is_missing("batches", Intake::Batch);
}

#[test]
fn no_committed_record_is_missing_with_a_sliding_window() {
    no_committed_record_is_missing("sliding", Intake::Sliding);
}
