//! Real brokers take each request in each version that both sides know, and their answers are read and written as
//! they were.
//!
//! With `SLUICEGATE_KEEP_GOLDEN=1` what was said is kept for the tests that do without a broker (see `golden`).

use super::golden::{Exchange, keep};
use crate::support::broker::{Broker, NEW, OLD, OLDEST};
use crate::support::jvm::program;
use crate::support::output::output;
use crate::support::{LONG, eventually};
use sluicegate::kafka::group::assignor::{Assignment, Subscription};
use sluicegate::kafka::group::consumer_protocol::{encode_assignment, encode_subscription};
use sluicegate::kafka::protocol::api_versions::*;
use sluicegate::kafka::protocol::create_partitions::*;
use sluicegate::kafka::protocol::create_topics::*;
use sluicegate::kafka::protocol::delete_topics::*;
use sluicegate::kafka::protocol::describe_configs::*;
use sluicegate::kafka::protocol::describe_groups::*;
use sluicegate::kafka::protocol::fetch::*;
use sluicegate::kafka::protocol::find_coordinator::*;
use sluicegate::kafka::protocol::heartbeat::*;
use sluicegate::kafka::protocol::init_producer_id::*;
use sluicegate::kafka::protocol::join_group::*;
use sluicegate::kafka::protocol::leave_group::*;
use sluicegate::kafka::protocol::list_groups::*;
use sluicegate::kafka::protocol::list_offsets::*;
use sluicegate::kafka::protocol::metadata::*;
use sluicegate::kafka::protocol::offset_commit::*;
use sluicegate::kafka::protocol::offset_fetch::*;
use sluicegate::kafka::protocol::offset_for_leader_epoch::*;
use sluicegate::kafka::protocol::produce::*;
use sluicegate::kafka::protocol::sasl_authenticate::*;
use sluicegate::kafka::protocol::sasl_handshake::*;
use sluicegate::kafka::protocol::sync_group::*;
use sluicegate::kafka::protocol::{
    ApiKey, ErrorCode, Format, Hidden, LARGEST_FRAME, Reader, Request, Uuid, frame, frame_length,
    response_body,
};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord};
use sluicegate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

const TOPIC: &str = "golden";
const COMPACTED: &str = "compacted";
const GROUP: &str = "golden-group";
const KEEP: &str = "SLUICEGATE_KEEP_GOLDEN";
const PLAIN_USER: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                          username=\"alice\" password=\"secret\" user_alice=\"secret\";";

/// What is said to one broker.
struct Conversation {
    address: String,
    stream: TcpStream,
    /// The lowest and the highest version of each API that both sides know.
    versions: BTreeMap<ApiKey, (i16, i16)>,
    /// How far above the lowest version this round is.
    round: i16,
    said: Vec<Exchange>,
    topic_id: Uuid,
}

/// The body of an answer.
struct Answer(Vec<u8>, Format);

impl Answer {
    fn read<R: Request>(&self) -> R::Response<'_> {
        let mut response = Reader::of(&self.0, self.1).whole().unwrap();
        R::restore(&mut response, self.1.version);
        response
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

impl Conversation {
    fn with(broker: &Broker) -> Self {
        let address = broker.address();
        let (stream, versions) = (connect(&address), BTreeMap::new());
        let mut with = Self { address, stream, versions, round: 0, said: Vec::new(), topic_id: Uuid::ZERO };
        let answer = with.ask(&ApiVersionsRequest::default());
        let response = answer.read::<ApiVersionsRequest>();
        for key in &response.api_keys {
            let Some(api) = ApiKey::from_i16(key.api_key) else { continue };
            let (lowest, highest) = (*api.versions().start(), *api.versions().end());
            with.versions.insert(api, (lowest.max(key.min_version), highest.min(key.max_version)));
        }
        with
    }

    /// A fresh connection.
    fn again(&mut self) {
        self.stream = connect(&self.address);
    }

    /// The version of this round.
    fn version(&self, api: ApiKey) -> i16 {
        let (lowest, highest) = self.versions.get(&api).copied().unwrap_or((0, 0));
        (lowest + self.round).min(highest)
    }

    /// How many rounds there are.
    fn rounds(&self) -> i16 {
        self.versions.values().map(|(lowest, highest)| highest - lowest + 1).max().unwrap()
    }

