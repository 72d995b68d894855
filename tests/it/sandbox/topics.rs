//! Topics, their ids and what becomes of them: what the sandbox answers to those who name topics by id.

use crate::sandbox::wire::ask;
use sluicegate::kafka::protocol::fetch::{FetchRequest, FetchRequestPartition, FetchRequestTopic};
use sluicegate::kafka::protocol::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use sluicegate::kafka::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use sluicegate::kafka::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sluicegate::kafka::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use sluicegate::kafka::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestPartition, OffsetForLeaderEpochRequestTopic,
};
use sluicegate::kafka::protocol::produce::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode, Uuid};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord};
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use sluicegate::record::Partition;
use std::time::Duration;

const RECORD: NewRecord<'_> = NewRecord { timestamp: 1, key: None, value: Some(b"value"), headers: &[] };
const TOPIC: &str = "orders";
const GROUP: &str = "billing";

fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::start(SandboxSettings { make_topics: false, ..SandboxSettings::default() }).unwrap();
    sandbox.create(TOPIC, 2).unwrap();
    sandbox
}

fn first() -> Partition {
    Partition::new(TOPIC, 0)
}

/// What is told of a topic: error, name, id, and the error, leader and leader epoch of each partition.
type Told = (ErrorCode, Option<String>, Uuid, Vec<(ErrorCode, i32, i32)>);

fn metadata(sandbox: &Sandbox, version: i16, topics: Option<Vec<MetadataRequestTopic<'_>>>) -> Vec<Told> {
    ask(sandbox, version, &MetadataRequest { topics, ..Default::default() }, |response| {
        let told = response.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter();
            let partitions = partitions.map(|one| (one.error_code, one.leader_id, one.leader_epoch));
            (topic.error_code, topic.name.map(str::to_owned), topic.topic_id, partitions.collect())
        });
        told.collect()
    })
}

fn by_name(sandbox: &Sandbox) -> Told {
    let topic = MetadataRequestTopic { name: Some(TOPIC), ..Default::default() };
    metadata(sandbox, 12, Some(vec![topic])).remove(0)
}

fn by_id(sandbox: &Sandbox, topic_id: Uuid) -> Told {
    let topic = MetadataRequestTopic { name: None, topic_id };
    metadata(sandbox, 12, Some(vec![topic])).remove(0)
}

/// Fetches from the first partition: error, bytes and where the logs part.
fn fetch(sandbox: &Sandbox, topic_id: Uuid, offset: i64, last_epoch: i32) -> (ErrorCode, usize, (i32, i64)) {
    let partition = FetchRequestPartition {
        fetch_offset: offset,
        last_fetched_epoch: last_epoch,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topics = vec![FetchRequestTopic { topic: "", topic_id, partitions: vec![partition] }];
    let request = FetchRequest { max_wait_ms: 0, topics, ..Default::default() };
    ask(sandbox, 13, &request, |response| {
        assert_eq!(response.responses[0].topic_id, topic_id);
        let read = &response.responses[0].partitions[0];
        let parting = (read.diverging_epoch.epoch, read.diverging_epoch.end_offset);
        (read.error_code, read.records.unwrap().len(), parting)
    })
}

fn produce(sandbox: &Sandbox, topic_id: Uuid) -> ErrorCode {
    let mut batch = BatchWriter::new(Compression::None);
    batch.push(&RECORD);
    let batch = batch.finish().unwrap();
    let partition_data = vec![ProduceRequestPartition { index: 0, records: Some(&batch) }];
    let topic_data = vec![ProduceRequestTopic { topic_id, partition_data, ..Default::default() }];
    let request = ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data, ..Default::default() };
    ask(sandbox, 13, &request, |response| response.responses[0].partition_responses[0].error_code)
}

fn commit(sandbox: &Sandbox, topic_id: Uuid, committed_offset: i64) -> ErrorCode {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset, ..Default::default() }];
    let topics = vec![OffsetCommitRequestTopic { topic_id, partitions, ..Default::default() }];
    let request = OffsetCommitRequest { group_id: GROUP, topics, ..Default::default() };
    ask(sandbox, 10, &request, |response| response.topics[0].partitions[0].error_code)
}

