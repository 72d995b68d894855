//! A source of records in memory: for the demo, and for use without Kafka.

use super::source::{Commit, CommitError, PollLimit, Polled, Source, SourceError};
use crate::record::{Checkpoint, Offset, Partition, Position, Record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Records of one partition, in order; then the source ends.
#[derive(Debug)]
pub struct MemorySource {
    assigned: Option<Position>,
    records: VecDeque<Record>,
    committed: Committed,
}

/// The last committed offset, shared with the caller.
#[derive(Clone, Debug, Default)]
pub struct Committed(Arc<Mutex<Option<Offset>>>);

impl Committed {
    /// The offset, once there is one.
    pub fn get(&self) -> Option<Offset> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Commit for Committed {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        if let Some(checkpoint) = checkpoints.last() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint.position.next);
        }
        Ok(())
    }
}

impl MemorySource {
    /// The values as the records of partition 0 of `topic`, from offset 0 on.
    pub fn new(topic: &str, values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let partition = Partition::new(topic, 0);
        let record = |(offset, value): (i64, Vec<u8>)| {
            Record::new(partition.clone(), Offset(offset), -1, None, Some(&value))
        };
        let records = (0..).zip(values).map(record).collect();
        let assigned = Some(Position { partition, next: Offset(0) });
        Self { assigned, records, committed: Committed::default() }
    }

    /// What was committed last.
    pub fn committed(&self) -> Committed {
        self.committed.clone()
    }
}

impl Source for MemorySource {
    fn poll(&mut self, want: PollLimit, _wait: Duration) -> Result<Polled, SourceError> {
        if let Some(position) = self.assigned.take() {
            return Ok(Polled::Assigned(vec![position.into()]));
        }
        if want.records == 0 {
            return Ok(Polled::Nothing);
        }
        let batch: Vec<Record> = self.records.drain(..want.records.min(self.records.len())).collect();
        Ok(if batch.is_empty() { Polled::End } else { Polled::Records(batch) })
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(self.committed())
    }
}