    fn ask<R: Request>(&mut self, request: &R) -> Answer {
        let (mut sent, id) = (Vec::new(), self.said.len() as i32);
        let version = self.version(R::API);
        frame(request, version, id, "me", &mut sent)
            .unwrap_or_else(|error| panic!("{} {version}: {error}", R::API));
        self.stream.write_all(&sent).unwrap();
        let mut received = vec![0; 4];
        self.stream.read_exact(&mut received).unwrap_or_else(|error| panic!("{} {version}: {error}", R::API));
        let length = frame_length(*received.first_chunk().unwrap(), LARGEST_FRAME).unwrap();
        received.resize(4 + length, 0);
        self.stream.read_exact(&mut received[4..]).unwrap();
        let mut reader = Reader::new(&received[4..]);
        assert_eq!(response_body(&mut reader, R::API, version), Ok(id));
        let answer = Answer(reader.remaining().to_vec(), reader.format());
        let exchange = Exchange { request: sent, response: received };
        exchange.check();
        self.said.push(exchange);
        answer
    }

    /// Asks until the answer is ready; only the last time is kept.
    fn ask_until<R: Request>(&mut self, request: &R, ready: impl Fn(&Answer) -> bool) -> Answer {
        let (mut last, kept) = (None, self.said.len());
        eventually("the broker is ready", || {
            self.said.truncate(kept);
            let answer = self.ask(request);
            let is_ready = ready(&answer);
            last = Some(answer);
            is_ready
        });
        last.unwrap()
    }
}

fn batch(key: Option<&[u8]>) -> Vec<u8> {
    let mut batch = BatchWriter::new(Compression::None);
    let headers = &[];
    batch.push(&NewRecord { timestamp: 1_700_000_000_000, key, value: Some(b"value"), headers });
    batch.finish().unwrap()
}

fn produce(with: &mut Conversation, name: &str, key: Option<&[u8]>) -> (ErrorCode, usize) {
    let records = batch(key);
    let partition_data = vec![ProduceRequestPartition { index: 0, records: Some(&records) }];
    let topic_id = if name == TOPIC { with.topic_id } else { Uuid::ZERO };
    if topic_id == Uuid::ZERO && with.version(ApiKey::Produce) >= 13 {
        return (ErrorCode::INVALID_RECORD, 1);
    }
    let topic_data = vec![ProduceRequestTopic { name, topic_id, partition_data }];
    let answer = with.ask(&ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 5000, topic_data });
    let response = answer.read::<ProduceRequest>();
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.record_errors.len())
}

/// The cluster, and what it is.
fn cluster(with: &mut Conversation) {
    let name = "sluicegate";
    let answer = with.ask(&ApiVersionsRequest { client_software_name: name, client_software_version: "1.0" });
    assert!(answer.read::<ApiVersionsRequest>().api_keys.len() > 30);
    let version = with.version(ApiKey::Metadata);
    let of_name = |name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
    for topics in [None, Some(vec![of_name(TOPIC), of_name("?")])] {
        let answer = with.ask(&MetadataRequest {
            topics,
            allow_auto_topic_creation: version < 4,
            include_cluster_authorized_operations: (8..=10).contains(&version),
            include_topic_authorized_operations: version >= 8,
        });
        let response = answer.read::<MetadataRequest>();
        assert_eq!((response.brokers.len(), response.controller_id), (1, 1));
        let topic = response.topics.iter().find(|topic| topic.name == Some(TOPIC)).unwrap();
        assert_eq!(topic.partitions.len(), 2);
        if version >= 10 {
            assert_ne!(topic.topic_id, Uuid::ZERO);
            with.topic_id = topic.topic_id;
        }
    }
    let resources = vec![DescribeConfigsRequestResource {
        resource_type: 2,
        resource_name: TOPIC,
        configuration_keys: None,
    }];
    let answer = with.ask(&DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() });
    let response = answer.read::<DescribeConfigsRequest>();
    assert!(response.results[0].configs.iter().any(|config| config.name == "retention.ms"));
}

