//! Doubles for the seams: a source over a list, a transport that does what a closure says, an observer that
//! keeps what it was told.

use sluicegate::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::dead_letter::{DeadLetter, DeadLetterError, DeadLetters};
use sluicegate::relay::event::{Event, Observer};
use sluicegate::relay::source::{Commit, CommitError, PollLimit, Polled, Source, SourceError};
use sluicegate::relay::transport::{Answer, Attempt, SendError, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub fn partition(number: i32) -> Partition {
    Partition::new("t", number)
}

/// A source over a list of what polls bring; at its end it says so.
#[derive(Default)]
pub struct ListSource {
    pub polls: VecDeque<Polled>,
    pub records: VecDeque<Record>,
    pub committed: Commits,
    pub released: Vec<Partition>,
    pub closed: bool,
}

impl ListSource {
    /// `n` records in partition 0.
    pub fn of(n: i64) -> Self {
        let assigned = Polled::Assigned(vec![Position { partition: partition(0), next: Offset(0) }.into()]);
        let record = |offset| Record::new(partition(0), Offset(offset), 0, Some(b"k"), Some(b"v"));
        Self { polls: [assigned].into(), records: (0..n).map(record).collect(), ..Self::default() }
    }
}

impl Source for ListSource {
    fn poll(&mut self, want: PollLimit, _wait: Duration) -> Result<Polled, SourceError> {
        let not_now = want.records == 0 && matches!(self.polls.front(), None | Some(Polled::Records(_)));
        if not_now {
            return Ok(Polled::Nothing);
        }
        if let Some(polled) = self.polls.pop_front() {
            return Ok(polled);
        }
        let batch: Vec<Record> = self.records.drain(..want.records.min(self.records.len())).collect();
        Ok(if batch.is_empty() { Polled::End } else { Polled::Records(batch) })
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(self.committed.clone())
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.released.extend_from_slice(partitions);
    }

    fn close(&mut self) {
        self.closed = true;
    }
}

/// A transport that does what a closure says, and counts how many are in it at once.
pub struct FnTransport<F> {
    answer: F,
    inside: AtomicUsize,
    pub most: AtomicUsize,
    pub sent: Mutex<Vec<i64>>,
}

impl<F: Fn(&Record, u32) -> Result<Answer, SendError> + Sync> FnTransport<F> {
    pub fn new(answer: F) -> Self {
        Self { answer, inside: AtomicUsize::new(0), most: AtomicUsize::new(0), sent: Mutex::default() }
    }

    pub fn sent(&self) -> Vec<i64> {
        self.sent.lock().unwrap().clone()
    }
}

impl<F: Fn(&Record, u32) -> Result<Answer, SendError> + Sync> Transport for FnTransport<F> {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.sent.lock().unwrap().push(record.offset().0);
        let answer = (self.answer)(record, attempt.number);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

pub fn status(status: u16) -> Result<Answer, SendError> {
    Ok(Answer { status, ..Answer::default() })
}

/// What was committed; fails as often as told first.
#[derive(Clone, Default)]
pub struct Commits(Arc<Mutex<(BTreeMap<Partition, Offset>, usize)>>);

impl Commits {
    /// The position of a partition, if it has one.
    pub fn of(&self, number: i32) -> Option<i64> {
        self.0.lock().unwrap().0.get(&partition(number)).map(|offset| offset.0)
    }

    /// The next so many commits fail.
    pub fn fail(&self, commits: usize) {
        self.0.lock().unwrap().1 = commits;
    }
}

impl Commit for Commits {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let (committed, failing) = &mut *self.0.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(CommitError::Retriable("later".into()));
        }
        committed.extend(checkpoints.iter().map(|c| (c.position.partition.clone(), c.position.next)));
        Ok(())
    }
}

/// Keeps letters in memory; fails as often as told first.
#[derive(Clone, Default)]
pub struct Letters(Arc<Mutex<(Vec<DeadLetter>, VecDeque<DeadLetterError>)>>);

impl Letters {
    /// What is kept.
    pub fn kept(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().0.clone()
    }

    /// One more put fails like this.
    pub fn fail(&self, error: DeadLetterError) {
        self.0.lock().unwrap().1.push_back(error);
    }
}

impl DeadLetters for Letters {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let (kept, fail) = &mut *self.0.lock().unwrap();
        if let Some(error) = fail.pop_front() {
            return Err(error);
        }
        kept.extend_from_slice(letters);
        Ok(())
    }
}

/// Remembers the names of what it was told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<String>>);

impl Told {
    pub fn count(&self, name: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|told| told.starts_with(name)).count()
    }
}

impl Observer for Told {
    fn on(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}
