//! Brokers that speak other versions, or lack an API: what our client does with each of them. It consumes, commits,
//! shares partitions in a group and writes dead letters.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, config, write};
use sluicegate::kafka::cluster::{Address, Cluster, Connections};
use sluicegate::kafka::config::Share;
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::dead_letters;
use sluicegate::kafka::probe::Probe;
use sluicegate::kafka::producer::Producer;
use sluicegate::kafka::protocol::ApiKey;
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use sluicegate::record::Partition;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

type Table = BTreeMap<ApiKey, RangeInclusive<i16>>;

const PRODUCE: ApiKey = ApiKey::Produce;
const FETCH: ApiKey = ApiKey::Fetch;
const LIST: ApiKey = ApiKey::ListOffsets;
const METADATA: ApiKey = ApiKey::Metadata;
const COMMIT: ApiKey = ApiKey::OffsetCommit;
const COMMITTED: ApiKey = ApiKey::OffsetFetch;
const FIND: ApiKey = ApiKey::FindCoordinator;
const JOIN: ApiKey = ApiKey::JoinGroup;
const BEAT: ApiKey = ApiKey::Heartbeat;
const LEAVE: ApiKey = ApiKey::LeaveGroup;
const SYNC: ApiKey = ApiKey::SyncGroup;
const DESCRIBE: ApiKey = ApiKey::DescribeGroups;
const VERSIONS: ApiKey = ApiKey::ApiVersions;
const INIT: ApiKey = ApiKey::InitProducerId;
const EPOCHS: ApiKey = ApiKey::OffsetForLeaderEpoch;

/// The highest versions in this order: Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch,
/// FindCoordinator, JoinGroup, Heartbeat, LeaveGroup, SyncGroup, DescribeGroups, ApiVersions, InitProducerId,
/// OffsetForLeaderEpoch.
fn up_to(highest: [i16; 15]) -> Table {
    let apis = [
        PRODUCE, FETCH, LIST, METADATA, COMMIT, COMMITTED, FIND, JOIN, BEAT, LEAVE, SYNC, DESCRIBE, VERSIONS,
        INIT, EPOCHS,
    ];
    apis.into_iter().zip(highest).map(|(api, highest)| (api, 0..=highest)).collect()
}

/// As the schemas of that release have them.
fn kafka_2_4() -> Table {
    up_to([8, 11, 5, 9, 8, 6, 3, 6, 4, 4, 4, 5, 3, 2, 3])
}

fn kafka_3_9() -> Table {
    up_to([11, 17, 9, 12, 9, 9, 6, 9, 4, 5, 5, 5, 4, 5, 4])
}

fn kafka_4_3() -> Table {
    let mut table = up_to([13, 18, 11, 13, 10, 10, 6, 9, 4, 5, 5, 6, 4, 6, 4]);
    table.extend([(FETCH, 4..=18), (LIST, 1..=11), (COMMIT, 2..=10), (COMMITTED, 1..=10), (EPOCHS, 2..=4)]);
    table
}

/// Azure's Event Hubs, of which four are known; the others as in Kafka 1.0, which it began as.
fn event_hubs() -> Table {
    let mut table = up_to([7, 6, 2, 5, 3, 3, 1, 2, 1, 1, 1, 1, 1, 0, 0]);
    table.remove(&EPOCHS);
    table.remove(&INIT);
    table
}

/// Redpanda of 2023.
fn redpanda() -> Table {
    up_to([7, 11, 4, 7, 7, 7, 3, 6, 4, 4, 4, 4, 3, 3, 3])
}

fn without(mut table: Table, api: ApiKey) -> Table {
    table.remove(&api);
    table
}

fn tables() -> Vec<(&'static str, Table)> {
    vec![
        ("Event Hubs", event_hubs()),
        ("Redpanda", redpanda()),
        ("without OffsetForLeaderEpoch", without(kafka_3_9(), EPOCHS)),
        ("without DescribeGroups", without(kafka_3_9(), DESCRIBE)),
        ("Kafka 2.4", kafka_2_4()),
        ("Kafka 3.9", kafka_3_9()),
        ("Kafka 4.3", kafka_4_3()),
    ]
}