/// A topic's life.
fn administration(with: &mut Conversation) {
    let made = format!("made-{}", with.round);
    let configs = vec![CreateTopicsRequestConfig { name: "retention.ms", value: Some("1000") }];
    let topic = CreateTopicsRequestTopic {
        name: &made,
        num_partitions: 1,
        replication_factor: 1,
        configs,
        ..CreateTopicsRequestTopic::default()
    };
    let twice = CreateTopicsRequestTopic {
        name: TOPIC,
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreateTopicsRequestAssignment { partition_index: 0, broker_ids: vec![1] }],
        ..CreateTopicsRequestTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic, twice], ..CreateTopicsRequest::default() };
    let answer = with.ask(&request);
    let response = answer.read::<CreateTopicsRequest>();
    let code = |name: &str| response.topics.iter().find(|topic| topic.name == name).unwrap().error_code;
    assert_eq!((code(&made), code(TOPIC)), (ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS));
    let topic = |name| CreatePartitionsRequestTopic { name, count: 2, assignments: None };
    let topics = vec![topic(&made), topic("nowhere")];
    let request = CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: false };
    let answer = with.ask_until(&request, |answer| {
        let response = answer.read::<CreatePartitionsRequest>();
        response.results.iter().any(|topic| topic.name == made && topic.error_code.is_none())
    });
    assert!(answer.read::<CreatePartitionsRequest>().results.iter().any(|topic| !topic.error_code.is_none()));
    let topic_names = vec![made.as_str(), "nowhere"];
    let answer = with.ask(&DeleteTopicsRequest { topic_names, timeout_ms: 10_000, ..Default::default() });
    let response = answer.read::<DeleteTopicsRequest>();
    let code = |name: &str| response.responses.iter().find(|one| one.name == Some(name)).unwrap().error_code;
    assert_eq!((code(&made), code("nowhere")), (ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

/// The way of the records.
fn records(with: &mut Conversation) {
    assert_eq!(produce(with, TOPIC, Some(b"key")), (ErrorCode::NONE, 0));
    let named = usize::from(with.version(ApiKey::Produce) >= 8);
    assert_eq!(produce(with, COMPACTED, None), (ErrorCode::INVALID_RECORD, named));
    for (timestamp, found) in [(-1, true), (-2, true), (0, true), (i64::MAX, false)] {
        let asked = ListOffsetsRequestPartition { timestamp, ..ListOffsetsRequestPartition::default() };
        let topics = vec![ListOffsetsRequestTopic { name: TOPIC, partitions: vec![asked] }];
        let isolation_level = i8::from(with.version(ApiKey::ListOffsets) >= 2);
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, timeout_ms: 1000 };
        let answer = with.ask(&request);
        let response = answer.read::<ListOffsetsRequest>();
        assert_eq!(response.topics[0].partitions[0].offset >= 0, found);
    }
    for fetch_offset in [0, 1_000_000] {
        fetch(with, fetch_offset);
    }
    let asked = OffsetForLeaderEpochRequestPartition::default();
    let topics = vec![OffsetForLeaderEpochRequestTopic { topic: TOPIC, partitions: vec![asked] }];
    let answer = with.ask(&OffsetForLeaderEpochRequest { replica_id: -1, topics });
    assert!(answer.read::<OffsetForLeaderEpochRequest>().topics[0].partitions[0].end_offset > 0);
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let answer = with.ask_until(&request, |answer| {
        answer.read::<InitProducerIdRequest>().error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    });
    let given = answer.read::<InitProducerIdRequest>();
    assert!(given.error_code == ErrorCode::NONE && given.producer_id >= 0 && given.producer_epoch == 0);
}

fn fetch(with: &mut Conversation, fetch_offset: i64) {
    let partition =
        FetchRequestPartition { fetch_offset, partition_max_bytes: 4096, ..FetchRequestPartition::default() };
    let topic_id = with.topic_id;
    let answer = with.ask(&FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 4096,
        isolation_level: 1,
        topics: vec![FetchRequestTopic { topic: TOPIC, topic_id, partitions: vec![partition] }],
        ..FetchRequest::default()
    });
    let response = answer.read::<FetchRequest>();
    let partition = &response.responses[0].partitions[0];
    if fetch_offset == 0 {
        assert_eq!(partition.error_code, ErrorCode::NONE);
        assert!(!partition.aborted_transactions.as_ref().unwrap().is_empty());
        assert!(partition.records.unwrap().len() > 100);
    } else {
        assert_eq!(partition.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
}

/// A member's life.
fn membership(with: &mut Conversation) {
    let request = FindCoordinatorRequest { key: GROUP, ..FindCoordinatorRequest::default() };
    with.ask_until(&request, |answer| answer.read::<FindCoordinatorRequest>().error_code.is_none());
    let topics = [TOPIC.into()].into();
    let metadata = encode_subscription(&Subscription { topics, ..Subscription::default() }).unwrap();
    let first = join(with, "", &metadata);
    let first = first.read::<JoinGroupRequest>();
    let member_id = first.member_id;
    let mut generation_id = first.generation_id;
    if with.version(ApiKey::JoinGroup) >= 4 {
        assert_eq!(first.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        let second = join(with, member_id, &metadata);
        let second = second.read::<JoinGroupRequest>();
        assert_eq!((second.leader, second.members.len()), (member_id, 1));
        assert_eq!(second.protocol_name, Some("range"));
        generation_id = second.generation_id;
    }
    let partitions = vec![Partition::new(TOPIC, 0)];
    let assignment = encode_assignment(&Assignment { partitions, ..Assignment::default() }).unwrap();
    let (group_id, group_instance_id) = (GROUP, None);
    let answer = with.ask(&SyncGroupRequest {
        group_id,
        generation_id,
        member_id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: vec![SyncGroupRequestAssignment { member_id, assignment: &assignment }],
        ..SyncGroupRequest::default()
    });
    assert_eq!(answer.read::<SyncGroupRequest>().assignment, assignment);
    for (generation_id, error) in
        [(generation_id, ErrorCode::NONE), (generation_id + 1, ErrorCode::ILLEGAL_GENERATION)]
    {
        let answer = with.ask(&HeartbeatRequest { group_id, generation_id, member_id, group_instance_id });
        assert_eq!(answer.read::<HeartbeatRequest>().error_code, error);
    }
    commit(with, generation_id, member_id);
    let include_authorized_operations = with.version(ApiKey::DescribeGroups) >= 3;
    let answer =
        with.ask(&DescribeGroupsRequest { groups: vec![GROUP, "nobody"], include_authorized_operations });
    let response = answer.read::<DescribeGroupsRequest>();
    // In another order than asked for, on a newer broker.
    let described = response.groups.iter().find(|group| group.group_id == GROUP).unwrap();
    assert_eq!(described.members[0].member_assignment, assignment);
    let answer = with.ask(&ListGroupsRequest::default());
    let response = answer.read::<ListGroupsRequest>();
    let listed = response.groups.iter().find(|group| group.group_id == GROUP).unwrap();
    assert_eq!(listed.protocol_type, "consumer");
    let members = vec![LeaveGroupRequestMember { member_id, ..LeaveGroupRequestMember::default() }];
    let answer = with.ask(&LeaveGroupRequest { group_id, members, ..LeaveGroupRequest::default() });
    let left = answer.read::<LeaveGroupRequest>();
    assert_eq!(left.error_code, ErrorCode::NONE);
    assert_eq!(
        left.members.iter().map(|member| member.error_code).max().unwrap_or_default(),
        ErrorCode::NONE
    );
}

/// Joins; a coordinator may be named before it has loaded its groups.
fn join(with: &mut Conversation, member_id: &str, metadata: &[u8]) -> Answer {
    let request = JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata }],
        ..JoinGroupRequest::default()
    };
    with.ask_until(&request, |answer| !answer.read::<JoinGroupRequest>().error_code.is_retriable())
}

