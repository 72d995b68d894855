//! The leader epochs of a model log, as a broker's cache keeps them and answers with them (KIP-101, KIP-320).

#![allow(dead_code, reason = "each test crate uses a part of it")]

use sluicegate::kafka::consumer::cursor::EpochEnd;

/// Each epoch with the first offset written under it; never none.
#[derive(Clone, Debug)]
pub struct LeaderEpochs(Vec<(i32, i64)>);

impl LeaderEpochs {
    /// One epoch, from this offset on.
    pub fn beginning(epoch: i32, start: i64) -> Self {
        Self(vec![(epoch, start)])
    }

    /// The present leader's.
    pub fn last(&self) -> i32 {
        self.0.last().unwrap().0
    }

    /// Under which epoch what lies at this offset was written.
    pub fn at(&self, offset: i64) -> i32 {
        self.0.iter().rev().find(|(_, from)| *from <= offset).map_or(-1, |(epoch, _)| *epoch)
    }

    /// Where an epoch ends, in a log that ends at `log_end`.
    pub fn end_of(&self, asked: i32, log_end: i64) -> EpochEnd {
        if asked > self.last() {
            return EpochEnd::Unknown;
        }
        match self.0.iter().rposition(|(epoch, _)| *epoch <= asked) {
            None => EpochEnd::At { epoch: asked, end: self.0[0].1 },
            Some(at) => {
                let end = self.0.get(at + 1).map_or(log_end, |(_, start)| *start);
                EpochEnd::At { epoch: self.0[at].0, end }
            }
        }
    }

    /// A leader with no more than what lies before `cut` begins this epoch.
    pub fn elect(&mut self, epoch: i32, cut: i64) {
        self.0.retain(|(_, from)| *from < cut);
        self.0.push((epoch, cut));
    }

    /// The present leader's epoch, and its first offset.
    pub fn newest(&self) -> (i32, i64) {
        *self.0.last().unwrap()
    }

    /// The offset before which everything was written under epochs up to this one, in a log that ends at `log_end`.
    pub fn written_up_to(&self, epoch: i32, log_end: i64) -> i64 {
        self.0.iter().find(|(of, _)| *of > epoch).map_or(log_end, |(_, from)| *from)
    }

    /// Whether an epoch begins here, or a little before.
    pub fn begins_near(&self, offset: i64) -> bool {
        self.0.iter().any(|(_, from)| (*from..from + 8).contains(&offset))
    }

    /// A leader that was restored from a backup, which ends at `cut`, goes on under this epoch: the last one there, or a
    /// later one.
    pub fn restore(&mut self, epoch: i32, cut: i64) {
        self.0.retain(|(_, from)| *from < cut);
        if self.0.last().is_none_or(|(last, _)| *last < epoch) {
            self.0.push((epoch, cut));
        }
    }

    /// What lies before `start` is deleted.
    pub fn delete_up_to(&mut self, start: i64) {
        let first = self.0.iter().rposition(|(_, from)| *from <= start).unwrap_or(0);
        self.0.drain(..first);
        self.0[0].1 = self.0[0].1.max(start);
    }
}
