//! Dead letters in a topic of a real broker, and the way back.

use crate::letters::{Folder, letter, may_repeat, write};
use crate::support::admin::Admin;
use crate::support::binary::{self, Running};
use crate::support::broker::{Broker, NEW};
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use sluicegate::kafka::cluster::{self, Address, Connections};
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::dead_letters::DeadLetterTopic;
use sluicegate::kafka::producer::Producer;
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::record::{Header, Record};
use sluicegate::relay::dead_letter::{DeadLetterError, DeadLetters, line};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The broker that all tests share.
pub fn shared() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start(NEW)).as_ref()
}

pub fn cluster(addresses: &str) -> Arc<cluster::Cluster> {
    let connector = Connector::new(ConnectorSettings::default()).unwrap();
    let addresses = addresses.split(',').map(|address| Address::parse(address).unwrap()).collect();
    Arc::new(cluster::Cluster::new(connector, addresses))
}

pub fn produce(addresses: &str, topic: &str, records: &[NewRecord<'_>]) {
    let second = Duration::from_secs(10);
    let mut producer = Producer::new(Connections::new(cluster(addresses), second), topic.to_owned(), second);
    eventually("the topic", || producer.send(records, &mut vec![false; records.len()]).is_ok());
}

/// Numbers as records, each in as many bytes, into a topic that is made unless it is there.
fn produce_padded(broker: &Broker, topic: &str, count: usize, bytes: usize) {
    let _ = broker.admin().ask(&format!("create {topic} 1 1 "));
    let values: Vec<String> = (0..count).map(|n| format!("{n:bytes$}")).collect();
    let records: Vec<NewRecord<'_>> = values
        .iter()
        .map(|value| NewRecord { timestamp: 1, key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] })
        .collect();
    produce(&broker.address(), topic, &records);
}

fn produce_value(broker: &Broker, topic: &str, value: &[u8]) {
    let _ = broker.admin().ask(&format!("create {topic} 1 1 "));
    let record = NewRecord { timestamp: 1, key: Some(b"k"), value: Some(value), headers: &[] };
    produce(&broker.address(), topic, &[record]);
}

/// Text that compression makes little smaller.
pub fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..length).map(letter).collect()
}

pub fn start(addresses: &str, topic: &str, dead: &str, url: &str, more: &[&str]) -> Running {
    let from = ["run", "--brokers", addresses, "--topic", topic, "--until-end"];
    binary::start(&[&from[..], &["--url", url, "--dead-letter", dead], more].concat())
}

pub fn refusing() -> Receiver {
    Receiver::start(|_| Reply::With(422, vec![], "not like this".into()))
}

/// What a receiver got, by id.
pub fn bodies(receiver: &Receiver) -> BTreeMap<String, Vec<u8>> {
    let requests = receiver.handled().into_iter().map(|handled| handled.request);
    requests.map(|request| (request.id().to_owned(), request.body)).collect()
}

pub fn committed(admin: &Admin, group: &str) -> i64 {
    admin.committed(group).values().sum()
}

fn produce_hostile(broker: &Broker, topic: &str) -> usize {
    let big: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let headers = [
        Header { name: b"a", value: Some(b"1") },
        Header { name: b"a", value: None },
        Header { name: b"\xc3\xa9", value: Some(b"\xff\0") },
        Header { name: b"a", value: Some(b"") },
    ];
    let record = |key, value, headers| NewRecord { timestamp: 1_700_000_000_000, key, value, headers };
    let records = [
        record(None, None, &[][..]),
        record(Some(&b""[..]), Some(&b""[..]), &headers[..]),
        record(Some(b"\xff\xfe"), Some(b"\0\n\r\"\\"), &headers[1..]),
        record(Some(b"k"), Some(&big), &[]),
        record(Some(b"k"), Some(b"{\"a\":1}"), &headers[..1]),
        record(None, Some("é😀\u{2028}".as_bytes()), &headers[2..]),
    ];
    produce(&broker.address(), topic, &records);
    records.len()
}