fn commit(with: &mut Conversation, generation_id: i32, member_id: &str) {
    let partitions = vec![OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 3,
        committed_leader_epoch: 0,
        committed_metadata: Some("m"),
    }];
    let (group_id, topic_id) = (GROUP, with.topic_id);
    let topics = vec![OffsetCommitRequestTopic { name: TOPIC, topic_id, partitions }];
    let request =
        OffsetCommitRequest { group_id, generation_id, member_id, topics, ..OffsetCommitRequest::default() };
    let answer = with.ask(&request);
    let response = answer.read::<OffsetCommitRequest>();
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
    let some = vec![OffsetFetchRequestTopic { name: TOPIC, topic_id, partition_indexes: vec![0, 1] }];
    let all = if with.version(ApiKey::OffsetFetch) < 2 { Some(some.clone()) } else { None };
    for topics in [all, Some(some)] {
        let answer = with.ask(&OffsetFetchRequest { group_id, topics, ..OffsetFetchRequest::default() });
        let response = answer.read::<OffsetFetchRequest>();
        assert_eq!(response.topics[0].partitions[0].committed_offset, 3);
    }
}

/// One attempt to authenticate; a refusal costs the connection.
fn authentication(with: &mut Conversation, mechanism: &str, auth_bytes: &[u8]) -> ErrorCode {
    let answer = with.ask(&SaslHandshakeRequest { mechanism });
    let shaken = answer.read::<SaslHandshakeRequest>();
    if let Err(error) = shaken.error_code.ok() {
        return error;
    }
    if with.version(ApiKey::SaslHandshake) == 0 {
        // What would follow has no frame around it.
        with.again();
        with.round = 1;
        let shaken = with.ask(&SaslHandshakeRequest { mechanism });
        with.round = 0;
        assert_eq!(shaken.read::<SaslHandshakeRequest>().error_code, ErrorCode::NONE);
    }
    let answer = with.ask(&SaslAuthenticateRequest { auth_bytes: Hidden(auth_bytes) });
    answer.read::<SaslAuthenticateRequest>().error_code
}