fn sandbox(table: &Table) -> Sandbox {
    let settings = SandboxSettings { versions: Some(table.clone()), nodes: 2, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).unwrap();
    sandbox.create(TOPIC, 4).unwrap();
    sandbox
}

fn brokers(sandbox: &Sandbox) -> Vec<Address> {
    vec![Address { host: sandbox.address().ip().to_string(), port: sandbox.address().port() }]
}

fn connector() -> Connector {
    Connector::new(ConnectorSettings::default()).unwrap()
}

#[test]
fn each_is_consumed_from_by_a_group_that_commits() {
    for (name, table) in tables() {
        let sandbox = sandbox(&table);
        write(&sandbox, 2);
        let mut first = Reader::member(&sandbox);
        first.until_all(name, &sandbox);
        let mut second = Reader::member(&sandbox);
        second.until(name, |second| {
            first.step().unwrap();
            first.owned.len() == 2 && second.owned.len() == 2
        });
        drop(second);
        write(&sandbox, 2);
        first.until_all(name, &sandbox);
        drop(first);
        let members = || sandbox.group(GROUP).unwrap().members.len();
        crate::support::eventually("the group is left", || members() == 0);
    }
}

#[test]
fn a_moved_leader_is_followed_with_and_without_its_epochs() {
    for (name, table) in tables() {
        let sandbox = sandbox(&table);
        write(&sandbox, 2);
        let mut reader = Reader::open(&sandbox, config(Share::Fixed(None)));
        reader.until_all(name, &sandbox);
        for number in 0..4 {
            let partition = Partition::new(TOPIC, number);
            sandbox.faults().move_leader(&partition, 1);
            sandbox.faults().move_leader(&partition, 2);
        }
        write(&sandbox, 2);
        reader.until_all(name, &sandbox);
    }
}

#[test]
fn each_takes_dead_letters() {
    for (name, table) in tables() {
        let sandbox = sandbox(&table);
        sandbox.create("dead", 3).unwrap();
        let cluster = || Arc::new(Cluster::new(connector(), brokers(&sandbox)));
        assert_eq!(dead_letters::look(cluster(), "dead").unwrap(), [""; 0], "{name}");
        let connections = Connections::new(cluster(), Duration::from_secs(10));
        let mut producer = Producer::new(connections, "dead".into(), Duration::from_secs(10));
        let record = |key| NewRecord { timestamp: 1, key: Some(key), value: Some(b"letter"), headers: &[] };
        let mut acknowledged = [false; 2];
        producer
            .send(&[record(b"a"), record(b"b")], &mut acknowledged)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(acknowledged, [true; 2], "{name}");
        let written: i64 = (0..3).map(|partition| sandbox.range("dead", partition).unwrap().1).sum();
        assert_eq!(written, 2, "{name}");
    }
}

#[test]
fn each_can_be_looked_at() {
    for (name, table) in tables() {
        let sandbox = sandbox(&table);
        write(&sandbox, 1);
        let mut probe = Probe::new(connector(), brokers(&sandbox), Duration::from_secs(10));
        let topics = sluicegate::kafka::consumer::topics::Topics::parse(&[TOPIC.into()]).unwrap();
        let found = probe.topics(&topics).unwrap_or_else(|error| panic!("{name}: {error}")).found;
        let partitions =
            probe.partitions(GROUP, &found, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            partitions.iter().map(|one| (one.first, one.end)).collect::<Vec<_>>(),
            [(0, 3); 4],
            "{name}"
        );
        let group = probe.group(GROUP).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(group.is_none(), !table.contains_key(&DESCRIBE), "{name}: {group:?}");
        // A group that nobody has joined.
        assert!(group.is_none_or(|group| group.members.is_empty()), "{name}");
    }
}

#[test]
fn what_is_missing_is_told_in_one_sentence() {
    let table = without(without(kafka_3_9(), COMMIT), JOIN);
    let sandbox = sandbox(&table);
    let mut reader = Reader::member(&sandbox);
    let text = reader.fails("two missing APIs");
    for part in
        ["JoinGroup 0 to 9 (it has none)", "OffsetCommit 2 to 10 (it has none)", "use Kafka 2.4 or later"]
    {
        assert!(text.contains(part), "{text}");
    }
}
