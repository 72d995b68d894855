//! One partition's trouble is told, and is its own: the others go on.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, config, sandbox, write};
use sluicegate::kafka::config::{Config, Share};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord};
use sluicegate::kafka::sandbox::faults::Fault;
use sluicegate::record::Partition;
use sluicegate::relay::source::Source;
use std::time::Duration;

/// Longer than a trouble takes to be told.
const LASTING: Duration = Duration::from_secs(600);

fn partition(number: i32) -> Partition {
    Partition::new(TOPIC, number)
}

fn fixed() -> Config {
    config(Share::Fixed(None))
}

/// Everything of these partitions, of which `count` records each were written.
fn has_all(reader: &Reader, numbers: &[i32], count: usize) -> bool {
    numbers.iter().all(|n| reader.seen.get(&partition(*n)).is_some_and(|seen| seen.len() == count))
}

#[test]
fn an_error_that_lasts_is_told_with_partition_and_code_while_the_others_go_on() {
    let sandbox = sandbox(1);
    let lasting = [ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode(109)];
    for (number, code) in (0..).zip(lasting) {
        sandbox.faults().fail(ApiKey::Fetch, partition(number), code, LASTING);
    }
    write(&sandbox, 4);
    let mut reader = Reader::open(&sandbox, fixed());
    reader.until("the one without trouble", |reader| has_all(reader, &[3], 12));
    for (number, code) in (0..).zip(lasting) {
        let named = [format!("orders-{number}"), code.to_string()];
        let is_it = |notice: &String| named.iter().all(|word| notice.contains(word.as_str()));
        reader.until("its line", |reader| reader.notices.iter().any(is_it));
    }
    assert_eq!(reader.consumer.stalled(), 3);
    sandbox.faults().clear();
    reader.until("all of it", |reader| has_all(reader, &[0, 1, 2, 3], 12));
    reader.until("the good news", |reader| reader.was_told("reading orders-0"));
    assert_eq!(reader.consumer.stalled(), 0);
}

#[test]
fn questions_about_one_partition_keep_no_other_waiting() {
    for api in [ApiKey::OffsetFetch, ApiKey::ListOffsets] {
        let sandbox = sandbox(1);
        sandbox.faults().fail(api, partition(1), ErrorCode::UNKNOWN_SERVER_ERROR, LASTING);
        write(&sandbox, 4);
        let mut reader = Reader::open(&sandbox, fixed());
        reader.until("the others", |reader| has_all(reader, &[0, 2, 3], 12));
        reader.until("its line", |reader| reader.was_told("orders-1"));
        sandbox.faults().clear();
        reader.until("all of it", |reader| has_all(reader, &[0, 1, 2, 3], 12));
    }
}

#[test]
fn a_partition_without_a_leader_keeps_no_other_waiting() {
    let sandbox = sandbox(1);
    write(&sandbox, 4);
    sandbox.faults().without_leader(&partition(1));
    let mut reader = Reader::member(&sandbox);
    reader.until("the others", |reader| has_all(reader, &[0, 2, 3], 12));
    reader.until("its line", |reader| reader.was_told("it has no leader"));
    sandbox.faults().move_leader(&partition(1), 1);
    reader.until("all of it", |reader| has_all(reader, &[0, 1, 2, 3], 12));
}

#[test]
fn a_topic_that_may_not_be_read_is_tried_again_while_others_go_on_and_ends_the_run_alone() {
    let sandbox = sandbox(1);
    sandbox.create("secret", 1).unwrap();
    write(&sandbox, 4);
    let secret = Partition::new("secret", 0);
    sandbox.faults().fail(ApiKey::Fetch, secret.clone(), ErrorCode::TOPIC_AUTHORIZATION_FAILED, LASTING);
    let both = Config { topics: vec![TOPIC.into(), "secret".into()], ..fixed() };
    let mut reader = Reader::open(&sandbox, both);
    reader.until("the other topic", |reader| has_all(reader, &[0, 1, 2, 3], 12));
    reader.until("its line", |reader| reader.was_told("secret-0"));
    sandbox.faults().clear();
    reader.until("the good news", |reader| reader.was_told("reading secret-0 again"));
    drop(reader);

    sandbox.faults().fail(ApiKey::Fetch, secret, ErrorCode::TOPIC_AUTHORIZATION_FAILED, LASTING);
    let alone = Config { topics: vec!["secret".into()], ..fixed() };
    let text = Reader::open(&sandbox, alone).fails("nothing to read");
    assert!(text.contains("nothing is left that can be read") && text.contains("secret-0"), "{text}");
}