/// What the broker without and the one with SASL say.
fn whole_exchange(version: &str) -> Option<Vec<Exchange>> {
    let broker = Broker::start(version)?;
    let admin = broker.admin();
    admin.create(TOPIC, 2, 1, &[]);
    admin.create(COMPACTED, 1, 1, &["cleanup.policy=compact"]);
    let transactions = output(program("Transactions").args([&broker.address(), TOPIC, "1", "2", "none"]));
    assert!(transactions.status.success(), "{}", String::from_utf8_lossy(&transactions.stderr));
    let mut with = Conversation::with(&broker);
    // The newest version tells the topic's id, which others need.
    with.round = with.rounds();
    cluster(&mut with);
    for round in 0..with.rounds() {
        with.round = round;
        cluster(&mut with);
        administration(&mut with);
        records(&mut with);
        membership(&mut with);
    }
    let mut said = first_times(with.said);
    let secured = Broker::with(
        version,
        &[
            ("listener.security.protocol.map", "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
            ("listener.name.plaintext.plain.sasl.jaas.config", PLAIN_USER),
            ("connections.max.reauth.ms", "3600000"),
        ],
    )?;
    let mut with = Conversation::with(&secured);
    for round in 0..3 {
        for (mechanism, auth_bytes, error) in [
            ("PLAIN", &b"\0alice\0secret"[..], ErrorCode::NONE),
            ("PLAIN", b"\0alice\0wrong", ErrorCode::SASL_AUTHENTICATION_FAILED),
            ("SCRAM-SHA-256", b"", ErrorCode::UNSUPPORTED_SASL_MECHANISM),
        ] {
            with.again();
            with.round = round;
            assert_eq!(authentication(&mut with, mechanism, auth_bytes), error);
        }
    }
    said.append(&mut with.said);
    Some(said)
}

/// What is kept: each version of each request where it was asked first, with what was asked beside it.
fn first_times(said: Vec<Exchange>) -> Vec<Exchange> {
    let (mut before, mut last) = (BTreeSet::new(), None);
    let mut kept = Vec::new();
    for exchange in said {
        let asked = exchange.asked();
        let is_new = before.insert(asked);
        let goes_on = last == Some(asked);
        last = (is_new || goes_on).then_some(asked);
        kept.extend((is_new || goes_on).then_some(exchange));
    }
    kept
}

fn converse(version: &str) {
    let Some(said) = whole_exchange(version) else { return };
    if std::env::var_os(KEEP).is_some() && super::golden::KEPT.contains(&version) {
        keep(version, &said);
    }
}

#[test]
fn the_oldest_broker_takes_each_request_and_its_answers_are_read() {
    converse(OLDEST);
}

#[test]
fn the_last_broker_of_the_old_kind_takes_each_request_and_its_answers_are_read() {
    converse(OLD);
}

#[test]
fn the_newest_broker_takes_each_request_and_its_answers_are_read() {
    converse(NEW);
}