/// Error and position of the first partition.
fn committed(sandbox: &Sandbox, topic_id: Uuid) -> (ErrorCode, i64) {
    let topics =
        Some(vec![OffsetFetchRequestTopic { topic_id, partition_indexes: vec![0], ..Default::default() }]);
    let request = OffsetFetchRequest { group_id: GROUP, topics, ..Default::default() };
    ask(sandbox, 10, &request, |response| {
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.committed_offset)
    })
}

/// Error, epoch and end of a reign over the first partition.
fn reign(sandbox: &Sandbox, leader_epoch: i32) -> (ErrorCode, i32, i64) {
    let partitions = vec![OffsetForLeaderEpochRequestPartition { leader_epoch, ..Default::default() }];
    let topics = vec![OffsetForLeaderEpochRequestTopic { topic: TOPIC, partitions }];
    ask(sandbox, 4, &OffsetForLeaderEpochRequest { topics, ..Default::default() }, |response| {
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    })
}

/// Error and offset of the end of the first partition.
fn end(sandbox: &Sandbox) -> (ErrorCode, i64) {
    let partitions = vec![ListOffsetsRequestPartition { timestamp: -1, ..Default::default() }];
    let topics = vec![ListOffsetsRequestTopic { name: TOPIC, partitions }];
    ask(sandbox, 7, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, |response| {
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.offset)
    })
}