#[test]
fn a_batch_that_is_too_large_is_not_called_corrupt_and_is_read_with_a_larger_limit() {
    let sandbox = sandbox(1);
    write(&sandbox, 1);
    let mut writer = BatchWriter::new(Compression::Zstd);
    writer.push(&NewRecord { timestamp: 1, key: None, value: Some(&[b'3'; 1 << 20]), headers: &[] });
    sandbox.append(TOPIC, 1, &writer.finish().unwrap()).unwrap();
    let small = Config { largest_batch: 1 << 19, ..fixed() };
    let mut reader = Reader::open(&sandbox, small);
    reader.until("its line", |reader| reader.was_told("--max-batch-bytes"));
    reader.until("the others", |reader| has_all(reader, &[0, 2, 3], 3));
    assert!(!reader.was_told("corrupt"), "{:?}", reader.notices);
    drop(reader);
    let mut source = Reader::open(&sandbox, Config { largest_batch: 2 << 20, ..fixed() }).consumer;
    let want = sluicegate::relay::source::PollLimit { records: 10, bytes: 4 << 20 };
    let deadline = std::time::Instant::now() + crate::support::LONG;
    let mut found = false;
    while !found && std::time::Instant::now() < deadline {
        if let Ok(sluicegate::relay::source::Polled::Records(records)) =
            source.poll(want, Duration::from_millis(50))
        {
            found = records.iter().any(|record| record.value().is_some_and(|value| value.len() == 1 << 20));
        }
    }
    assert!(found, "the large record was never handed over");
}

#[test]
fn one_answer_that_misses_a_topic_or_has_no_brokers_changes_nothing() {
    let sandbox = sandbox(1);
    write(&sandbox, 2);
    let hasty = Config {
        metadata_max_age: Duration::from_millis(50),
        ..config(Share::Group(crate::sandbox::reader::group()))
    };
    let mut reader = Reader::open(&sandbox, hasty);
    reader.until_all("before", &sandbox);
    let assigned = reader.assigned;
    for _ in 0..5 {
        sandbox.faults().omit_topic(TOPIC, 2);
        sandbox.faults().omit_brokers(2);
        reader.until("these answers", |_| sandbox.faults().left(ApiKey::Metadata) == 0);
        // An answer that has it in between: they were not several in a row.
        let seen = reader.seen.values().map(Vec::len).sum::<usize>();
        write(&sandbox, 1);
        reader.until("what is new", |reader| reader.seen.values().map(Vec::len).sum::<usize>() == seen + 12);
    }
    assert_eq!(reader.assigned, assigned, "{:?}", reader.notices);
}

#[test]
fn a_group_that_the_broker_has_not_heard_of_has_committed_nothing() {
    let sandbox = sandbox(1);
    write(&sandbox, 2);
    sandbox.faults().inject(ApiKey::OffsetFetch, Fault::Error(ErrorCode::GROUP_ID_NOT_FOUND), 1);
    let mut reader = Reader::open(&sandbox, fixed());
    reader.until_all("from the beginning", &sandbox);
    assert!(sandbox.committed(GROUP).values().all(|next| *next == 6));
}

/// A commit needs the right to read, and where a partition begins does not: what may be described and not read is
/// refused at its first commit.
#[test]
fn a_position_that_is_refused_keeps_no_other_waiting() {
    for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
        let sandbox = sandbox(1);
        write(&sandbox, 4);
        sandbox.faults().fail(ApiKey::OffsetCommit, partition(1), code, LASTING);
        let mut reader = Reader::member(&sandbox);
        reader.until("the others", |reader| has_all(reader, &[0, 2, 3], 12));
        assert!(!reader.seen.contains_key(&partition(1)), "its first position is not committed");
        reader.until("its line", |reader| {
            reader.notices.iter().any(|line| line.contains("orders-1") && line.contains(&code.to_string()))
        });
        sandbox.faults().clear();
        reader.until_all("all of it", &sandbox);
    }
}

#[test]
fn partitions_that_begin_together_are_told_in_one_line() {
    let sandbox = sandbox(1);
    write(&sandbox, 4);
    let mut reader = Reader::open(&sandbox, fixed());
    reader.until("all of it", |reader| has_all(reader, &[0, 1, 2, 3], 12));
    let lines =
        reader.notices.iter().filter(|line| line.contains("nothing is committed")).collect::<Vec<_>>();
    assert!(
        lines.len() == 1 && lines[0].contains("4 partitions") && lines[0].contains("48 records"),
        "{lines:?}"
    );
}
