//! How far one partition is done, hence what may be committed.
//!
//! Invariant: the [watermark](PartitionProgress::watermark) never passes a record that was admitted and is not done.
//! Offsets may have holes (compaction, transaction markers), so a record counts by its own offset, never by
//! arithmetic on a neighbour's. Pure: no clock, no I/O.

use super::offset_runs;
use crate::record::Offset;
use std::collections::VecDeque;
use std::ops::Range;

/// The records of one partition from the first unfinished one on, and the watermark.
#[derive(Clone, Debug)]
pub struct PartitionProgress {
    /// Admitted records from the first unfinished one on, by ascending offset.
    entries: VecDeque<Entry>,
    watermark: Offset,
    /// Ascending runs of offsets beyond the last admitted one that were done before the assignment.
    known: VecDeque<Range<i64>>,
    committed: (Offset, String),
}

/// The result of admitting a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Admitted, to be sent.
    Open,
    /// Admitted, and known to be done.
    Done,
    /// Not admitted: a duplicate.
    Not,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    done: bool,
}

impl PartitionProgress {
    /// Nothing admitted yet; `start` is where the partition is read from, hence what counts as committed, and
    /// `metadata` what was committed beside it.
    pub fn new(start: Offset, metadata: &str) -> Self {
        let known = offset_runs::decode(start, metadata);
        let committed = (start, offset_runs::encode(start, known.iter().cloned()));
        Self { entries: VecDeque::new(), watermark: start, known: known.into(), committed }
    }

    /// The start was never committed: that is the first thing to commit.
    pub fn begins_uncommitted(&mut self) {
        self.committed.0 = Offset(i64::MIN);
    }

    /// Admits the next record, unless its offset is not above all admitted ones.
    #[must_use]
    pub fn admit(&mut self, offset: Offset) -> Admitted {
        let after_the_last = match self.entries.back() {
            Some(last) => offset > last.offset,
            None => offset >= self.watermark,
        };
        if !after_the_last {
            return Admitted::Not;
        }
        let done = self.is_known(offset);
        self.entries.push_back(Entry { offset, done });
        self.advance();
        if done { Admitted::Done } else { Admitted::Open }
    }

    /// No record lies between the last one admitted and `next`.
    pub fn pass(&mut self, next: Offset) {
        let last = Offset(next.0.saturating_sub(1));
        let after_the_last = match self.entries.back() {
            Some(entry) => last > entry.offset,
            None => last >= self.watermark,
        };
        if after_the_last {
            // Missing offsets count as done.
            self.entries.push_back(Entry { offset: last, done: true });
            self.advance();
        }
    }

    /// Whether the next offset is known to be done; lower ones are forgotten.
    fn is_known(&mut self, offset: Offset) -> bool {
        while self.known.front().is_some_and(|run| run.end <= offset.0) {
            self.known.pop_front();
        }
        let Some(run) = self.known.front_mut().filter(|run| run.contains(&offset.0)) else { return false };
        run.start = offset.next().0;
        true
    }

