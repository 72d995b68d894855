//! Topics that clients make, grow and delete; settings and groups that they look at.

use crate::sandbox::wire::ask;
use sluicegate::kafka::protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsRequestTopic};
use sluicegate::kafka::protocol::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestAssignment, CreateTopicsRequestConfig, CreateTopicsRequestTopic,
};
use sluicegate::kafka::protocol::delete_topics::{DeleteTopicsRequest, DeleteTopicsRequestTopic};
use sluicegate::kafka::protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsRequestResource};
use sluicegate::kafka::protocol::heartbeat::HeartbeatRequest;
use sluicegate::kafka::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use sluicegate::kafka::protocol::list_groups::ListGroupsRequest;
use sluicegate::kafka::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sluicegate::kafka::protocol::offset_fetch::OffsetFetchRequest;
use sluicegate::kafka::protocol::produce::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord, ProducerState};
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};

const TOPIC: &str = "orders";

fn sandbox() -> Sandbox {
    Sandbox::start(SandboxSettings { make_topics: false, ..SandboxSettings::default() }).unwrap()
}

fn topic(name: &str) -> CreateTopicsRequestTopic<'_> {
    CreateTopicsRequestTopic { name, num_partitions: 3, replication_factor: 1, ..Default::default() }
}

/// Error, id, partitions and number of settings of each.
fn create(sandbox: &Sandbox, request: &CreateTopicsRequest<'_>) -> Vec<(ErrorCode, Uuid, i32, usize)> {
    ask(sandbox, 7, request, |response| {
        let told = response.topics.iter().map(|topic| {
            assert_eq!(topic.error_code.is_none(), topic.error_message.is_none());
            let settings = topic.configs.as_ref().map_or(0, Vec::len);
            (topic.error_code, topic.topic_id, topic.num_partitions, settings)
        });
        told.collect()
    })
}

fn create_one(sandbox: &Sandbox, topic: CreateTopicsRequestTopic<'_>) -> ErrorCode {
    create(sandbox, &CreateTopicsRequest { topics: vec![topic], ..Default::default() })[0].0
}

fn partitions(sandbox: &Sandbox) -> i32 {
    (0..).find(|number| sandbox.range(TOPIC, *number).is_none()).unwrap()
}

#[test]
fn a_topic_is_made_with_what_was_asked_for() {
    let sandbox = sandbox();
    let only_checked =
        CreateTopicsRequest { topics: vec![topic(TOPIC)], validate_only: true, ..Default::default() };
    let (code, id, count, _) = create(&sandbox, &only_checked)[0];
    assert_eq!((code, id, count, sandbox.topic_id(TOPIC)), (ErrorCode::NONE, Uuid::ZERO, 3, None));
    let (code, id, count, settings) =
        create(&sandbox, &CreateTopicsRequest { validate_only: false, ..only_checked })[0];
    assert_eq!((code, Some(id), count), (ErrorCode::NONE, sandbox.topic_id(TOPIC), 3));
    assert!(settings > 20 && partitions(&sandbox) == 3);
    let other = CreateTopicsRequestTopic { num_partitions: -1, replication_factor: -1, ..topic("other") };
    assert_eq!(create_one(&sandbox, other), ErrorCode::NONE);
    assert!(sandbox.range("other", SandboxSettings::default().partitions - 1).is_some());
}

