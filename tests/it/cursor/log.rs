//! The log of a partition in the cursor's model.

use crate::support::leader_epochs::LeaderEpochs;
use sluicegate::kafka::consumer::cursor::EpochEnd;

/// A log as its leader has it.
#[derive(Clone)]
pub struct Log {
    pub id: u8,
    pub start: i64,
    pub records: Vec<(i32, u64)>,
    pub epochs: LeaderEpochs,
    /// The epochs before it was restored from a backup, where that log ended, and where the backup did.
    pub former: Option<(LeaderEpochs, i64, i64)>,
}

impl Log {
    pub fn new(id: u8) -> Self {
        Self { id, start: 0, records: Vec::new(), epochs: LeaderEpochs::beginning(0, 0), former: None }
    }

    pub fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }

    pub fn epoch(&self) -> i32 {
        self.epochs.last()
    }

    /// As a broker's cache of leader epochs answers.
    pub fn epoch_end(&self, asked: i32) -> EpochEnd {
        self.epochs.end_of(asked, self.end())
    }

    /// Another replica leads, which has no more than what lies before `cut`.
    pub fn elect(&mut self, cut: i64) {
        let epoch = self.epoch() + 1;
        self.records.truncate((cut - self.start) as usize);
        self.epochs.elect(epoch, cut);
    }

    /// It is restored from a backup that ends at `cut`, and its leader goes on under this epoch.
    pub fn restore(&mut self, cut: i64, epoch: i32) {
        self.former = Some((self.epochs.clone(), self.end(), cut));
        self.records.truncate((cut - self.start) as usize);
        self.epochs.restore(epoch, cut);
    }

    /// Whether nobody can tell that what lies here is not what was there before: the same epochs were given to both.
    pub fn is_mistakable(&self, offset: i64) -> bool {
        self.former.as_ref().is_some_and(|(epochs, end, cut)| {
            (*cut..epochs.written_up_to(self.epoch(), *end)).contains(&offset)
        })
    }

    pub fn delete_up_to(&mut self, start: i64) {
        self.records.drain(..(start - self.start) as usize);
        self.start = start;
        self.epochs.delete_up_to(start);
    }
}
