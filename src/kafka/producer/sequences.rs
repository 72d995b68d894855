//! Sequence numbers, by which brokers recognise duplicate batches (KIP-98), and the batches whose outcome is unknown.
//! Knows no connections.
//!
//! Invariant: a sequence number that may be in a log is only reused with the same bytes, since a broker drops a batch
//! with a known number whatever its content.

use crate::kafka::record_batch::{NewRecord, ProducerState};
use std::collections::BTreeMap;

/// After this many failures to get a producer id, none is requested any more.
const MOST_FAILURES: u32 = 10;

/// The producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// To be requested; the number of consecutive failures.
    Wanted { failures: u32 },
    /// The id and its epoch.
    Given { id: i64, epoch: i16 },
    /// Not available: batches are written without one.
    None,
}

/// An encoded batch.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    /// Its producer id, epoch and sequence number.
    pub(super) state: ProducerState,
    /// Whether it may be in the log.
    pub(super) in_doubt: bool,
}

/// A batch whose acknowledgement did not come.
#[derive(Debug)]
struct Unanswered {
    records: Vec<Owned>,
    written: Written,
}

/// A record of such a batch, to recognise it in the next send.
#[derive(Debug)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The sequence numbers of a producer.
#[derive(Debug)]
pub(super) struct Sequences {
    identity: Identity,
    /// The next sequence number by partition, if it is not 0.
    next: BTreeMap<i32, i32>,
    /// By partition; at most one each, since no batch overtakes it.
    unanswered: BTreeMap<i32, Unanswered>,
}

