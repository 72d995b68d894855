//! What a topic of dead letters may refuse, on a real broker: timestamps, sizes, records without a key; and what
//! `check` and the start of a run say of it.

use crate::letters::topic::{bodies, cluster, committed, noise, produce, refusing, shared, start};
use crate::letters::{Folder, letter};
use crate::support::binary;
use crate::support::eventually;
use crate::support::receiver::Receiver;
use sluicegate::cli::advice::sentence;
use sluicegate::kafka::dead_letters::DeadLetterTopic;
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::record::Record;
use sluicegate::relay::dead_letter::{DeadLetterError, DeadLetters};
use std::collections::BTreeMap;
use std::process::Command;

/// In microseconds, as some producers write it: far in the future.
const MICROSECONDS: i64 = 1_755_933_141_855_875;

/// From `odd`, with timestamps of all kinds, through a topic with these settings, and back.
fn timestamps_come_back(dead: &str, configs: &[&str]) {
    let Some(broker) = shared() else { return };
    let (address, admin) = (broker.address(), broker.admin());
    let source = format!("{dead}-source");
    let any = ["message.timestamp.after.max.ms=9223372036854775807"];
    admin.create(&source, 1, 1, &any);
    admin.create(dead, 1, 1, configs);
    let times = [1_700_000_000_000, MICROSECONDS, 0, 86_400_000, -1, 1_700_000_000_001];
    let values: Vec<String> = times.iter().map(|time| format!("{time}")).collect();
    let record = |at: usize| NewRecord {
        timestamp: times[at],
        key: Some(b"k"),
        value: Some(values[at].as_bytes()),
        headers: &[],
    };
    produce(&address, &source, &(0..times.len()).map(record).collect::<Vec<_>>());
    let (first, again) = (refusing(), Receiver::accepting());
    let to = format!("topic:{dead}");
    start(&address, &source, &to, &first.url(), &["--group", dead]).wait().expect(0);
    assert_eq!(committed(&admin, dead), times.len() as i64);
    assert_eq!(admin.ends(dead)[&0], times.len() as i64, "none is there twice");
    binary::run(&["replay", &to, "--url", &again.url(), "--brokers", &address]).expect(0);
    let by_value = |receiver: &Receiver| -> BTreeMap<Vec<u8>, String> {
        bodies(receiver).into_iter().map(|(id, body)| (body, id)).collect()
    };
    assert_eq!(by_value(&again), by_value(&first), "with the ids of the first time");
    assert!(by_value(&first).len() == times.len());
}

#[test]
fn timestamps_that_kafka_4_refuses_by_default_come_back_as_they_were() {
    timestamps_come_back("odd-default", &[]);
}

#[test]
fn timestamps_that_are_too_old_come_back_as_they_were() {
    timestamps_come_back("odd-old", &["message.timestamp.before.max.ms=3600000"]);
}

#[test]
fn a_topic_that_takes_no_timestamp_but_none_gets_none() {
    let settings = ["message.timestamp.before.max.ms=0", "message.timestamp.after.max.ms=0"];
    timestamps_come_back("odd-none", &settings);
}

#[test]
fn timestamps_of_the_log_come_back_as_they_were() {
    timestamps_come_back("odd-append", &["message.timestamp.type=LogAppendTime"]);
}

