//! What is written is read.

use crate::record_batch::{Owned, read, sound};
use proptest::prelude::*;
use sluicegate::kafka::record_batch::{
    BatchWriter, Batches, Compression, MAX_UNPACKED, TimestampType, Unpacker, place,
};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..9_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..4);
    (prop_oneof![any::<i64>(), 0..1i64 << 41], prop::option::of(bytes()), prop::option::of(bytes()), headers)
        .prop_map(|(timestamp, key, value, headers)| Owned { offset: 0, timestamp, key, value, headers })
}

/// Records and the holes before them.
fn records() -> impl Strategy<Value = Vec<(u8, Owned)>> {
    prop::collection::vec((prop_oneof![4 => Just(0u8), 1 => 1..4u8], record()), 0..20)
}

/// A batch of these, and its records as they should come back.
fn written(records: &[(u8, Owned)], base: i64, compression: Compression) -> (Vec<u8>, Vec<Owned>) {
    let mut writer = BatchWriter::new(compression);
    let (mut expected, mut offset) = (Vec::new(), base);
    for (hole, record) in records {
        for _ in 0..*hole {
            writer.skip();
        }
        record.push_to(&mut writer);
        offset += i64::from(*hole);
        expected.push(Owned { offset, ..record.clone() });
        offset += 1;
    }
    let mut bytes = writer.finish().unwrap();
    assert!(place(&mut bytes, base, 7));
    (bytes, expected)
}

proptest! {
    #[test]
    fn every_record_comes_back_in_every_compression(records in records(), base in 0..1i64 << 60) {
        for compression in Compression::ALL {
            let (bytes, expected) = written(&records, base, compression);
            prop_assert_eq!(sound(&bytes), expected);
        }
    }

    #[test]
    fn a_fetch_from_the_middle_begins_where_it_was_asked_to(records in records(), from in 0..60i64) {
        for compression in Compression::ALL {
            let (bytes, mut expected) = written(&records, 10, compression);
            expected.retain(|record| record.offset >= from);
            let (found, error) = read(&bytes, from, MAX_UNPACKED);
            prop_assert!(error.is_none());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_piece_of_a_batch_at_the_end_is_dropped(records in records(), piece in 0.0..1.0f64) {
        let (mut bytes, expected) = written(&records, 0, Compression::Lz4);
        let (next, _) = written(&records, 100, Compression::None);
        bytes.extend(&next[..(next.len() as f64 * piece) as usize]);
        prop_assert_eq!(sound(&bytes), expected);
        prop_assert_eq!(Batches::new(&bytes).first_length_wanted(), None);
    }
}

#[test]
fn says_how_large_a_batch_is_that_the_fetch_cut() {
    let record = Owned::value(0, 0, &[b'x'; 1000]);
    let (bytes, _) = written(&[(0, record)], 0, Compression::None);
    assert_eq!(Batches::new(&bytes).first_length_wanted(), None);
    assert_eq!(Batches::new(&[]).first_length_wanted(), None);
    assert_eq!(Batches::new(&bytes[..11]).first_length_wanted(), Some(12));
    for cut in 12..bytes.len() {
        assert_eq!(Batches::new(&bytes[..cut]).first_length_wanted(), Some(bytes.len()));
        assert!(Batches::new(&bytes[..cut]).next().is_none());
    }
}

#[test]
fn goes_on_behind_the_last_offset_also_where_it_was_compacted_away() {
    let mut writer = BatchWriter::new(Compression::Gzip);
    for _ in 0..5 {
        writer.skip();
    }
    let mut bytes = writer.finish().unwrap();
    place(&mut bytes, 40, 0);
    let batch = Batches::new(&bytes).next().unwrap().unwrap();
    assert_eq!(
        (batch.base_offset(), batch.last_offset(), batch.next_offset(), batch.count()),
        (40, 44, 45, 0)
    );
    assert_eq!(batch.records(&mut Unpacker::new(), 0, 0).unwrap().count(), 0);
}

#[test]
fn gives_all_records_the_time_at_which_the_broker_appended_them() {
    let mut writer = BatchWriter::new(Compression::None).timestamp_type(TimestampType::LogAppendTime);
    for timestamp in [5, 9, 7] {
        Owned::value(0, timestamp, b"x").push_to(&mut writer);
    }
    let bytes = writer.finish().unwrap();
    let batch = Batches::new(&bytes).next().unwrap().unwrap();
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(sound(&bytes).iter().map(|record| record.timestamp).collect::<Vec<_>>(), [9, 9, 9]);
}
