//! Log segments that real brokers wrote: their content is batches, one behind the other.
//!
//! `golden/NAME.log` is the segment of a topic, `golden/offsets.txt` says which offsets and timestamps `kcat` read
//! from it; -1 stands for the timestamp that v0 lacks. What was said is the same everywhere, [`spoken`] or [`long`].
//!
//! | name | written by |
//! |---|---|
//! | `kcat-CODEC`, `kcat-big-CODEC` | librdkafka, `kcat -z CODEC -H a=1 -H a=2 -H empty= -H none`, broker 4.3.1 |
//! | `java-CODEC`, `java-big-CODEC` | `ConsoleProducer --compression-codec CODEC` of 4.3.1 |
//! | `append-time` | as `kcat-lz4`, `message.timestamp.type=LogAppendTime` |
//! | `compacted`, `v0-compacted`, `v1-compacted` | three produces under `cleanup.policy=compact`, two cleaned |
//! | `transactions` | two transactional Java producers and a third without, interleaved; `.txnindex` is the broker's |
//! | `v0-CODEC`, `v1-CODEC`, `v1-append-time` | broker 2.8.2, `message.format.version` 0.9.0 or 0.10.0 |

use crate::record_batch::{Owned, read, sound};
use sluicegate::kafka::record_batch::transactions::{Aborted, Judgement, Transactions};
use sluicegate::kafka::record_batch::{Batches, Compression, MAX_UNPACKED, TimestampType, Unpacker};
use std::path::Path;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/record_batch/golden");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn segment(name: &str) -> Vec<u8> {
    file(&format!("{name}.log"))
}

/// The offsets and timestamps that `kcat` read.
fn offsets(name: &str) -> Vec<(i64, i64)> {
    let text = String::from_utf8(file("offsets.txt")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split_once(' '));
    lines.map(|(offset, timestamp)| (offset.parse().unwrap(), timestamp.parse().unwrap())).collect()
}

/// Every segment there is.
pub fn names() -> Vec<String> {
    let text = String::from_utf8(file("offsets.txt")).unwrap();
    let mut names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    names.dedup();
    names
}

type Said = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The key and the value of the record `i` of 40.
fn spoken(i: usize) -> Said {
    let key = (i % 5 != 4).then(|| format!("key-{}", i % 5).into_bytes());
    let value = match i {
        20 => format!("a long one: {}", "lorem ipsum dolor sit amet ".repeat(150)),
        _ => format!("record {i} says it again {}", "and again ".repeat(i % 4)),
    };
    (key, (i % 11 != 7).then(|| value.into_bytes()))
}

/// The one record that needs more than one block in snappy and lz4.
fn long() -> Said {
    (Some(b"k".to_vec()), Some("the same words once more, ".repeat(4600).into_bytes()))
}

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn no_headers(_: usize) -> Headers {
    Vec::new()
}

fn kcat_headers(_: usize) -> Headers {
    let header = |name: &str, value: Option<&str>| (name.into(), value.map(Into::into));
    vec![header("a", Some("1")), header("a", Some("2")), header("empty", Some("")), header("none", None)]
}

fn java_headers(i: usize) -> Headers {
    match i % 3 {
        0 => kcat_headers(i),
        _ => vec![(b"h".to_vec(), Some(i.to_string().into_bytes()))],
    }
}

fn expected(name: &str, said: impl Fn(usize) -> Said, headers: fn(usize) -> Headers) -> Vec<Owned> {
    let offsets = offsets(name);
    assert!(!offsets.is_empty(), "no offsets of {name}");
    offsets
        .into_iter()
        .map(|(offset, timestamp)| {
            let (key, value) = said(offset as usize);
            Owned { offset, timestamp, key, value, headers: headers(offset as usize) }
        })
        .collect()
}

fn compression(name: &str) -> Compression {
    Compression::ALL.into_iter().find(|compression| name.ends_with(compression.name())).unwrap()
}

#[test]
fn reads_what_librdkafka_wrote() {
    for codec in CODECS {
        let name = format!("kcat-{codec}");
        assert_eq!(sound(&segment(&name)), expected(&name, spoken, kcat_headers), "{name}");
    }
}

#[test]
fn reads_what_java_wrote() {
    for codec in CODECS {
        let name = format!("java-{codec}");
        assert_eq!(sound(&segment(&name)), expected(&name, spoken, java_headers), "{name}");
    }
}

