//! Doubles for the seams: a source over a list, a transport that does what a closure says, an observer that
//! keeps what it was told.

use sluicegate::relay::dead_letter::{DeadLetterError, DeadLetters, Letter};
use sluicegate::relay::event::{Event, Observer};
use sluicegate::relay::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::source::{CommitError, Polled, Source, SourceError, Want};
use sluicegate::relay::transport::{Answer, Attempt, SendError, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub fn partition(number: i32) -> Partition {
    Partition::new("t", number)
}

/// A source over a list of what polls bring; at its end it says so.
#[derive(Default)]
pub struct ListSource {
    pub polls: VecDeque<Polled>,
    pub records: VecDeque<Record>,
    pub committed: BTreeMap<Partition, Offset>,
    pub commits: usize,
    pub failing_commits: usize,
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
    fn poll(&mut self, want: Want, _wait: Duration) -> Result<Polled, SourceError> {
        if let Some(polled) = self.polls.pop_front() {
            return Ok(polled);
        }
        if want.records == 0 {
            return Ok(Polled::Nothing);
        }
        let batch: Vec<Record> = self.records.drain(..want.records.min(self.records.len())).collect();
        Ok(if batch.is_empty() { Polled::End } else { Polled::Records(batch) })
    }

    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        self.commits += 1;
        if self.failing_commits > 0 {
            self.failing_commits -= 1;
            return Err(CommitError::Retriable("not now".into()));
        }
        let positions = checkpoints.iter().map(|checkpoint| &checkpoint.position);
        self.committed.extend(positions.map(|p| (p.partition.clone(), p.next)));
        Ok(())
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

/// Keeps letters in memory; fails as often as told first.
#[derive(Default)]
pub struct Letters {
    pub kept: Vec<Letter>,
    pub fail: VecDeque<DeadLetterError>,
}

impl DeadLetters for Letters {
    fn put(&mut self, letters: &[Letter]) -> Result<(), DeadLetterError> {
        if let Some(error) = self.fail.pop_front() {
            return Err(error);
        }
        self.kept.extend_from_slice(letters);
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
