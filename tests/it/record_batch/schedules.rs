//! `read_committed` against a model that knows how every transaction ended.

use crate::record_batch::Owned;
use proptest::prelude::*;
use sluicegate::kafka::record_batch::transactions::{Aborted, Judgement, Transactions};
use sluicegate::kafka::record_batch::{
    BatchWriter, Batches, Compression, Control, MAX_UNPACKED, ProducerState, Unpacker, place,
};

/// Producers with transactions; one more writes without.
const PRODUCERS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The producer writes a batch of so many records, the last so many of them compacted away.
    Write { producer: usize, records: usize, holes: usize },
    /// The producer ends its transaction, if it is in one.
    End { producer: usize, commit: bool },
    /// A batch of another kind of marker.
    Other,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..=PRODUCERS, 0..4usize, 0..3usize)
            .prop_map(|(producer, records, holes)| Step::Write { producer, records, holes }),
        3 => (0..PRODUCERS, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        1 => Just(Step::Other),
    ]
}

#[derive(Default)]
struct Log {
    batches: Vec<Vec<u8>>,
    next: i64,
    /// Of each producer, where its transaction began and the records it wrote.
    open: [Option<(i64, Vec<i64>)>; PRODUCERS],
    /// Producer, first offset, offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    committed: Vec<i64>,
}

impl Log {
    fn append(&mut self, mut batch: Vec<u8>) {
        assert!(place(&mut batch, self.next, 0));
        self.next = Batches::new(&batch).next().unwrap().unwrap().next_offset();
        self.batches.push(batch);
    }

    fn take(&mut self, step: Step) {
        let state = |producer: usize| ProducerState { id: producer as i64, epoch: 0, base_sequence: 0 };
        match step {
            Step::Write { producer, records, holes } => {
                let mut writer = BatchWriter::new(Compression::None).producer(state(producer));
                if producer < PRODUCERS {
                    writer = writer.transactional();
                }
                (0..records).for_each(|_| Owned::value(0, 0, b"x").push_to(&mut writer));
                (0..holes).for_each(|_| writer.skip());
                let offsets = self.next..self.next + records as i64;
                match self.open.get_mut(producer) {
                    None => self.committed.extend(offsets),
                    Some(open) => open.get_or_insert((self.next, Vec::new())).1.extend(offsets),
                }
                self.append(writer.finish().unwrap());
            }
            Step::End { producer, commit } => {
                let Some((first, records)) = self.open[producer].take() else { return };
                let control = if commit { Control::Commit } else { Control::Abort };
                if commit {
                    self.committed.extend(records);
                } else {
                    self.aborted.push((producer as i64, first, self.next));
                }
                self.append(BatchWriter::marker(control, state(producer), 0));
            }
            Step::Other => self.append(BatchWriter::marker(Control::Other(4), ProducerState::NONE, 0)),
        }
    }

    /// A fetch up to the last stable offset: the batches from the one that holds `from`, and the aborted transactions
    /// that reach into them, in any order.
    fn fetch(&self, from: i64) -> (Vec<u8>, Vec<Aborted>) {
        let stable = self.open.iter().flatten().map(|(first, _)| *first).min().unwrap_or(self.next);
        let wanted = self.batches.iter().filter(|bytes| {
            let batch = Batches::new(bytes).next().unwrap().unwrap();
            batch.next_offset() > from && batch.next_offset() <= stable
        });
        let reaching = self.aborted.iter().filter(|(_, first, marker)| *marker >= from && *first < stable);
        let aborted = reaching
            .map(|(producer_id, first, _)| Aborted { first_offset: *first, producer_id: *producer_id });
        (wanted.flatten().copied().collect(), aborted.collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn exactly_what_is_committed_or_without_a_transaction_is_delivered(
        steps in prop::collection::vec(step(), 0..60),
        from in 0.0..1.0f64,
        end_all in any::<bool>(),
    ) {
        let mut log = Log::default();
        steps.into_iter().for_each(|step| log.take(step));
        if end_all {
            (0..PRODUCERS).for_each(|producer| log.take(Step::End { producer, commit: true }));
        }
        let from = (log.next as f64 * from) as i64;
        let (bytes, aborted) = log.fetch(from);
        let mut transactions = Transactions::new(aborted);
        let (mut delivered, mut unpacker, mut stable) = (Vec::new(), Unpacker::new(), from);
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            let judgement = transactions.judge(&batch).unwrap();
            prop_assert_eq!(judgement == Judgement::Control, batch.is_control());
            if judgement == Judgement::Deliver {
                let records = batch.records(&mut unpacker, from, MAX_UNPACKED).unwrap();
                delivered.extend(records.map(|record| record.unwrap().offset));
            }
            stable = batch.next_offset();
        }
        log.committed.sort_unstable();
        log.committed.retain(|offset| (from..stable).contains(offset));
        prop_assert_eq!(delivered, log.committed);
    }
}

#[test]
fn delivers_everything_when_nothing_was_aborted() {
    let mut log = Log::default();
    log.take(Step::Write { producer: 0, records: 2, holes: 0 });
    let batch = Batches::new(&log.batches[0]).next().unwrap().unwrap();
    assert_eq!(Transactions::new([]).judge(&batch).unwrap(), Judgement::Deliver);
}

#[test]
fn a_marker_says_what_it_is() {
    let producer = ProducerState { id: 5, epoch: 2, base_sequence: -1 };
    for control in [Control::Abort, Control::Commit, Control::Other(3)] {
        let bytes = BatchWriter::marker(control, producer, 77);
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.control().unwrap(), Some(control));
        assert_eq!((batch.producer_id(), batch.producer_epoch()), (5, 2));
        assert!(batch.is_control() && batch.is_transactional());
        assert_eq!(batch.records(&mut Unpacker::new(), 0, 0).unwrap().count(), 0);
    }
}
