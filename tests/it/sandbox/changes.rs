//! A cluster that changes under our client: leaders and coordinators move, logs are cut, groups forget.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, sandbox, write};
use sluicegate::kafka::config::{Config, Reset, Share};
use sluicegate::record::Partition;

fn first() -> Partition {
    Partition::new(TOPIC, 0)
}

#[test]
fn leaders_and_coordinators_that_move_are_followed() {
    let sandbox = sandbox(3);
    let faults = sandbox.faults();
    write(&sandbox, 3);
    let mut reader = Reader::member(&sandbox);
    reader.until_all("before", &sandbox);
    for node in [2, 3, 1, 2] {
        for partition in 0..4 {
            faults.move_leader(&Partition::new(TOPIC, partition), node);
        }
        write(&sandbox, 3);
        reader.until_all("leaders have moved", &sandbox);
        faults.move_coordinator(node);
        write(&sandbox, 3);
        reader.until_all("the coordinator has moved", &sandbox);
    }
}

#[test]
fn whatever_the_group_goes_through_the_reader_goes_on() {
    let sandbox = sandbox(1);
    let faults = sandbox.faults();
    let mut reader = Reader::member(&sandbox);
    for _ in 0..3 {
        write(&sandbox, 3);
        reader.until_all("quiet", &sandbox);
        faults.rebalance(GROUP);
        write(&sandbox, 3);
        reader.until_all("rebalanced", &sandbox);
        faults.fence(GROUP);
        write(&sandbox, 3);
        reader.until_all("fenced", &sandbox);
        faults.expel(GROUP);
        write(&sandbox, 3);
        reader.until_all("expelled", &sandbox);
        sandbox.disconnect();
        write(&sandbox, 3);
        reader.until_all("disconnected", &sandbox);
    }
    assert_eq!(sandbox.group(GROUP).unwrap().members.len(), 1);
}

#[test]
fn records_deleted_before_they_were_read_are_told() {
    let sandbox = sandbox(1);
    let mut reader = Reader::member(&sandbox);
    reader.until("its partitions", |reader| reader.owned.len() == 4);
    drop(reader);
    write(&sandbox, 5);
    sandbox.faults().trim(&first(), 9);
    // The group had begun with the first record.
    let mut reader = Reader::open(&sandbox, fixed(Reset::Earliest));
    reader.until("the rest", |reader| reader.seen.values().map(Vec::len).sum::<usize>() == 3 * 15 + 6);
    assert_eq!(reader.seen[&first()], (9..15).collect::<Vec<i64>>());
    sandbox.faults().trim(&first(), 15);
    write(&sandbox, 2);
    sandbox.faults().trim(&first(), 18);
    reader.until("all that is left", |reader| reader.seen[&first()].last() == Some(&20));
}

fn fixed(reset: Reset) -> Config {
    Config { reset, ..crate::sandbox::reader::config(Share::Fixed(None)) }
}

#[test]
fn a_log_that_was_cut_off_is_told_and_read_on() {
    let sandbox = sandbox(1);
    write(&sandbox, 4);
    let mut reader = Reader::member(&sandbox);
    reader.until_all("before", &sandbox);
    sandbox.faults().truncate(&first(), 6);
    write(&sandbox, 1);
    reader.until("the new records", |reader| {
        reader.seen[&first()].iter().filter(|offset| **offset == 8).count() == 2
    });
    assert!(reader.was_told("cut off at offset 6"), "{:?}", reader.notices);
    assert_eq!(reader.seen[&first()][12..], [6, 7, 8]);
}

#[test]
fn a_log_that_was_cut_off_ends_the_run_where_resets_do() {
    let sandbox = sandbox(1);
    write(&sandbox, 4);
    let mut reader = Reader::open(&sandbox, fixed(Reset::Fail));
    reader.until_all("before", &sandbox);
    sandbox.faults().truncate(&first(), 6);
    let text = reader.fails("a cut log");
    assert!(text.contains("orders") && text.contains("--offset-reset fail"), "{text}");
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_start() {
    let sandbox = sandbox(1);
    write(&sandbox, 4);
    let mut reader = Reader::member(&sandbox);
    reader.until_all("before", &sandbox);
    sandbox.faults().delete(TOPIC);
    sandbox.create(TOPIC, 4).unwrap();
    write(&sandbox, 2);
    reader.until("the new records", |reader| reader.seen.values().all(|offsets| offsets.len() == 12 + 6));
    assert!(reader.was_told("deleted and created anew"), "{:?}", reader.notices);
}

#[test]
fn an_election_behind_a_time_without_a_leader_is_checked() {
    let sandbox = sandbox(2);
    write(&sandbox, 5);
    let mut reader = Reader::member(&sandbox);
    reader.until_all("before", &sandbox);
    let faults = sandbox.faults();
    faults.without_leader(&first());
    reader.until("the word of it", |reader| reader.was_told("it has no leader"));
    // Some records are gone, and more than those are written in their place before anybody looks.
    faults.truncate(&first(), 5);
    faults.without_leader(&first());
    write(&sandbox, 20);
    let before = reader.seen[&first()].len();
    faults.move_leader(&first(), 2);
    let (_, end) = sandbox.range(TOPIC, 0).unwrap();
    reader.until("the end", |reader| reader.seen[&first()].last() == Some(&(end - 1)));
    let anew: std::collections::BTreeSet<i64> = reader.seen[&first()][before..].iter().copied().collect();
    assert!((6..end).all(|offset| anew.contains(&offset)), "{anew:?} of {end}");
    assert!(reader.was_told("cut off at offset"), "{:?}", reader.notices);
}

#[test]
fn latest_is_not_forgotten_when_the_first_answer_misses_the_topic() {
    let sandbox = sandbox(1);
    write(&sandbox, 5);
    sandbox.faults().omit_topic(TOPIC, 1);
    let latest = Config { start: sluicegate::kafka::config::Start::Latest, ..fixed(Reset::Earliest) };
    let mut reader = Reader::open(&sandbox, latest);
    reader.until("its beginning", |_| {
        sandbox.committed(crate::sandbox::reader::GROUP).values().sum::<i64>() == 60
    });
    write(&sandbox, 1);
    reader.until("what is new", |reader| reader.seen.values().map(Vec::len).sum::<usize>() == 12);
}
