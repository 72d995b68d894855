//! The binary between a real broker and a real receiver.

mod blame;
mod crashes;
mod faults;
mod happy;
mod log;
mod open_files;
mod pace;
mod patience;
mod room;
mod secrets;
mod shares;
mod signals;
mod stalls;
mod trust;
mod windows;

use crate::support::LONG;
use crate::support::binary::{self, Running};
use crate::support::broker::{Broker, NEW, OLD, numbers};
use crate::support::receiver::Receiver;
use sluicegate::kafka::cluster::Address;
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::consumer::topics::Topics;
use sluicegate::kafka::probe::{PartitionState, Probe};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The version of Kafka to test with: the newest, or for the `kafka` crate the last that it can talk to.
fn version() -> &'static str {
    match std::env::var("SLUICEGATE_KAFKA_CLIENT").as_deref() {
        Ok("kafka-crate") => OLD,
        _ => NEW,
    }
}

/// The broker that all tests share which don't stop it.
fn shared() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start(version())).as_ref()
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

fn states(broker: &Broker, topic: &str) -> Vec<PartitionState> {
    let connector = Connector::new(ConnectorSettings::default()).unwrap();
    let address = Address::parse(&broker.address()).unwrap();
    let mut probe = Probe::new(connector, vec![address], LONG);
    let topics = probe.topics(&Topics::parse(&[topic.into()]).unwrap()).unwrap();
    probe.partitions(topic, &topics.found, None).unwrap()
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