#[test]
fn hostile_records_come_back_as_they_were_through_topic_and_file() {
    let Some(broker) = shared() else { return };
    let (address, folder) = (broker.address(), Folder::new("hostile"));
    let admin = broker.admin();
    admin.create("hostile", 2, 1, &[]);
    admin.create("hostile-dead", 3, 1, &["max.message.bytes=2000000"]);
    let count = produce_hostile(broker, "hostile");
    let file = folder.file("dead.jsonl");
    let first = refusing();
    // The whole record is in the body.
    let whole = |group| ["--format", "json", "--group", group];
    for (dead, group) in [("topic:hostile-dead", "hostile-1"), (&*file, "hostile-2")] {
        start(&broker.address(), "hostile", dead, &first.url(), &whole(group)).wait().expect(0);
        assert_eq!(committed(&admin, group), count as i64);
    }
    let sent = bodies(&first);
    assert_eq!((sent.len(), first.begun()), (count, 2 * count));
    for from in ["topic:hostile-dead", &file] {
        let again = Receiver::accepting();
        let url = again.url();
        let arguments = ["replay", from, "--url", &url, "--format", "json", "--brokers", &address];
        binary::run(&arguments).expect(0).saying(&format!("delivered {count} "));
        assert!(bodies(&again) == sent, "{from}: {:?}", bodies(&again).keys());
        binary::run(&arguments).expect(0).saying("delivered 0 ");
    }
    let show = |from| binary::run(&["tail", from, "--json", "--brokers", &address]).expect(0).stdout;
    let untimed = |text: String| -> Vec<String> {
        let line = |text: &str| text.split("\"status\"").next().unwrap().to_owned();
        let mut lines: Vec<String> = text.lines().map(line).collect();
        lines.sort();
        lines
    };
    assert_eq!(untimed(show("topic:hostile-dead")), untimed(show(&file)));
    assert!(show("topic:hostile-dead").lines().all(|text| {
        let rejection = line::parse(text.as_bytes()).unwrap().rejection;
        rejection.status == Some(422) && rejection.reason.contains("not like this") && rejection.attempts == 1
    }));
}

#[test]
fn a_topic_that_is_not_there_holds_everything_back_until_it_is() {
    let Some(broker) = shared() else { return };
    produce_padded(broker, "waits", 20, 5);
    let (receiver, admin) = (refusing(), broker.admin());
    // A producer that had to send again leaves more.
    let count = admin.ends("waits")[&0];
    let running =
        start(&broker.address(), "waits", "topic:waits-dead", &receiver.url(), &["--group", "waits"]);
    eventually("all requests", || receiver.begun() as i64 == count);
    assert_eq!(committed(&admin, "waits"), 0);
    admin.create("waits-dead", 1, 1, &[]);
    running.wait().expect(0).saying("'waits-dead' does not exist").saying(&format!("dead letters {count}"));
    assert_eq!((committed(&admin, "waits"), admin.ends("waits-dead")[&0]), (count, count));
    assert_eq!(receiver.begun() as i64, count, "none was sent twice for it");
}

#[test]
fn too_few_replicas_or_no_leader_hold_everything_back() {
    let Some(mut nodes) = Cluster::start(NEW, 3) else { return };
    let (admin, addresses) = (nodes.admin(), nodes.addresses());
    admin.create("alone", 1, 3, &[]);
    admin.create("all-dead", 1, 3, &["min.insync.replicas=3"]);
    admin.create("one-dead", 1, 1, &[]);
    let records = [NewRecord { timestamp: 1, key: None, value: Some(b"x"), headers: &[] }; 5];
    produce(&addresses, "alone", &records);
    let receiver = refusing();
    let node = usize::try_from(admin.leaders("one-dead")[&0]).unwrap();
    nodes.kill(node);
    eventually("fewer in sync", || admin.in_sync("all-dead")[&0] == 2);
    let waits = |dead, group| start(&addresses, "alone", dead, &receiver.url(), &["--group", group]);
    let running = [waits("topic:all-dead", "all"), waits("topic:one-dead", "one")];
    eventually("all requests", || receiver.begun() == 10);
    assert_eq!((committed(&admin, "all"), committed(&admin, "one")), (0, 0));
    // What is refused stays undone, and a signal ends it all the same.
    let third = waits("topic:one-dead", "third");
    eventually("all requests", || receiver.begun() == 15);
    third.signal("TERM");
    third.wait().expect(0).saying("dead letters can't be kept").saying("dead letters 0");
    assert_eq!(committed(&admin, "third"), 0);
    nodes.boot(node);
    let [all, one] = running.map(|running| running.wait().expect(0).saying("dead letters can't be kept"));
    all.saying("fewer replicas are in sync").saying("dead letters 5");
    one.saying("dead letters 5");
    assert_eq!((committed(&admin, "all"), committed(&admin, "one")), (5, 5));
    assert!(admin.ends("all-dead")[&0] >= 5 && admin.ends("one-dead")[&0] >= 5);
    assert_eq!(receiver.begun(), 15, "none was sent twice for it");
}

