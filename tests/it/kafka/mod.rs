//! The native client against real brokers of three versions, through the binary.

mod compaction;
mod groups;
mod harness;
mod identity;
mod mixed;
mod positions;
mod reach;
mod records;
mod topics;
mod transactions;
mod truncation;

use crate::support::LONG;
use crate::support::admin::Admin;
use crate::support::binary::{self, Ended, Running};
use crate::support::broker::{Broker, NEW, VERSIONS};
use crate::support::jvm::program;
use crate::support::program::Program;
use crate::support::receiver::{Receiver, Request};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What Kafka's producers can compress with.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A broker that tests share which don't stop it, and an admin client for it.
struct Shared {
    version: &'static str,
    broker: Broker,
    admin: Mutex<Admin>,
    producer: Mutex<Option<Program>>,
}

impl Shared {
    fn address(&self) -> String {
        self.broker.address()
    }

    fn admin<T>(&self, ask: impl FnOnce(&Admin) -> T) -> T {
        // A test that failed with the admin client in hand leaves it as good as it was.
        ask(&self.admin.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where batches are handed through by the broker as they came: every codec on the newest, one on the others.
    fn codecs(&self) -> &'static [&'static str] {
        if self.version == NEW { &CODECS } else { &CODECS[3..4] }
    }

    fn create(&self, topic: &str, partitions: u32, config: &[&str]) {
        self.admin(|admin| admin.create(topic, partitions, 1, config));
    }

    /// What the group that is named like the topic has committed, over all partitions.
    fn committed(&self, group: &str) -> i64 {
        self.admin(|admin| admin.committed(group)).values().sum()
    }

    /// Produces lines as `tests/support/java/Records.java` has them; where each record went.
    fn records(&self, topic: &str, codec: &str, lines: &str) -> Vec<(u32, i64)> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = producer.get_or_insert_with(|| {
            let mut java = program("Records");
            java.arg(self.address());
            Program::start(java)
        });
        producer.say(&format!("to {topic} {codec}"));
        lines.lines().for_each(|line| producer.say(line));
        producer.say("end");
        let mut places = Vec::new();
        loop {
            let line = producer.line_within(LONG).expect("the producer answers").text;
            if line == "ended" {
                return places;
            }
            let mut words = line.strip_prefix("offset ").unwrap_or_else(|| panic!("{line}")).split(' ');
            let (partition, offset) = (words.next().unwrap(), words.next().unwrap());
            places.push((partition.parse().unwrap(), offset.parse().unwrap()));
        }
    }
}

/// The brokers of all versions of the matrix; none where the jars are not there.
fn matrix() -> impl Iterator<Item = &'static Shared> {
    (0..VERSIONS.len()).filter_map(shared)
}

/// The newest broker.
fn newest() -> Option<&'static Shared> {
    shared(VERSIONS.len() - 1)
}

fn shared(at: usize) -> Option<&'static Shared> {
    static BROKERS: [OnceLock<Option<Shared>>; VERSIONS.len()] = [const { OnceLock::new() }; VERSIONS.len()];
    let start = || {
        // The cleaner of compacted topics is hurried, and no record is too old.
        let haste = [("log.cleaner.backoff.ms", "200"), ("log.retention.ms", "-1")];
        let broker = Broker::with(VERSIONS[at], &haste)?;
        let (admin, producer) = (Mutex::new(broker.admin()), Mutex::new(None));
        Some(Shared { version: VERSIONS[at], broker, admin, producer })
    };
    BROKERS[at].get_or_init(start).as_ref()
}

/// The arguments of a run from `topic` to `url`; the topic's name is the group's too.
fn arguments<'a>(brokers: &'a str, topic: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--brokers", brokers, "--topic", topic, "--group", topic, "--url", url][..], more].concat()
}

fn start(brokers: &str, topic: &str, receiver: &Receiver, more: &[&str]) -> Running {
    binary::start(&arguments(brokers, topic, &receiver.url(), more))
}

/// A run that can be listened to.
fn listened(brokers: &str, topic: &str, receiver: &Receiver, more: &[&str]) -> Program {
    let mut command = Command::new(binary::path());
    command.args(arguments(brokers, topic, &receiver.url(), more));
    Program::start_with_stderr(command)
}

/// Delivers what is in the topic.
#[track_caller]
fn deliver(brokers: &str, topic: &str, receiver: &Receiver, more: &[&str]) -> Ended {
    start(brokers, topic, receiver, &[&["--until-end"], more].concat()).wait().expect(0)
}

/// The accepted requests by partition and offset; panics if one came twice.
#[track_caller]
fn by_place(receiver: &Receiver) -> BTreeMap<(u32, i64), Request> {
    let mut requests = BTreeMap::new();
    for handled in receiver.handled().into_iter().filter(|handled| handled.accepted) {
        let number = |name| handled.request.header(name).unwrap().parse::<i64>().unwrap();
        let place = (number("kafka-partition") as u32, number("kafka-offset"));
        assert!(requests.insert(place, handled.request).is_none(), "{place:?} came twice");
    }
    requests
}

/// The bodies that were accepted, sorted.
fn bodies(receiver: &Receiver) -> Vec<String> {
    let mut bodies: Vec<String> = receiver
        .handled()
        .into_iter()
        .filter(|handled| handled.accepted)
        .map(|handled| handled.request.text().to_owned())
        .collect();
    bodies.sort();
    bodies
}

/// These numbers as bodies, sorted.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut bodies: Vec<String> = numbers.map(|number| number.to_string()).collect();
    bodies.sort();
    bodies
}