impl Sequences {
    pub(super) fn new() -> Self {
        Self {
            identity: Identity::Wanted { failures: 0 },
            next: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Whether a producer id has to be requested before a new batch is written.
    pub(super) fn wants_id(&self) -> bool {
        matches!(self.identity, Identity::Wanted { .. })
    }

    /// A producer id was given; its sequence numbers begin at 0.
    pub(super) fn given(&mut self, id: i64, epoch: i16) {
        self.identity = Identity::Given { id, epoch };
        self.next.clear();
    }

    /// A request for a producer id failed. Returns whether to give up.
    pub(super) fn failed(&mut self) -> bool {
        let Identity::Wanted { failures } = &mut self.identity else { return false };
        *failures = failures.saturating_add(1);
        *failures >= MOST_FAILURES
    }

    /// Batches are written without producer id from now on.
    pub(super) fn go_without(&mut self) {
        self.identity = Identity::None;
    }

    /// Another producer id is needed: the present one is refused, or it is not known which of its numbers were used.
    pub(super) fn renew(&mut self) {
        if let Identity::Given { .. } = self.identity {
            self.identity = Identity::Wanted { failures: 0 };
        }
    }

    /// The producer state of the next batch of a partition.
    pub(super) fn state(&self, partition: i32) -> ProducerState {
        match self.identity {
            Identity::Given { id, epoch } => {
                let base_sequence = self.next.get(&partition).copied().unwrap_or(0);
                ProducerState { id, epoch, base_sequence }
            }
            Identity::Wanted { .. } | Identity::None => ProducerState::NONE,
        }
    }

    /// A batch of `count` records is in the log.
    pub(super) fn acknowledged(&mut self, partition: i32, state: ProducerState, count: usize) {
        self.unanswered.remove(&partition);
        // A batch of a former id does not use up numbers of the present one.
        if self.identity == (Identity::Given { id: state.id, epoch: state.epoch }) {
            // Sequence numbers wrap around to 0.
            let next = (i64::from(state.base_sequence) + i64::try_from(count).unwrap_or(0)) % (1 << 31);
            self.next.insert(partition, i32::try_from(next).unwrap_or(0));
        }
    }

    /// Remembers a batch of which it is not known whether it is in the log.
    pub(super) fn keep<'a>(
        &mut self,
        partition: i32,
        records: impl Iterator<Item = &'a NewRecord<'a>>,
        written: Written,
    ) {
        let records = records.map(Owned::of).collect();
        self.unanswered.insert(partition, Unanswered { records, written });
    }

    /// The batches to send again unchanged before any new one: by partition, with the indexes of their records in the
    /// send. A batch that has lost its partition, or one of whose records is not in the send, is given up; its other
    /// records are sent in a new batch with another producer id.
    pub(super) fn resumed(
        &mut self,
        records: &[NewRecord<'_>],
        partitions: u32,
    ) -> Vec<(i32, Vec<usize>, Written)> {
        let mut taken = vec![false; records.len()];
        let (mut resumed, mut given_up) = (Vec::new(), Vec::new());
        for (partition, unanswered) in &self.unanswered {
            let is_there = u32::try_from(*partition).is_ok_and(|partition| partition < partitions);
            match places(&unanswered.records, records, &mut taken).filter(|_| is_there) {
                Some(places) => resumed.push((*partition, places, unanswered.written.clone())),
                None => given_up.push(*partition),
            }
        }
        for partition in given_up {
            self.give_up(partition);
        }
        resumed
    }

    /// Forgets the unanswered batch of this partition.
    pub(super) fn give_up(&mut self, partition: i32) {
        if self.unanswered.remove(&partition).is_some() {
            self.renew();
        }
    }
}

/// The indexes of these records in the send, which become `taken`; `None` unless all of them are there.
fn places(wanted: &[Owned], records: &[NewRecord<'_>], taken: &mut [bool]) -> Option<Vec<usize>> {
    let mut found: Vec<usize> = Vec::with_capacity(wanted.len());
    for one in wanted {
        // They are nearly always in their former order.
        let from = found.last().map_or(0, |last| last + 1);
        let is_it = |at: &usize| {
            records.get(*at).is_some_and(|record| one.is(record))
                && !taken.get(*at).copied().unwrap_or(true)
                && !found.contains(at)
        };
        let place = (from..records.len()).chain(0..from).find(is_it)?;
        found.push(place);
    }
    for place in &found {
        if let Some(taken) = taken.get_mut(*place) {
            *taken = true;
        }
    }
    Some(found)
}

impl Owned {
    fn of(record: &NewRecord<'_>) -> Self {
        let header =
            |header: &crate::record::Header<'_>| (header.name.to_vec(), header.value.map(<[u8]>::to_vec));
        Self {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(header).collect(),
        }
    }

    fn is(&self, record: &NewRecord<'_>) -> bool {
        let same = |(own, other): (&(Vec<u8>, Option<Vec<u8>>), &crate::record::Header<'_>)| {
            own.0 == other.name && own.1.as_deref() == other.value
        };
        self.timestamp == record.timestamp
            && self.key.as_deref() == record.key
            && self.value.as_deref() == record.value
            && self.headers.len() == record.headers.len()
            && self.headers.iter().zip(record.headers).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(timestamp: i64) -> NewRecord<'static> {
        NewRecord { timestamp, key: Some(b"k"), value: None, headers: &[] }
    }

    fn written(state: ProducerState) -> Written {
        Written { bytes: vec![1, 2, 3], state, in_doubt: true }
    }

    fn given(id: i64) -> Sequences {
        let mut sequences = Sequences::new();
        sequences.given(id, 0);
        sequences
    }

    #[test]
    fn each_partition_counts_for_itself_and_begins_again_behind_the_largest_number() {
        let mut sequences = given(7);
        for (count, next) in [(3, 3), (1, 4), (i32::MAX as usize - 4, i32::MAX), (2, 1)] {
            let state = sequences.state(5);
            sequences.acknowledged(5, state, count);
            assert_eq!(sequences.state(5), ProducerState { id: 7, epoch: 0, base_sequence: next });
        }
        assert_eq!(sequences.state(6).base_sequence, 0);
        sequences.given(8, 0);
        assert_eq!(sequences.state(5), ProducerState { id: 8, epoch: 0, base_sequence: 0 });
    }

    #[test]
    fn a_batch_in_doubt_is_sent_again_as_it_was_while_all_of_it_is_wanted() {
        let mut sequences = given(7);
        let state = sequences.state(0);
        sequences.keep(0, [record(1), record(2), record(1)].iter(), written(state));
        let wanted = [record(9), record(1), record(2), record(8), record(1)];
        for _ in 0..2 {
            let resumed = sequences.resumed(&wanted, 1);
            assert_eq!(resumed.len(), 1);
            assert_eq!((resumed[0].0, &resumed[0].1, resumed[0].2.state), (0, &vec![1, 2, 4], state));
        }
        sequences.acknowledged(0, state, 3);
        assert!(sequences.resumed(&wanted, 1).is_empty());
        assert_eq!(sequences.state(0).base_sequence, 3);
    }

    #[test]
    fn the_numbers_of_a_batch_that_is_given_up_are_never_used_again() {
        let kept = || {
            let mut sequences = given(7);
            let state = sequences.state(0);
            sequences.keep(0, [record(1), record(1)].iter(), written(state));
            sequences
        };
        // One is not wanted any more; then the partition is gone.
        for (wanted, partitions) in [(&[record(1), record(2)][..], 1), (&[record(1), record(1)], 0)] {
            let mut sequences = kept();
            assert!(sequences.resumed(wanted, partitions).is_empty());
            assert!(sequences.wants_id());
            assert_eq!(sequences.state(0), ProducerState::NONE, "nothing is numbered by the old id");
        }
        let mut sequences = kept();
        sequences.give_up(1);
        assert!(!sequences.wants_id(), "there was none in doubt");
        sequences.give_up(0);
        assert!(sequences.wants_id());
    }

    #[test]
    fn an_answer_to_a_batch_of_an_earlier_id_moves_no_number() {
        let mut sequences = given(7);
        let earlier = sequences.state(0);
        sequences.given(8, 0);
        sequences.acknowledged(0, earlier, 10);
        assert_eq!(sequences.state(0), ProducerState { id: 8, epoch: 0, base_sequence: 0 });
    }

    #[test]
    fn without_an_id_it_goes_on_after_some_failures() {
        let mut sequences = Sequences::new();
        let failures: Vec<bool> = (0..MOST_FAILURES).map(|_| sequences.failed()).collect();
        assert_eq!(failures.iter().position(|enough| *enough), Some(MOST_FAILURES as usize - 1));
        sequences.go_without();
        sequences.renew();
        assert!(!sequences.wants_id(), "who goes without an id needs no other");
        assert_eq!(sequences.state(0), ProducerState::NONE);
    }
}