#[test]
fn a_record_that_was_small_when_it_was_compressed_fits_as_a_letter_too() {
    let Some(broker) = shared() else { return };
    let admin = broker.admin();
    admin.create("plain-dead", 1, 1, &["max.message.bytes=20000"]);
    let mut topic =
        DeadLetterTopic::new(cluster(&broker.address()), "plain-dead".into()).explained_by(sentence);
    let of_value = |number, value: &[u8]| {
        let mut letter = letter(number, 422, 0);
        let record = &letter.record;
        letter.record =
            Record::new(record.partition().clone(), record.offset(), 1_700_000_000_000, None, Some(value));
        letter
    };
    let noise = noise(40_000);
    topic.put(&[of_value(0, &vec![b'x'; 400_000]), of_value(1, b"small")]).unwrap();
    assert_eq!(admin.ends("plain-dead")[&0], 2);
    let Err(DeadLetterError::Fatal(text)) = topic.put(&[of_value(2, noise.as_bytes())]) else {
        panic!("it fits")
    };
    assert!(text.contains("max.message.bytes above that") && text.contains("MESSAGE_TOO_LARGE"), "{text}");
    let size: usize =
        text.split("a record takes ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    admin.create("fitting-dead", 1, 1, &[&format!("max.message.bytes={size}")]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "fitting-dead".into());
    topic.put(&[of_value(2, noise.as_bytes())]).unwrap();
}

#[test]
fn a_compacted_topic_is_told_what_is_wrong_with_it() {
    let Some(broker) = shared() else { return };
    broker.admin().create("compact-dead", 1, 1, &["cleanup.policy=compact"]);
    let mut topic =
        DeadLetterTopic::new(cluster(&broker.address()), "compact-dead".into()).explained_by(sentence);
    let mut keyless = letter(1, 422, 0);
    let record = &keyless.record;
    keyless.record = Record::new(record.partition().clone(), record.offset(), 7, None, Some(b"x"));
    let Err(DeadLetterError::Fatal(text)) = topic.put(&[keyless]) else { panic!("it takes it") };
    assert!(text.contains("INVALID_RECORD") && text.contains("cleanup.policy=delete"), "{text}");
}

#[test]
fn check_and_the_start_of_a_run_name_what_keeps_letters_out() {
    let Some(broker) = shared() else { return };
    let (address, admin, folder) = (broker.address(), broker.admin(), Folder::new("check"));
    admin.create("checked", 1, 1, &[]);
    admin.create("checked-dead", 1, 1, &[]);
    let receiver = Receiver::accepting();
    let url = receiver.url();
    let with = |command: &str, dead: &str, more: &[&str]| {
        let from =
            [command, "--brokers", &address, "--topic", "checked", "--url", &url, "--dead-letter", dead];
        binary::run(&[&from[..], more].concat())
    };
    let check = |dead: &str, code| with("check", dead, &["--dead-letter-max-size", "0"]).expect(code).stdout;
    let file = folder.file("dead.jsonl");
    for dead in ["topic:checked-dead", &file, "drop"] {
        assert!(check(dead, 0).contains("ok     dead letters: can be kept"), "{dead}");
    }
    assert!(!std::path::Path::new(&file).exists(), "a look makes nothing");
    for (dead, why) in [
        ("topic:no-such-topic", "'no-such-topic' does not exist"),
        ("topic:checked", "one of those that are read"),
        ("topic:__consumer_offsets", "is Kafka's own"),
        (&*folder.file("no/dead.jsonl"), "its folder does not exist"),
        (&*folder.file("."), "it is a folder"),
        ("/dev/full", "no regular file"),
        ("/proc/dead.jsonl", "can't be"),
    ] {
        let said = check(dead, 1);
        let line = said.lines().find(|line| line.starts_with("WRONG  dead letters: "));
        assert!(line.is_some_and(|line| line.contains(why)), "{dead}: {said}");
    }
    std::fs::write(&file, "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, mode).unwrap();
    assert!(check(&file, 0).contains("warn   the dead-letter file"), "it can be read by others");
    with("run", &file, &["--until-end"]).expect(0).saying("can be read or written by others");
    // A run goes on without the topic, and says at once what it would need.
    let log = folder.file("log");
    let mut command = Command::new("bash");
    command.args(["-c", &format!(r#"exec "$@" 2>'{log}'"#), "logged", &binary::path()]);
    command.args(["run", "--brokers", &address, "--topic", "checked", "--group", "checked", "--url", &url]);
    let running = binary::Running::spawn({
        command.args(["--dead-letter", "topic:no-such-topic"]);
        command
    });
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the warning", || said().contains("'no-such-topic' does not exist"));
    running.signal("TERM");
    running.wait().expect(0);
}
