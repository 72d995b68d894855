//! What our client makes of positions and bytes that can't be trusted.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, config, sandbox, write};
use sluicegate::kafka::config::{Share, Start};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord};
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::record::Partition;

/// Where the CRC of a v2 batch stands, and where what it covers begins.
const CRC: usize = 17;
const COVERED: usize = 21;
/// Where its first record begins.
const RECORDS: usize = 61;

/// A batch of three records whose checksum is right, and whose first record says to be longer than all of it.
fn unreadable() -> Vec<u8> {
    let mut writer = BatchWriter::new(Compression::None);
    for _ in 0..3 {
        writer.push(&NewRecord { timestamp: 1, key: None, value: Some(b"value"), headers: &[] });
    }
    let mut batch = writer.finish().unwrap();
    batch[RECORDS] = 0x7e;
    let crc = crc32c::crc32c(&batch[COVERED..]);
    batch[CRC..COVERED].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn nothing_behind_a_batch_that_cannot_be_taken_apart_is_handed_over() {
    let sandbox = sandbox(1);
    write(&sandbox, 1);
    sandbox.append(TOPIC, 0, &unreadable()).unwrap();
    write(&sandbox, 5);
    let mut reader = Reader::open(&sandbox, config(Share::Fixed(None)));
    reader.until("the other partitions", |reader| {
        (1..4).all(|n| reader.seen.get(&Partition::new(TOPIC, n)).is_some_and(|seen| seen.len() == 18))
            && reader.was_told("nothing more is read of this partition")
    });
    assert_eq!(reader.seen[&Partition::new(TOPIC, 0)], [0, 1, 2]);
    assert!(sandbox.committed(GROUP)[&Partition::new(TOPIC, 0)] <= 3);
}

#[test]
fn latest_is_committed_before_anything_is_done() {
    let sandbox = sandbox(1);
    write(&sandbox, 2);
    let mut reader = Reader::open(&sandbox, config_from(Start::Latest));
    reader.until("a position", |_| sandbox.committed(GROUP).len() == 4);
    assert!(sandbox.committed(GROUP).values().all(|next| *next == 6));
    drop(reader);
    // What comes while nobody reads is not skipped by the next one.
    write(&sandbox, 1);
    let mut reader = Reader::open(&sandbox, config_from(Start::Latest));
    reader.until("what came between", |reader| {
        reader.seen.values().all(|seen| seen == &[6, 7, 8]) && reader.seen.len() == 4
    });
}

fn config_from(start: Start) -> sluicegate::kafka::config::Config {
    sluicegate::kafka::config::Config { start, ..config(Share::Fixed(None)) }
}

#[test]
fn partitions_by_hand_are_not_committed_for_a_group_with_members() {
    let sandbox = sandbox(1);
    write(&sandbox, 1);
    let mut reader = Reader::open(&sandbox, config(Share::Fixed(None)));
    sandbox.faults().inject(ApiKey::OffsetCommit, Fault::Error(ErrorCode::UNKNOWN_MEMBER_ID), 1);
    let refused = reader.fails("a commit");
    assert!(refused.contains("--group"), "{refused:?}");
}

/// The broker takes its time to say that the note is too long, and meanwhile the topic is made anew: what is tried
/// again without it is no longer ours to commit.
#[test]
fn a_commit_that_is_tried_again_is_not_committed_into_another_topic() {
    use sluicegate::record::Checkpoint;
    use sluicegate::relay::source::{PollLimit, Polled, Source};
    use std::time::Duration;
    let sandbox = sandbox(1);
    write(&sandbox, 5);
    let Reader { mut consumer, .. } = Reader::open(&sandbox, config(Share::Fixed(None)));
    let mut committer = consumer.committer();
    let want = PollLimit { records: 100, bytes: 1 << 20 };
    let (mut begun, mut count) = (Vec::new(), 0);
    while count < 60 {
        match consumer.poll(want, Duration::from_millis(50)).unwrap() {
            Polled::Assigned(new) => {
                let new: Vec<Checkpoint> = new.into_iter().map(|one| one.checkpoint).collect();
                committer.commit(&new).unwrap();
                begun.extend(new);
            }
            Polled::Records(records) => count += records.len(),
            _ => {}
        }
    }
    for one in &mut begun {
        one.position.next.0 = 15;
        one.metadata = "x".repeat(5_000);
    }
    sandbox.faults().inject(ApiKey::OffsetCommit, Fault::Slow(Duration::from_millis(400)), 1);
    let asked = std::thread::spawn(move || committer.commit(&begun));
    crate::support::eventually("it is on its way", || sandbox.faults().left(ApiKey::OffsetCommit) == 0);
    sandbox.delete(TOPIC).unwrap();
    sandbox.create(TOPIC, 4).unwrap();
    write(&sandbox, 20);
    let _ = asked.join().unwrap();
    assert!(sandbox.committed(GROUP).values().all(|next| *next != 15), "{:?}", sandbox.committed(GROUP));
}