    /// The record at `offset` is done: accepted, or durably kept elsewhere.
    pub fn done(&mut self, offset: Offset) {
        if let Ok(at) = self.entries.binary_search_by_key(&offset, |entry| entry.offset) {
            self.entries[at].done = true;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(first) = self.entries.front().copied().filter(|entry| entry.done) {
            self.entries.pop_front();
            self.watermark = first.offset.next();
        }
    }

    /// The first offset that is not known to be done; every record before it is.
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// The watermark and the [runs](offset_runs) done beyond it, if they differ from the last commit.
    pub fn to_commit(&self) -> Option<(Offset, String)> {
        let (watermark, text) = self.position();
        (watermark > self.committed.0 || text != self.committed.1).then_some((watermark, text))
    }

    /// The watermark and the [runs](offset_runs) done beyond it.
    pub(crate) fn position(&self) -> (Offset, String) {
        // Invariant 2.
        assert!(
            self.entries.front().is_none_or(|first| !first.done && first.offset >= self.watermark),
            "a position that is committed lies before every unfinished record"
        );
        (self.watermark, offset_runs::encode(self.watermark, self.done_beyond()))
    }

    /// The offset after the last done record; the watermark where nothing is done beyond it.
    pub fn reach(&self) -> Offset {
        self.done_beyond().last().map_or(self.watermark, |run| Offset(run.end).max(self.watermark))
    }

    /// Whether anything is new to commit.
    pub fn has_to_commit(&self) -> bool {
        self.to_commit().is_some()
    }

    fn done_beyond(&self) -> impl Iterator<Item = Range<i64>> {
        let done =
            self.entries.iter().filter(|entry| entry.done).map(|entry| entry.offset.0..entry.offset.next().0);
        let mut runs = done.chain(self.known.iter().filter(|run| !run.is_empty()).cloned()).peekable();
        std::iter::from_fn(move || {
            let mut run = runs.next()?;
            while let Some(next) = runs.next_if(|next| next.start == run.end) {
                run.end = next.end;
            }
            Some(run)
        })
    }

    /// This position is committed.
    pub fn committed(&mut self, next: Offset, metadata: &str) {
        if next >= self.committed.0 {
            self.committed = (next, metadata.to_owned());
        }
    }

    /// The number of entries: unfinished records, and finished ones behind them.
    pub(crate) fn len(&self) -> usize {
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

    fn progress(offsets: &[i64]) -> PartitionProgress {
        let mut progress = PartitionProgress::new(Offset(offsets[0]), "");
        for offset in offsets {
            assert_eq!(progress.admit(Offset(*offset)), Admitted::Open);
        }
        progress
    }

    fn position(progress: &PartitionProgress) -> Option<Offset> {
        progress.to_commit().map(|(next, _)| next)
    }

    #[test]
    fn what_is_passed_counts_once_all_before_it_is_done() {
        let mut progress = PartitionProgress::new(Offset(5), "");
        progress.pass(Offset(7));
        assert_eq!(progress.watermark(), Offset(7));
        assert_eq!(progress.admit(Offset(7)), Admitted::Open);
        progress.pass(Offset(9));
        assert_eq!(progress.watermark(), Offset(7));
        progress.done(Offset(7));
        assert_eq!(progress.watermark(), Offset(9));
        progress.pass(Offset(8));
        assert_eq!(progress.watermark(), Offset(9));
        assert_eq!(progress.admit(Offset(8)), Admitted::Not);
    }

    #[test]
    fn the_watermark_waits_for_the_first_unfinished_record() {
        let mut progress = progress(&[5, 6, 7]);
        progress.done(Offset(7));
        progress.done(Offset(6));
        assert_eq!(progress.watermark(), Offset(5));
        progress.done(Offset(5));
        assert_eq!(progress.to_commit(), Some((Offset(8), String::new())));
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
        assert_eq!(progress.admit(Offset(6)), Admitted::Not);
        progress.done(Offset(5));
        progress.done(Offset(6));
        assert_eq!(progress.admit(Offset(6)), Admitted::Not);
        assert_eq!(progress.admit(Offset(7)), Admitted::Open);
    }

    #[test]
    fn what_was_never_admitted_cannot_be_done() {
        let mut progress = progress(&[5]);
        progress.done(Offset(4));
        progress.done(Offset(9));
        assert_eq!(position(&progress), None);
    }

    #[test]
    fn a_commit_is_asked_for_once() {
        let mut progress = progress(&[5, 6]);
        progress.done(Offset(5));
        progress.committed(Offset(6), "");
        assert_eq!(position(&progress), None);
    }

    #[test]
    fn what_is_done_beyond_the_watermark_survives_a_restart() {
        let mut before = progress(&[5, 6, 7, 9, 10]);
        [7, 9, 10].into_iter().for_each(|offset| before.done(Offset(offset)));
        let (next, text) = before.to_commit().unwrap();
        assert_eq!(next, Offset(5));
        before.committed(next, &text);
        assert_eq!(before.to_commit(), None);

        let mut after = PartitionProgress::new(next, &text);
        assert_eq!(after.to_commit(), None, "nothing is new");
        assert_eq!(after.admit(Offset(5)), Admitted::Open);
        after.done(Offset(5));
        let (next, text) = after.to_commit().unwrap();
        assert_eq!(
            (next, offset_runs::decode(next, &text)),
            (Offset(6), vec![7..8, 9..11]),
            "not yet fetched, not forgotten"
        );
        assert_eq!(after.admit(Offset(6)), Admitted::Open);
        assert_eq!([7, 9].map(|offset| after.admit(Offset(offset))), [Admitted::Done; 2]);
        after.done(Offset(6));
        assert_eq!(after.watermark(), Offset(10));
        assert_eq!(after.admit(Offset(10)), Admitted::Done);
        assert_eq!(after.to_commit(), Some((Offset(11), String::new())));
        assert_eq!(after.admit(Offset(11)), Admitted::Open);
    }

    #[test]
    fn a_record_that_is_gone_from_the_log_meanwhile_does_not_matter() {
        let text = offset_runs::encode(Offset(5), [7..8, 9..11]);
        let mut progress = PartitionProgress::new(Offset(5), &text);
        assert_eq!(progress.admit(Offset(8)), Admitted::Open);
        progress.done(Offset(8));
        assert_eq!(progress.admit(Offset(10)), Admitted::Done);
        assert_eq!(progress.to_commit(), Some((Offset(11), String::new())));
    }
}