#[test]
fn a_topic_made_anew_has_another_id_and_nothing_of_its_predecessor() {
    let sandbox = sandbox();
    let old = sandbox.topic_id(TOPIC).unwrap();
    assert_ne!(old, Uuid::ZERO);
    let leads = (ErrorCode::NONE, 1, 0);
    assert_eq!(by_name(&sandbox), (ErrorCode::NONE, Some(TOPIC.into()), old, vec![leads; 2]));
    assert_eq!(by_id(&sandbox, old), by_name(&sandbox));
    assert_eq!(produce(&sandbox, old), ErrorCode::NONE);
    assert_eq!(commit(&sandbox, old, 1), ErrorCode::NONE);
    assert_eq!(committed(&sandbox, old), (ErrorCode::NONE, 1));
    assert!(fetch(&sandbox, old, 0, -1).1 > 0);

    sandbox.delete(TOPIC).unwrap();
    assert!(sandbox.delete(TOPIC).is_err());
    let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(TOPIC.into()), Uuid::ZERO, vec![]);
    assert_eq!(by_name(&sandbox), unknown);
    assert!(sandbox.committed(GROUP).is_empty());

    sandbox.create_at_epoch(TOPIC, 2, 5).unwrap();
    assert!(sandbox.create_at_epoch(TOPIC, 2, 5).is_err());
    let new = sandbox.topic_id(TOPIC).unwrap();
    assert_ne!(new, old);
    let leads = (ErrorCode::NONE, 1, 5);
    assert_eq!(by_name(&sandbox), (ErrorCode::NONE, Some(TOPIC.into()), new, vec![leads; 2]));
    assert_eq!(by_id(&sandbox, old), (ErrorCode::UNKNOWN_TOPIC_ID, None, old, vec![]));
    assert_eq!(fetch(&sandbox, old, 0, -1), (ErrorCode::UNKNOWN_TOPIC_ID, 0, (-1, -1)));
    assert_eq!(fetch(&sandbox, Uuid::ZERO, 0, -1).0, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(produce(&sandbox, old), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(commit(&sandbox, old, 1), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(committed(&sandbox, old), (ErrorCode::UNKNOWN_TOPIC_ID, -1));
    assert_eq!(fetch(&sandbox, new, 0, -1), (ErrorCode::NONE, 0, (-1, -1)));
    assert_eq!(committed(&sandbox, new), (ErrorCode::NONE, -1));
    // Epochs of the log of before end where this one begins.
    assert_eq!(reign(&sandbox, 0), (ErrorCode::NONE, 0, 0));
}

#[test]
fn each_sandbox_is_a_cluster_of_its_own() {
    let cluster = |sandbox: &Sandbox| {
        ask(sandbox, 12, &MetadataRequest::default(), |response| response.cluster_id.map(str::to_owned))
    };
    let (one, other) = (sandbox(), sandbox());
    assert!(cluster(&one).is_some_and(|id| !id.is_empty()));
    assert_eq!(cluster(&one), cluster(&one));
    assert_ne!(cluster(&one), cluster(&other));
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let sandbox = sandbox();
    assert!(sandbox.add_partitions(TOPIC, 2).is_err());
    sandbox.add_partitions(TOPIC, 5).unwrap();
    assert_eq!(by_name(&sandbox).3.len(), 5);
    assert!(sandbox.add_partitions("nothing", 5).is_err());
}

#[test]
fn after_an_unclean_election_a_broker_tells_where_the_logs_part() {
    let sandbox = sandbox();
    let id = sandbox.topic_id(TOPIC).unwrap();
    for _ in 0..5 {
        sandbox.produce(TOPIC, 0, &[RECORD]).unwrap();
    }
    sandbox.faults().truncate(&first(), 3);
    for _ in 0..4 {
        sandbox.produce(TOPIC, 0, &[RECORD]).unwrap();
    }
    assert_eq!(sandbox.leader_epoch(TOPIC, 0), Some(1));
    assert_eq!(reign(&sandbox, 0), (ErrorCode::NONE, 0, 3));
    assert_eq!(reign(&sandbox, 1), (ErrorCode::NONE, 1, 7));
    assert_eq!(reign(&sandbox, 2), (ErrorCode::NONE, -1, -1));
    assert_eq!(fetch(&sandbox, id, 5, 0), (ErrorCode::NONE, 0, (0, 3)));
    let (code, bytes, parting) = fetch(&sandbox, id, 3, 0);
    assert_eq!((code, parting), (ErrorCode::NONE, (-1, -1)));
    assert!(bytes > 0);
}

#[test]
fn a_partition_without_leader_says_so_and_serves_nothing() {
    let sandbox = sandbox();
    let id = sandbox.topic_id(TOPIC).unwrap();
    sandbox.faults().without_leader(&first());
    let told = by_name(&sandbox);
    assert_eq!(told.0, ErrorCode::NONE);
    assert_eq!(told.3, [(ErrorCode::LEADER_NOT_AVAILABLE, -1, 1), (ErrorCode::NONE, 1, 0)]);
    assert_eq!(fetch(&sandbox, id, 0, -1).0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    sandbox.faults().move_leader(&first(), 1);
    assert_eq!(by_name(&sandbox).3, [(ErrorCode::NONE, 1, 2), (ErrorCode::NONE, 1, 0)]);
    assert_eq!(fetch(&sandbox, id, 0, -1).0, ErrorCode::NONE);
}

#[test]
fn errors_of_one_partition_last_until_they_are_cleared() {
    let sandbox = sandbox();
    let (faults, id) = (sandbox.faults(), sandbox.topic_id(TOPIC).unwrap());
    let (code, hour) = (ErrorCode::OFFSET_NOT_AVAILABLE, Duration::from_secs(3_600));
    let apis = [ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::OffsetForLeaderEpoch, ApiKey::OffsetFetch];
    apis.iter().for_each(|api| faults.fail(*api, first(), code, hour));
    let codes =
        || [fetch(&sandbox, id, 0, -1).0, end(&sandbox).0, reign(&sandbox, 0).0, committed(&sandbox, id).0];
    assert_eq!((codes(), codes()), ([code; 4], [code; 4]));
    faults.clear();
    assert_eq!(codes(), [ErrorCode::NONE; 4]);
    // Of the other partition, and for no time at all.
    apis.iter().for_each(|api| faults.fail(*api, Partition::new(TOPIC, 1), code, hour));
    apis.iter().for_each(|api| faults.fail(*api, first(), code, Duration::ZERO));
    assert_eq!(codes(), [ErrorCode::NONE; 4]);
}

#[test]
fn metadata_can_lack_a_topic_or_all_brokers_for_a_number_of_answers() {
    let sandbox = sandbox();
    sandbox.create("invoices", 1).unwrap();
    let names = || metadata(&sandbox, 12, None).into_iter().map(|told| told.1.unwrap()).collect::<Vec<_>>();
    sandbox.faults().omit_topic(TOPIC, 2);
    assert_eq!([names(), names(), names()].map(|names| names.len()), [1, 1, 2]);
    let brokers = || ask(&sandbox, 12, &MetadataRequest::default(), |response| response.brokers.len());
    sandbox.faults().omit_brokers(1);
    assert_eq!([brokers(), brokers()], [0, 1]);
}
