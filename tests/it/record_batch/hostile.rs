//! Bytes that are damaged, cut, or made to hurt: an error that says what and where, no panic, and no more memory than
//! the limit.

use crate::record_batch::golden::{names, segment};
use crate::record_batch::{Owned, read};
use crate::support::dice::Dice;
use sluicegate::kafka::record_batch::{
    BatchError, BatchWriter, Batches, Compression, MAX_UNPACKED, NewRecord, Unpacker, place,
};

/// What mutated batches may unpack to, in bytes.
const LIMIT: usize = 64 << 10;
/// Where a v2 batch says how many records it has.
const COUNT_AT: usize = 57;
/// Where its records begin.
const RECORDS_AT: usize = 61;

/// Reads everything there is, without a look at checksums, and holds the records against what their batch says.
fn read_unchecked(bytes: &[u8], unpacker: &mut Unpacker) -> Option<BatchError> {
    for batch in Batches::new(bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Some(error),
        };
        let _ = (batch.control(), batch.check_crc());
        let records = match batch.records(unpacker, 0, LIMIT) {
            Ok(records) => records,
            Err(error) => return Some(error),
        };
        let payload = records.payload().clone();
        assert!(batch.compression() == Compression::None || payload.len() <= LIMIT);
        let (mut previous, mut count) = (-1, 0);
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(error),
            };
            assert!(record.offset > previous && record.offset < batch.next_offset());
            let header_parts = record.headers.iter().flat_map(|h| [Some(&h.name), h.value.as_ref()]);
            let parts =
                [record.key.as_ref(), record.value.as_ref()].into_iter().chain(header_parts).flatten();
            for part in parts {
                assert!(part.start <= part.end && part.end as usize <= payload.len());
            }
            previous = record.offset;
            count += 1;
        }
        assert!(count <= batch.count() || batch.magic() < 2);
    }
    None
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    // Rather in a batch's records than in its header, which is soon refused.
    let at = match dice.below(4) {
        0 => dice.below(bytes.len()),
        _ => dice.below(bytes.len().saturating_sub(18)) + 18,
    };
    let at = at.min(bytes.len() - 1);
    match dice.below(7) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.next() as u8,
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
        3 => {
            let numbers = [0i32, -1, i32::MIN, i32::MAX, 1 << 16, 1 << 28];
            let number = numbers[dice.below(6)].to_be_bytes();
            bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
        }
        4 => {
            bytes.remove(at);
        }
        5 => bytes.insert(at, dice.next() as u8),
        _ => {
            let (from, len) = (dice.below(bytes.len()), dice.below(40));
            let piece: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
            bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = new);
        }
    }
}

/// Makes the first batch as long as the bytes are.
fn mend_length(bytes: &mut [u8]) {
    let length = (bytes.len() as i32 - 12).to_be_bytes();
    bytes.iter_mut().skip(8).zip(length).for_each(|(byte, new)| *byte = new);
}

/// First batches of all segments but the large ones, without the rest.
fn first_batches() -> Vec<Vec<u8>> {
    let small = names().into_iter().filter(|name| !name.contains("big"));
    small.map(|name| Batches::new(&segment(&name)).next().unwrap().unwrap().bytes().to_vec()).collect()
}

/// `SLUICEGATE_MUTATIONS` says how many; 200,000 if nobody does.
#[test]
fn no_mutation_of_a_batch_panics_or_leaves_its_bounds() {
    let mutations = std::env::var("SLUICEGATE_MUTATIONS").map_or(200_000, |number| number.parse().unwrap());
    let (batches, mut unpacker) = (first_batches(), Unpacker::new());
    let mut dice = Dice::seeded(0x51_1ce9a7e);
    let (mut refused, mut read) = (0, 0);
    for round in 0..mutations {
        let mut bytes = batches[round % batches.len()].clone();
        for _ in 0..=dice.below(3) {
            mutate(&mut bytes, &mut dice);
        }
        if dice.below(8) > 0 {
            mend_length(&mut bytes);
        }
        match read_unchecked(&bytes, &mut unpacker) {
            Some(error) => {
                assert!(error.to_string().contains("at offset"));
                refused += 1;
            }
            None => read += 1,
        }
    }
    println!("{mutations} mutations: {refused} refused, {read} read");
    assert!(refused > mutations / 4 && read > mutations / 100, "{refused} refused, {read} read");
}

#[test]
fn a_batch_cut_at_any_byte_is_dropped_and_one_that_lacks_bytes_is_refused() {
    let mut unpacker = Unpacker::new();
    for whole in first_batches() {
        for cut in 0..whole.len() {
            assert!(Batches::new(&whole[..cut]).next().is_none());
            let mut short = whole[..cut].to_vec();
            mend_length(&mut short);
            if short.len() >= 12 {
                assert!(read_unchecked(&short, &mut unpacker).is_some(), "{cut} of {}", whole.len());
            }
        }
    }
}

