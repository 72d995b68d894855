//! Batches: which records go into which one, and their encoding.

use super::ProducerError;
use super::sequences::Written;
use crate::kafka::record_batch::{BatchWriter, Compression, NewRecord, ProducerState};

/// The maximum size of a batch in bytes; a single record may exceed it. Brokers accept 1 MiB by default.
pub const BATCH_BYTES: usize = 512 << 10;
/// The overhead of a record in a batch: at most this many bytes for its lengths. A quarter of that for a header's.
const RECORD_OVERHEAD: usize = 40;
/// The seed of Kafka's murmur2.
const MURMUR_SEED: u32 = 0x9747_b28c;

/// A batch for one partition, with the indexes of its records in the send.
pub(super) struct Batch {
    pub(super) partition: i32,
    pub(super) records: Vec<usize>,
    pub(super) compression: Compression,
    /// Its encoding, once it has been sent.
    pub(super) written: Option<Written>,
    /// How many new producer ids it got.
    pub(super) renewals: u8,
}

impl Batch {
    pub(super) fn new(partition: i32, records: Vec<usize>, compression: Compression) -> Self {
        Self { partition, records, compression, written: None, renewals: 0 }
    }
}

/// The batch in smaller parts: split, or compressed if it is a single record. `None` if it can't be smaller.
pub(super) fn smaller(batch: Batch) -> Option<Vec<Batch>> {
    let Batch { partition, records, compression, .. } = batch;
    match (records.len(), compression) {
        (..=1, Compression::None) => {
            // The record may have been compressed in its original topic too.
            Some(vec![Batch::new(partition, records, Compression::Gzip)])
        }
        (..=1, _) => None,
        (count, _) => {
            let (first, second) = records.split_at(count / 2);
            let part = |part: &[usize]| Batch::new(partition, part.to_vec(), compression);
            Some(vec![part(first), part(second)])
        }
    }
}

/// The maximum size of a record in a batch, in bytes.
fn weight(record: &NewRecord<'_>) -> usize {
    let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers =
        record.headers.iter().map(|h| RECORD_OVERHEAD / 4 + h.name.len() + part(h.value)).sum::<usize>();
    RECORD_OVERHEAD + part(record.key) + part(record.value) + headers
}

/// Splits the records with these indexes so that each part fits into a batch, or is a single record.
pub(super) fn split(places: &[usize], records: &[NewRecord<'_>]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for at in places {
        let weight = records.get(*at).map_or(0, weight);
        match parts.last_mut().filter(|_| weight <= room) {
            Some(part) => part.push(*at),
            None => {
                parts.push(vec![*at]);
                room = BATCH_BYTES;
            }
        }
        room = room.saturating_sub(weight);
    }
    parts
}

pub(super) fn written(
    batch: &Batch,
    records: &[NewRecord<'_>],
    state: ProducerState,
) -> Result<Vec<u8>, ProducerError> {
    let mut writer = BatchWriter::new(batch.compression).producer(state);
    batch.records.iter().filter_map(|at| records.get(*at)).for_each(|record| writer.push(record));
    writer.finish().map_err(ProducerError::Unwritable)
}

/// The hash of Java's default partitioner (murmur2, 32 bits), so that a key of a dead letter goes to the same partition
/// as in its original topic, if both have as many partitions.
pub(super) fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // The length of a key fits into 32 bits in Kafka's protocol.
    let mut hash = MURMUR_SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (place, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_keys_as_java_does() {
        // Values of Kafka's own Utils.murmur2, as its unit test has them.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn closes_a_batch_before_it_grows_too_large() {
        let record = |value| NewRecord { timestamp: 0, key: None, value: Some(value), headers: &[] };
        let (large, small) = (vec![b'x'; 2 * BATCH_BYTES], vec![b'x'; BATCH_BYTES / 3]);
        let records = [&small, &small, &large, &small, &small, &small, &small].map(|value| record(value));
        let places: Vec<usize> = (0..records.len()).collect();
        assert_eq!(split(&places, &records), [vec![0, 1], vec![2], vec![3, 4], vec![5, 6]]);
        for part in split(&places, &records).iter().filter(|part| part.len() > 1) {
            let batch = Batch::new(0, part.clone(), Compression::None);
            assert!(written(&batch, &records, ProducerState::NONE).unwrap().len() <= BATCH_BYTES + 100);
        }
        assert!(split(&[], &records).is_empty());
    }
}
