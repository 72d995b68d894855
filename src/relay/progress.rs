//! How far one partition is done: what may be committed.
//!
//! Invariant: the [watermark](Progress::watermark) never passes a record that was admitted and is not done.
//! Offsets may have holes (compaction, transaction markers), so a record counts by its own offset, never by
//! arithmetic on a neighbour's. Pure: no clock, no I/O.

use super::record::Offset;
use std::collections::VecDeque;

/// The records of one partition from the first unfinished one on, and the watermark behind the finished ones.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Admitted records from the first unfinished one on, by ascending offset.
    entries: VecDeque<Entry>,
    watermark: Offset,
    committed: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    done: bool,
}

impl Progress {
    /// Nothing admitted yet; `start` is where the partition is read from, hence what counts as committed.
    pub fn new(start: Offset) -> Self {
        Self { entries: VecDeque::new(), watermark: start, committed: start }
    }

    /// Takes the next record in. Says whether it did: a record at or below one that was taken in before would
    /// be sent twice and is left out.
    #[must_use]
    pub fn admit(&mut self, offset: Offset) -> bool {
        let after_the_last = match self.entries.back() {
            Some(last) => offset > last.offset,
            None => offset >= self.watermark,
        };
        if after_the_last {
            self.entries.push_back(Entry { offset, done: false });
        }
        after_the_last
    }

    /// The record at `offset` is done: accepted, or durably kept elsewhere.
    pub fn done(&mut self, offset: Offset) {
        if let Ok(at) = self.entries.binary_search_by_key(&offset, |entry| entry.offset) {
            self.entries[at].done = true;
        }
        while let Some(first) = self.entries.front().copied().filter(|entry| entry.done) {
            self.entries.pop_front();
            self.watermark = first.offset.next();
        }
    }

    /// The first offset that is not known to be done; every record before it is.
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// The watermark, where it is ahead of what was committed.
    pub fn to_commit(&self) -> Option<Offset> {
        (self.watermark > self.committed).then_some(self.watermark)
    }

    /// This much is committed now.
    pub fn committed(&mut self, next: Offset) {
        self.committed = self.committed.max(next);
    }

    /// How many entries are kept: the unfinished records, and the finished ones that wait for them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every admitted record is done.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(offsets: &[i64]) -> Progress {
        let mut progress = Progress::new(Offset(offsets[0]));
        for offset in offsets {
            assert!(progress.admit(Offset(*offset)));
        }
        progress
    }

    #[test]
    fn the_watermark_waits_for_the_first_unfinished_record() {
        let mut progress = progress(&[5, 6, 7]);
        progress.done(Offset(7));
        progress.done(Offset(6));
        assert_eq!(progress.to_commit(), None);
        progress.done(Offset(5));
        assert_eq!(progress.to_commit(), Some(Offset(8)));
        assert!(progress.is_empty());
    }

    #[test]
    fn holes_in_the_offsets_do_not_matter() {
        let mut progress = progress(&[0, 10, 1_000]);
        progress.done(Offset(0));
        assert_eq!(progress.watermark(), Offset(1));
        progress.done(Offset(10));
        assert_eq!(progress.watermark(), Offset(11));
    }

    #[test]
    fn a_record_is_taken_in_once() {
        let mut progress = progress(&[5, 6]);
        assert!(!progress.admit(Offset(6)));
        progress.done(Offset(5));
        progress.done(Offset(6));
        assert!(!progress.admit(Offset(6)));
        assert!(progress.admit(Offset(7)));
    }

    #[test]
    fn what_was_never_admitted_cannot_be_done() {
        let mut progress = progress(&[5]);
        progress.done(Offset(4));
        progress.done(Offset(9));
        assert_eq!(progress.to_commit(), None);
    }

    #[test]
    fn a_commit_is_asked_for_once() {
        let mut progress = progress(&[5, 6]);
        progress.done(Offset(5));
        progress.committed(Offset(6));
        assert_eq!(progress.to_commit(), None);
    }
}