#[test]
fn damage_is_told_by_the_checksum() {
    for name in names().into_iter().filter(|name| name.ends_with("lz4") || name.ends_with("none")) {
        let bytes = segment(&name);
        let base = Batches::new(&bytes).next().unwrap().unwrap().bytes().len();
        for at in (18..base).step_by(7) {
            let mut damaged = bytes[..base].to_vec();
            damaged[at] ^= 0x10;
            let Some(Ok(batch)) = Batches::new(&damaged).next() else { continue };
            let error = batch.check_crc().unwrap_err();
            assert!(matches!(
                error,
                BatchError::Checksum { base_offset: 0, .. } | BatchError::Checksum { .. }
            ));
            assert!(error.to_string().contains("is damaged"), "{error}");
        }
    }
}

/// A v2 batch of one record, at offset 42.
fn batch_of(compression: Compression, value: &[u8]) -> Vec<u8> {
    let mut writer = BatchWriter::new(compression);
    writer.push(&NewRecord { timestamp: 0, key: None, value: Some(value), headers: &[] });
    let mut bytes = writer.finish().unwrap();
    place(&mut bytes, 42, 0);
    bytes
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let plain = vec![0; 16 << 20];
    for compression in &Compression::ALL[1..] {
        let bomb = batch_of(*compression, &plain);
        assert!(bomb.len() < 1 << 20);
        let (found, error) = read(&bomb, 0, 1 << 20);
        assert!(found.is_empty());
        let error = error.unwrap();
        assert!(matches!(error, BatchError::TooLarge { base_offset: 42, limit: 1_048_576, .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("the record batch at offset 42 ({compression}) unpacks to more than 1048576 bytes")
        );
        assert_eq!(read(&bomb, 0, 17 << 20).0, [Owned::value(42, 0, &plain)]);
    }
}

/// Both sides of the edge, where an off-by-one would be.
#[test]
fn the_limit_is_the_last_size_that_is_read() {
    for compression in &Compression::ALL[1..] {
        for size in [0usize, 100, 4_000, 70_000, 300_000] {
            let plain: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let unpacked = batch_of(Compression::None, &plain).len() - RECORDS_AT;
            let bytes = batch_of(*compression, &plain);
            assert_eq!(read(&bytes, 0, unpacked).0.len(), 1, "{compression} {size}");
            let error = read(&bytes, 0, unpacked - 1).1.unwrap();
            assert!(matches!(error, BatchError::TooLarge { .. }), "{compression} {size}: {error}");
        }
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated_for_them() {
    let sizes = |bytes: Vec<u8>| read_unchecked(&bytes, &mut Unpacker::new()).unwrap().to_string();
    let mut many = batch_of(Compression::None, b"x");
    many[COUNT_AT..COUNT_AT + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(sizes(many.clone()).ends_with("it counts more records than it holds"));
    many[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(-1i32).to_be_bytes());
    assert!(sizes(many).ends_with("its count of records is negative"));
    // Snappy that says it has 4 GiB.
    let mut snappy = batch_of(Compression::Snappy, b"x");
    snappy.splice(RECORDS_AT..RECORDS_AT + 1, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    mend_length(&mut snappy);
    assert!(sizes(snappy).contains("unpacks to more than"));
    // zstd with a window of 1 GiB.
    let mut zstd = batch_of(Compression::Zstd, b"x");
    zstd[RECORDS_AT + 5] = 20 << 3;
    assert!(sizes(zstd).contains("can't be unpacked (zstd)"));
    // A record with 2^31-1 headers: the count is its last byte.
    let mut headers = batch_of(Compression::None, b"x");
    headers.pop();
    headers.extend([0xfe, 0xff, 0xff, 0xff, 0x0f]);
    headers[RECORDS_AT] += 4 << 1;
    mend_length(&mut headers);
    assert!(sizes(headers).ends_with("the parts of a record don't fit into it"));
}

#[test]
fn says_what_it_does_not_know() {
    let mut bytes = batch_of(Compression::None, b"x");
    bytes[22] = 7;
    let error = Batches::new(&bytes).next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record batch at offset 42 is compressed in a way that is not known (number 7)"
    );
    bytes[16] = 3;
    let mut batches = Batches::new(&bytes);
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the record batch at offset 42 has format 3; known are 0 to 2");
    assert!(batches.next().is_none());
}

#[test]
fn an_unpacker_that_failed_still_reads_the_next_batch() {
    let mut unpacker = Unpacker::new();
    for compression in &Compression::ALL[1..] {
        let good = batch_of(*compression, &[b'x'; 5000]);
        let mut bad = good.clone();
        bad.truncate(good.len() - 3);
        mend_length(&mut bad);
        for _ in 0..3 {
            assert!(read_unchecked(&bad, &mut unpacker).is_some(), "{compression}");
            assert!(read_unchecked(&good, &mut unpacker).is_none(), "{compression}");
            assert_eq!(read(&good, 0, MAX_UNPACKED).0.len(), 1);
        }
    }
}
