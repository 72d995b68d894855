//! The binary between a real broker and a real receiver.

#[path = "../support/mod.rs"]
mod support;

mod crashes;
mod faults;
mod happy;

use std::collections::HashMap;
use std::sync::OnceLock;
use support::binary::{self, Running};
use support::broker::{Broker, OLD, numbers};
use support::receiver::Receiver;

/// The broker that all tests share which don't stop it.
fn shared() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start(OLD)).as_ref()
}

/// The arguments of a run from `topic` to `url`; the topic's name is the group's too.
fn arguments<'a>(brokers: &'a str, topic: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--brokers", brokers, "--topic", topic, "--group", topic, "--url", url][..], more].concat()
}

fn start(broker: &Broker, topic: &str, url: &str, more: &[&str]) -> Running {
    binary::start(&arguments(&broker.address(), topic, url, more))
}

fn run(broker: &Broker, topic: &str, url: &str, more: &[&str]) -> binary::Ended {
    start(broker, topic, url, more).wait()
}

/// What the group that is named like the topic has committed, over all partitions.
fn committed(broker: &Broker, topic: &str) -> i64 {
    states(broker, topic).into_iter().filter_map(|state| state.committed).sum()
}

fn states(broker: &Broker, topic: &str) -> Vec<sluicegate::kafka::kafka_crate::probe::PartitionState> {
    use sluicegate::kafka::kafka_crate::{Config, Start, probe};
    let config = Config {
        brokers: vec![broker.address()],
        topics: vec![topic.into()],
        group: topic.into(),
        partitions: None,
        start: Start::Earliest,
        until_end: false,
        buffer: 1 << 20,
    };
    probe::partitions(&config).unwrap()
}

/// How often each number was accepted; panics if one is missing.
#[track_caller]
fn all_of(receiver: &Receiver, count: usize) -> HashMap<Vec<u8>, usize> {
    let accepted = receiver.accepted();
    let missing: Vec<String> =
        numbers(0, count).lines().filter(|n| !accepted.contains_key(n.as_bytes())).map(Into::into).collect();
    assert!(
        missing.is_empty(),
        "lost {} of {count}: {:?}...",
        missing.len(),
        &missing[..missing.len().min(10)]
    );
    accepted
}

fn duplicates(accepted: &HashMap<Vec<u8>, usize>) -> usize {
    accepted.values().map(|times| times - 1).sum()
}