#[test]
fn reads_batches_of_many_blocks() {
    for name in
        CODECS[1..].iter().flat_map(|codec| [format!("kcat-big-{codec}"), format!("java-big-{codec}")])
    {
        let bytes = segment(&name);
        let found = sound(&bytes);
        let said: Vec<Said> = found.into_iter().map(|record| (record.key, record.value)).collect();
        assert_eq!(said, [long()], "{name}");
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        assert_eq!(batch.compression(), compression(&name), "{name}");
    }
}

/// Or else reading both proves nothing.
#[test]
fn librdkafka_and_java_frame_snappy_in_different_ways() {
    let framed = |name| segment(name).windows(8).any(|window| window == b"\x82SNAPPY\0");
    assert!(framed("java-snappy") && !framed("kcat-snappy"));
}

#[test]
fn reads_message_sets_of_v0_and_v1() {
    for (magic, name) in
        CODECS[..4].iter().flat_map(|codec| [(0, format!("v0-{codec}")), (1, format!("v1-{codec}"))])
    {
        let bytes = segment(&name);
        assert_eq!(sound(&bytes), expected(&name, spoken, no_headers), "{name}");
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            assert_eq!((batch.magic(), batch.compression()), (magic, compression(&name)), "{name}");
        }
        let mut later = expected(&name, spoken, no_headers);
        later.retain(|record| record.offset >= 17);
        assert_eq!(read(&bytes, 17, MAX_UNPACKED).0, later, "{name}");
    }
}

#[test]
fn takes_the_time_of_the_append_where_the_topic_says_so() {
    assert_eq!(sound(&segment("append-time")), expected("append-time", spoken, no_headers));
    assert_eq!(sound(&segment("v1-append-time")), expected("v1-append-time", spoken, no_headers));
    for name in ["append-time", "v1-append-time"] {
        let bytes = segment(name);
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    }
}

#[test]
fn reads_what_compaction_left() {
    // What had no key was not there, so the 32 records are others than elsewhere.
    let keyed: Vec<usize> = (0..40).filter(|i| i % 5 != 4).collect();
    let said = |offset: usize| match offset {
        32 => (Some(b"key-0".to_vec()), Some(b"newest of 0".to_vec())),
        33 => (Some(b"key-1".to_vec()), Some(b"newest of 1".to_vec())),
        34 => (Some(b"key-1".to_vec()), Some(b"newest still of 1".to_vec())),
        _ => spoken(keyed[offset]),
    };
    for name in ["compacted", "v0-compacted", "v1-compacted"] {
        assert_eq!(sound(&segment(name)), expected(name, said, no_headers), "{name}");
    }
    let bytes = segment("compacted");
    let ends: Vec<_> = Batches::new(&bytes).map(|batch| batch.unwrap()).collect();
    let ends: Vec<_> = ends.iter().map(|b| (b.base_offset(), b.next_offset(), b.count())).collect();
    assert_eq!(ends, [(0, 32, 2), (32, 34, 2), (34, 35, 1)]);
}

/// The transactions that the broker's own index says are aborted and that reach into the log from `from` on.
fn aborted(from: i64) -> Vec<Aborted> {
    let index = file("transactions.txnindex");
    let entries = index.chunks_exact(34).map(|entry| {
        let [producer_id, first_offset, last_offset, _] =
            [2, 10, 18, 26].map(|at| i64::from_be_bytes(entry[at..at + 8].try_into().unwrap()));
        (last_offset, Aborted { first_offset, producer_id })
    });
    entries.filter(|(last_offset, _)| *last_offset >= from).map(|(_, aborted)| aborted).collect()
}

#[test]
fn delivers_what_was_committed_and_nothing_else_from_any_offset() {
    let bytes = segment("transactions");
    let committed = offsets("transactions");
    for from in 0..=committed.last().unwrap().0 {
        let mut transactions = Transactions::new(aborted(from));
        let (mut delivered, mut unpacker) = (Vec::new(), Unpacker::new());
        for batch in Batches::new(&bytes).map(|batch| batch.unwrap()).filter(|b| b.next_offset() > from) {
            if transactions.judge(&batch).unwrap() == Judgement::Deliver {
                let records = batch.records(&mut unpacker, from, MAX_UNPACKED).unwrap();
                delivered.extend(records.map(|record| record.unwrap()).map(|r| (r.offset, r.timestamp)));
            }
        }
        let expected: Vec<_> = committed.iter().copied().filter(|(offset, _)| *offset >= from).collect();
        assert_eq!(delivered, expected, "from {from}");
    }
}

#[test]
fn every_batch_of_every_segment_has_the_checksum_it_says() {
    for name in names() {
        let bytes = segment(&name);
        for batch in Batches::new(&bytes) {
            batch.unwrap().check_crc().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