#[test]
fn records_larger_than_the_topic_takes_end_the_run_and_smaller_ones_are_split() {
    let Some(broker) = shared() else { return };
    let (receiver, admin) = (refusing(), broker.admin());
    admin.create("small-dead", 1, 1, &["max.message.bytes=1500"]);
    produce_padded(broker, "small", 20, 300);
    start(&broker.address(), "small", "topic:small-dead", &receiver.url(), &["--group", "small"])
        .wait()
        .expect(0);
    assert_eq!((committed(&admin, "small"), admin.ends("small-dead")[&0]), (20, 20));
    let large = noise(3_000);
    produce_value(broker, "large", large.as_bytes());
    let ended =
        start(&broker.address(), "large", "topic:small-dead", &receiver.url(), &["--group", "large"]).wait();
    ended.expect(1).saying("max.message.bytes").saying("Nothing past the refused record is committed");
    assert_eq!(committed(&admin, "large"), 0);
}

#[test]
fn what_was_acknowledged_is_not_put_again_when_the_rest_fails() {
    let Some(broker) = shared() else { return };
    let admin = broker.admin();
    admin.create("partly-dead", 1, 1, &["max.message.bytes=1500"]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "partly-dead".into());
    let large = {
        let mut large = letter(2, 422, 0);
        large.rejection.reason = noise(4_000);
        large
    };
    let letters = [letter(0, 422, 0), letter(1, 422, 0), large, letter(3, 422, 0)];
    for _ in 0..2 {
        assert!(matches!(topic.put(&letters), Err(DeadLetterError::Fatal(_))));
        assert_eq!(admin.ends("partly-dead")[&0], 2);
    }
    topic.put(&[&letters[..2], &letters[3..]].concat()).unwrap();
    assert_eq!(admin.ends("partly-dead")[&0], 3);
    // A topic that was deleted and made anew has the same offsets again, for other records.
    assert!(matches!(topic.put(&letters), Err(DeadLetterError::Fatal(_))));
    assert_eq!(admin.ends("partly-dead")[&0], 5);
    let mut other = letter(0, 422, 0);
    let record = &other.record;
    other.record = Record::new(record.partition().clone(), record.offset(), 5, None, Some(b"other"));
    topic.put(&[other]).unwrap();
    assert_eq!(admin.ends("partly-dead")[&0], 6);
}

#[test]
fn a_letter_that_is_refused_again_names_its_first_origin_once() {
    let Some(broker) = shared() else { return };
    let (address, admin, folder) = (broker.address(), broker.admin(), Folder::new("origin"));
    admin.create("first-dead", 1, 1, &[]);
    admin.create("second-dead", 1, 1, &[]);
    produce_padded(broker, "origin", 3, 5);
    let receiver = refusing();
    let url = receiver.url();
    start(&broker.address(), "origin", "topic:first-dead", &url, &["--group", "origin"]).wait().expect(0);
    let again = ["--url", &url, "--brokers", &address, "--dead-letter"];
    let looped = [&["replay", "topic:first-dead"], &again[..], &["topic:first-dead"]].concat();
    binary::run(&looped).expect(2).saying("is one of those that are read");
    binary::run(&[&["replay", "topic:first-dead"], &again[..], &["topic:second-dead"]].concat()).expect(0);
    let shown = binary::run(&["tail", "topic:second-dead", "--json", "--brokers", &address]).expect(0).stdout;
    assert_eq!(shown.lines().count(), 3);
    for text in shown.lines() {
        let record = line::parse(text.as_bytes()).unwrap().record;
        assert_eq!((record.partition().topic(), record.headers().len()), ("origin", 0));
    }
    // Delivered as plain records by a run, letters that are refused are not doubled either.
    let plain = ["--group", "plain", "--format", "json"];
    let file = folder.file("plain.jsonl");
    start(&broker.address(), "second-dead", &file, &url, &plain).wait().expect(0);
    write(&file, &[]);
    let mut twice = DeadLetterTopic::new(cluster(&broker.address()), "third-dead".into());
    admin.create("third-dead", 1, 1, &[]);
    let text = std::fs::read_to_string(&file).unwrap();
    let letters: Vec<_> = text.lines().map(|text| line::parse(text.as_bytes()).unwrap()).collect();
    eventually("the topic", || twice.put(&letters).is_ok());
    let shown = binary::run(&["tail", "topic:third-dead", "--json", "--brokers", &address]).expect(0).stdout;
    let record = line::parse(shown.lines().next().unwrap().as_bytes()).unwrap().record;
    assert_eq!((record.partition().topic(), record.headers().len()), ("second-dead", 0));
}

