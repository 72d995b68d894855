//! What a record costs from the bytes of a fetch to a [`Record`](sluicegate::record::Record), its checksum and
//! its end included. A test run does it a few times, to see that it works; for figures:
//! `SLUICEGATE_BENCH=2000 cargo test --release --all-features --test record_batch cost -- --nocapture`

use sluicegate::kafka::record_batch::{BatchWriter, Batches, Compression, MAX_UNPACKED, NewRecord, Unpacker};
use sluicegate::record::Partition;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a batch has before it is compressed, about.
const BATCH: usize = 100_000;

/// An event as services write them, of `size` bytes: names that repeat, numbers that don't.
fn event(number: usize, size: usize) -> Vec<u8> {
    let mut mixed = number as u64;
    let mut text = String::new();
    while text.len() < size {
        mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9);
        text +=
            &format!("{{\"order\":{number},\"item\":\"{:08x}\",\"amount\":{}}},", mixed as u32, mixed >> 52);
    }
    text.truncate(size);
    text.into_bytes()
}

fn batch(size: usize, compression: Compression) -> (Vec<u8>, usize) {
    let mut writer = BatchWriter::new(compression);
    for number in 0..BATCH / size {
        let value = event(number, size);
        let timestamp = 1_700_000_000_000 + number as i64 / 10;
        writer.push(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
    }
    (writer.finish().unwrap(), writer.count())
}

/// Reads the batch once.
fn read(bytes: &[u8], partition: &Partition, unpacker: &mut Unpacker) -> usize {
    let mut count = 0;
    for batch in Batches::new(bytes) {
        let batch = batch.unwrap();
        batch.check_crc().unwrap();
        let records = batch.records(unpacker, 0, MAX_UNPACKED).unwrap();
        let payload = records.payload().clone();
        for record in records {
            black_box(record.unwrap().within(&payload, partition));
            count += 1;
        }
    }
    count
}

#[test]
fn what_a_record_costs() {
    let rounds: usize = std::env::var("SLUICEGATE_BENCH").map_or(2, |rounds| rounds.parse().unwrap());
    let (partition, mut unpacker) = (Partition::new("topic", 0), Unpacker::new());
    println!("| codec | record | packed | ns a record | MB/s |\n|---|---|---|---|---|");
    for size in [100, 1_000] {
        for compression in Compression::ALL {
            let (bytes, count) = batch(size, compression);
            let mut best = Duration::MAX;
            for _ in 0..rounds {
                let began = Instant::now();
                assert_eq!(read(black_box(&bytes), &partition, &mut unpacker), count);
                best = best.min(began.elapsed());
            }
            let packed = bytes.len() as f64 / (count * size) as f64;
            let nanoseconds = best.as_nanos() as f64 / count as f64;
            let speed = size as f64 * 1e3 / nanoseconds;
            println!("| {compression} | {size} B | {packed:.2} | {nanoseconds:.1} | {speed:.0} |");
        }
    }
}