#[test]
fn a_topic_that_cannot_be_is_refused_as_kafka_does() {
    let sandbox = Sandbox::start(SandboxSettings { nodes: 2, ..SandboxSettings::default() }).unwrap();
    sandbox.create("there", 1).unwrap();
    let with = |name, num_partitions, replication_factor| CreateTopicsRequestTopic {
        num_partitions,
        replication_factor,
        ..topic(name)
    };
    let set_to = |name, value| CreateTopicsRequestTopic {
        configs: vec![CreateTopicsRequestConfig { name, value: Some(value) }],
        ..topic(TOPIC)
    };
    let assigned = |numbers: &[i32], broker| CreateTopicsRequestTopic {
        assignments: numbers
            .iter()
            .map(|number| CreateTopicsRequestAssignment {
                partition_index: *number,
                broker_ids: vec![broker],
            })
            .collect(),
        ..with(TOPIC, -1, -1)
    };
    for (topic, code) in [
        (topic("there"), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("no spaces"), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (with(TOPIC, 0, 1), ErrorCode::INVALID_PARTITIONS),
        (with(TOPIC, 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (with(TOPIC, 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (set_to("retention", "1"), ErrorCode::INVALID_CONFIG),
        (set_to("retention.ms", "long"), ErrorCode::INVALID_CONFIG),
        (CreateTopicsRequestTopic { num_partitions: 1, ..assigned(&[0], 1) }, ErrorCode::INVALID_REQUEST),
        (assigned(&[1, 2], 1), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[0, 1], 9), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
    ] {
        assert_eq!(create_one(&sandbox, topic.clone()), code, "{topic:?}");
        assert_eq!(sandbox.topic_id(TOPIC), None);
    }
    let twice = CreateTopicsRequest { topics: vec![topic(TOPIC), topic(TOPIC)], ..Default::default() };
    assert!(create(&sandbox, &twice).iter().all(|one| one.0 == ErrorCode::INVALID_REQUEST));
    assert_eq!(create_one(&sandbox, assigned(&[0, 1], 2)), ErrorCode::NONE);
}

#[test]
fn a_topic_is_deleted_by_its_name_or_by_its_id() {
    let sandbox = sandbox();
    let codes = |version, request: &DeleteTopicsRequest<'_>| {
        ask(&sandbox, version, request, |response| {
            response.responses.iter().map(|one| one.error_code).collect::<Vec<_>>()
        })
    };
    sandbox.create(TOPIC, 1).unwrap();
    let by_name = DeleteTopicsRequest { topic_names: vec![TOPIC, "nowhere"], ..Default::default() };
    assert_eq!(codes(5, &by_name), [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    sandbox.create(TOPIC, 1).unwrap();
    let topic_id = sandbox.topic_id(TOPIC).unwrap();
    let topics = vec![DeleteTopicsRequestTopic { name: None, topic_id }];
    let by_id = DeleteTopicsRequest { topics, ..Default::default() };
    assert_eq!(codes(6, &by_id), [ErrorCode::NONE]);
    assert_eq!(codes(6, &by_id), [ErrorCode::UNKNOWN_TOPIC_ID]);
    assert_eq!(sandbox.topic_id(TOPIC), None);
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let sandbox = sandbox();
    sandbox.create(TOPIC, 2).unwrap();
    let grow = |name, count, validate_only| {
        let topics = vec![CreatePartitionsRequestTopic { name, count, assignments: None }];
        let request = CreatePartitionsRequest { topics, timeout_ms: 1_000, validate_only };
        ask(&sandbox, 3, &request, |response| response.results[0].error_code)
    };
    assert_eq!((grow(TOPIC, 5, true), partitions(&sandbox)), (ErrorCode::NONE, 2));
    assert_eq!((grow(TOPIC, 5, false), partitions(&sandbox)), (ErrorCode::NONE, 5));
    assert_eq!((grow(TOPIC, 5, false), partitions(&sandbox)), (ErrorCode::INVALID_PARTITIONS, 5));
    assert_eq!(grow("nowhere", 5, false), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

/// Error, and name, value and origin of each setting.
fn describe(
    sandbox: &Sandbox,
    resource: DescribeConfigsRequestResource<'_>,
) -> (ErrorCode, Vec<(String, String, i8)>) {
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    ask(sandbox, 4, &request, |response| {
        let told = response.results[0].configs.iter();
        let told = told.map(|one| (one.name.to_owned(), one.value.unwrap().to_owned(), one.config_source));
        (response.results[0].error_code, told.collect())
    })
}

#[test]
fn settings_are_told_with_where_they_come_from() {
    let sandbox = sandbox();
    let configs = vec![CreateTopicsRequestConfig { name: "retention.ms", value: Some("5") }];
    create_one(&sandbox, CreateTopicsRequestTopic { configs, ..topic(TOPIC) });
    let resource = |resource_type, resource_name, configuration_keys| DescribeConfigsRequestResource {
        resource_type,
        resource_name,
        configuration_keys,
    };
    let (code, settings) = describe(&sandbox, resource(2, TOPIC, None));
    let set = |name: &str, value: &str, origin| (name.to_owned(), value.to_owned(), origin);
    assert_eq!(code, ErrorCode::NONE);
    assert!(settings.contains(&set("retention.ms", "5", 1)), "{settings:?}");
    assert!(settings.contains(&set("cleanup.policy", "delete", 5)), "{settings:?}");
    let one = describe(&sandbox, resource(2, TOPIC, Some(vec!["retention.ms"])));
    assert_eq!(one, (ErrorCode::NONE, vec![set("retention.ms", "5", 1)]));
    let (code, settings) = describe(&sandbox, resource(4, "1", None));
    assert_eq!(code, ErrorCode::NONE);
    assert!(settings.contains(&set("auto.create.topics.enable", "false", 4)), "{settings:?}");
    assert_eq!(describe(&sandbox, resource(2, "nowhere", None)).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(describe(&sandbox, resource(4, "7", None)).0, ErrorCode::INVALID_REQUEST);
    assert_eq!(describe(&sandbox, resource(8, "1", None)).0, ErrorCode::INVALID_REQUEST);
}

#[test]
fn groups_are_listed_and_none_is_made_by_asking_about_it() {
    let sandbox = sandbox();
    sandbox.create(TOPIC, 1).unwrap();
    let listed = |states_filter, types_filter| {
        ask(&sandbox, 5, &ListGroupsRequest { states_filter, types_filter }, |response| {
            let told = response.groups.iter();
            told.map(|one| (one.group_id.to_owned(), one.group_state.to_owned())).collect::<Vec<_>>()
        })
    };
    let fetch = OffsetFetchRequest { group_id: "asked", topics: None, ..Default::default() };
    ask(&sandbox, 7, &fetch, |response| assert_eq!(response.error_code, ErrorCode::NONE));
    let beat = HeartbeatRequest { group_id: "asked", member_id: "me", ..Default::default() };
    ask(&sandbox, 4, &beat, |response| assert_eq!(response.error_code, ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(listed(vec![], vec![]), []);
    let partitions = vec![OffsetCommitRequestPartition::default()];
    let topics = vec![OffsetCommitRequestTopic { name: TOPIC, partitions, ..Default::default() }];
    let commit = OffsetCommitRequest { group_id: "made", topics, ..Default::default() };
    ask(&sandbox, 9, &commit, |response| {
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
    });
    let made = [("made".to_owned(), "Empty".to_owned())];
    assert_eq!(listed(vec![], vec![]), made);
    assert_eq!(listed(vec!["stable", "empty"], vec!["Classic"]), made);
    assert_eq!((listed(vec!["Stable"], vec![]), listed(vec![], vec!["consumer"])), (vec![], vec![]));
}

#[test]
fn a_member_joins_in_one_step_before_version_4_and_in_two_from_then_on() {
    let sandbox = sandbox();
    let join = |group_id, version| {
        let request = JoinGroupRequest {
            group_id,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version == 0 { -1 } else { 10_000 },
            protocol_type: "consumer",
            protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }],
            ..Default::default()
        };
        ask(&sandbox, version, &request, |response| response.error_code)
    };
    let codes = [join("a", 0), join("b", 3), join("c", 4), join("d", 9)];
    let two_steps = ErrorCode::MEMBER_ID_REQUIRED;
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, two_steps, two_steps]);
}

#[test]
fn what_an_idempotent_producer_sends_again_is_there_once_and_gaps_are_refused() {
    let sandbox = sandbox();
    sandbox.create(TOPIC, 1).unwrap();
    let produce = |base_sequence| {
        let state = ProducerState { id: 7, epoch: 0, base_sequence };
        let mut batch = BatchWriter::new(Compression::None).producer(state);
        batch.push(&NewRecord { timestamp: 1, key: None, value: Some(b"value"), headers: &[] });
        let batch = batch.finish().unwrap();
        let partition_data = vec![ProduceRequestPartition { index: 0, records: Some(&batch) }];
        let topic_data = vec![ProduceRequestTopic { name: TOPIC, partition_data, ..Default::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data, ..Default::default() };
        ask(&sandbox, 9, &request, |response| {
            let told = &response.responses[0].partition_responses[0];
            (told.error_code, told.base_offset)
        })
    };
    assert_eq!([produce(0), produce(1), produce(0)].map(|told| told.1), [0, 1, 0]);
    assert_eq!(produce(3), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(sandbox.range(TOPIC, 0), Some((0, 2)));
}