#[test]
fn kill_9_in_the_middle_of_a_topic_loses_nothing() {
    const COUNT: usize = 1_000;
    let Some(broker) = shared() else { return };
    let (address, admin) = (broker.address(), broker.admin());
    admin.create("many-dead", 2, 1, &[]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "many-dead".into());
    let letters: Vec<_> = (0..COUNT as i64).map(|number| letter(number, 422, 0)).collect();
    eventually("the letters", || topic.put(&letters).is_ok());
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(1), 204));
    let url = receiver.url();
    let arguments = [
        "replay",
        "topic:many-dead",
        "--url",
        &url,
        "--brokers",
        &address,
        "--batch-size",
        "50",
        "--instance-id",
        "replayer",
    ];
    let (kills, mut may) = (3, 0);
    for kill in 1..=kills {
        let running = binary::start(&arguments);
        eventually("some requests", || receiver.begun() >= 200 * kill);
        running.kill();
        may += may_repeat(&receiver, Instant::now(), 8);
    }
    binary::run(&arguments).expect(0);
    let accepted = receiver.accepted();
    assert_eq!(accepted.len(), COUNT);
    let twice: usize = accepted.values().map(|times| times - 1).sum();
    println!("FAULT replay of a topic killed: {kills} kills, lost 0, duplicates {twice}");
    assert!(twice <= may, "{twice} duplicates, {may} at most");
    assert_eq!(committed(&admin, "sluicegate-replay-many-dead"), COUNT as i64);
}

#[test]
fn a_record_that_is_no_letter_ends_a_replay_unless_some_are_chosen() {
    let Some(broker) = shared() else { return };
    let (address, admin) = (broker.address(), broker.admin());
    admin.create("mixed-dead", 1, 1, &[]);
    let mut topic = DeadLetterTopic::new(cluster(&broker.address()), "mixed-dead".into());
    eventually("the letter", || topic.put(&[letter(0, 422, 0)]).is_ok());
    produce_padded(broker, "mixed-dead", 1, 5);
    topic.put(&[letter(1, 422, 0)]).unwrap();
    let receiver = Receiver::accepting();
    let url = receiver.url();
    let arguments = ["replay", "topic:mixed-dead", "--url", &url, "--brokers", &address];
    let dry =
        binary::run(&[&arguments[..], &["--dry-run", "--only", "topic=orders"]].concat()).expect(0).stdout;
    assert!(dry.contains("2 would be sent to") && dry.contains("1 are left out"), "{dry}");
    binary::run(&arguments).expect(1).saying("mixed-dead-0 offset 1: it is no dead letter");
    assert_eq!(receiver.begun(), 1);
    binary::run(&[&arguments[..], &["--only", "topic=orders"]].concat()).expect(0);
    assert_eq!(receiver.accepted().len(), 2);
    let shown = binary::run(&["tail", "topic:mixed-dead", "--brokers", &address]).expect(0);
    assert_eq!(shown.stdout.lines().count(), 2);
    shown.saying("mixed-dead-0 offset 1: it is no dead letter");
}
