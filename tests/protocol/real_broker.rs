//! Real brokers take each request, and their answers are read and written as they were.
//!
//! With `SLUICEGATE_KEEP_GOLDEN=1` what was said is kept for the tests that do without a broker (see `golden`).

use super::golden::{Exchange, keep};
use super::support::broker::{Broker, NEW, OLD, OLDEST};
use super::support::jvm::program;
use super::support::{LONG, eventually};
use sluicegate::kafka::group::assignor::{Assignment, Subscription};
use sluicegate::kafka::protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use sluicegate::kafka::protocol::consumer_protocol::{encode_assignment, encode_subscription};
use sluicegate::kafka::protocol::describe_groups::*;
use sluicegate::kafka::protocol::fetch::*;
use sluicegate::kafka::protocol::find_coordinator::*;
use sluicegate::kafka::protocol::heartbeat::*;
use sluicegate::kafka::protocol::init_producer_id::*;
use sluicegate::kafka::protocol::join_group::*;
use sluicegate::kafka::protocol::leave_group::*;
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
    Decode, ErrorCode, LARGEST_FRAME, Reader, Request, ResponseHeader, frame, frame_length,
};
use sluicegate::kafka::record_batch::{BatchWriter, Compression, NewRecord};
use sluicegate::relay::record::Partition;
use std::io::{Read, Write};
use std::net::TcpStream;

const TOPIC: &str = "golden";
const COMPACTED: &str = "compacted";
const GROUP: &str = "golden-group";
const KEEP: &str = "SLUICEGATE_KEEP_GOLDEN";
const PLAIN_USER: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                          username=\"alice\" password=\"secret\" user_alice=\"secret\";";

/// One connection, and what was said on it.
struct Conversation {
    stream: TcpStream,
    said: Vec<Exchange>,
}

/// The body of an answer.
struct Answer(Vec<u8>);

impl Answer {
    fn read<'a, T: Decode<'a>>(&'a self) -> T {
        Reader::new(&self.0).whole().unwrap()
    }
}

impl Conversation {
    fn with(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self { stream, said: Vec::new() }
    }

    fn ask<R: Request>(&mut self, request: &R) -> Answer {
        let (mut sent, id) = (Vec::new(), self.said.len() as i32);
        frame(request, id, "me", &mut sent).unwrap();
        self.stream.write_all(&sent).unwrap();
        let mut received = vec![0; 4];
        self.stream.read_exact(&mut received).unwrap();
        let length = frame_length(*received.first_chunk().unwrap(), LARGEST_FRAME).unwrap();
        received.resize(4 + length, 0);
        self.stream.read_exact(&mut received[4..]).unwrap();
        let mut reader = Reader::new(&received[4..]);
        assert_eq!(ResponseHeader::decode(&mut reader).unwrap().correlation_id, id);
        let answer = Answer(reader.remaining().to_vec());
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
    let topic_data = vec![ProduceRequestTopic { name, partition_data }];
    let answer = with.ask(&ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 5000, topic_data });
    let response: ProduceResponse = answer.read();
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.record_errors.len())
}

/// The cluster, and the way of the records.
fn records(with: &mut Conversation) {
    let answer = with.ask(&ApiVersionsRequest);
    assert!(answer.read::<ApiVersionsResponse>().api_keys.len() > 30);
    for topics in [None, Some(vec![MetadataRequestTopic { name: TOPIC }, MetadataRequestTopic { name: "?" }])]
    {
        let answer = with.ask(&MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: true,
            include_topic_authorized_operations: true,
        });
        let response: MetadataResponse = answer.read();
        assert_eq!((response.brokers.len(), response.controller_id), (1, 1));
        assert!(response.topics.iter().any(|topic| topic.name == TOPIC && !topic.partitions.is_empty()));
    }
    assert_eq!(produce(with, TOPIC, Some(b"key")), (ErrorCode::NONE, 0));
    assert_eq!(produce(with, COMPACTED, None), (ErrorCode::INVALID_RECORD, 1));
    for (timestamp, found) in [(-1, true), (-2, true), (0, true), (i64::MAX, false)] {
        let partitions =
            vec![ListOffsetsRequestPartition { partition_index: 0, current_leader_epoch: -1, timestamp }];
        let topics = vec![ListOffsetsRequestTopic { name: TOPIC, partitions }];
        let answer = with.ask(&ListOffsetsRequest { replica_id: -1, isolation_level: 1, topics });
        let response: ListOffsetsResponse = answer.read();
        assert_eq!(response.topics[0].partitions[0].offset >= 0, found);
    }
    for fetch_offset in [0, 1_000_000] {
        fetch(with, fetch_offset);
    }
    let partitions = vec![OffsetForLeaderEpochRequestPartition {
        partition: 0,
        current_leader_epoch: -1,
        leader_epoch: 0,
    }];
    let topics = vec![OffsetForLeaderEpochRequestTopic { topic: TOPIC, partitions }];
    let answer = with.ask(&OffsetForLeaderEpochRequest { replica_id: -1, topics });
    assert!(answer.read::<OffsetForLeaderEpochResponse>().topics[0].partitions[0].end_offset > 0);
    let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000 };
    let answer = with.ask_until(&request, |answer| {
        answer.read::<InitProducerIdResponse>().error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    });
    let given: InitProducerIdResponse = answer.read();
    assert!(given.error_code == ErrorCode::NONE && given.producer_id >= 0 && given.producer_epoch == 0);
}

fn fetch(with: &mut Conversation, fetch_offset: i64) {
    let partition = FetchRequestPartition {
        partition: 0,
        current_leader_epoch: -1,
        fetch_offset,
        log_start_offset: -1,
        partition_max_bytes: 4096,
    };
    let answer = with.ask(&FetchRequest {
        replica_id: -1,
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 4096,
        isolation_level: 1,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchRequestTopic { topic: TOPIC, partitions: vec![partition] }],
        forgotten_topics_data: vec![],
        rack_id: "",
    });
    let response: FetchResponse = answer.read();
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
    with.ask_until(&FindCoordinatorRequest { key: GROUP, key_type: 0 }, |answer| {
        answer.read::<FindCoordinatorResponse>().error_code.is_none()
    });
    let topics = [TOPIC.into()].into();
    let metadata = encode_subscription(&Subscription { topics, ..Subscription::default() }).unwrap();
    // A coordinator may be named before it has loaded its groups.
    let ready = |answer: &Answer| !answer.read::<JoinGroupResponse>().error_code.is_retriable();
    let first = join(with, "", &metadata, ready);
    let first: JoinGroupResponse = first.read();
    assert_eq!(first.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    let member_id = first.member_id;
    let second = join(with, member_id, &metadata, ready);
    let second: JoinGroupResponse = second.read();
    assert_eq!((second.error_code, second.leader, second.members.len()), (ErrorCode::NONE, member_id, 1));
    let generation_id = second.generation_id;
    let partitions = vec![Partition::new(TOPIC, 0)];
    let assignment = encode_assignment(&Assignment { partitions, ..Assignment::default() }).unwrap();
    let (group_id, group_instance_id) = (GROUP, None);
    let answer = with.ask(&SyncGroupRequest {
        group_id,
        generation_id,
        member_id,
        group_instance_id,
        assignments: vec![SyncGroupRequestAssignment { member_id, assignment: &assignment }],
    });
    assert_eq!(answer.read::<SyncGroupResponse>().assignment, assignment);
    for (generation_id, error) in
        [(generation_id, ErrorCode::NONE), (generation_id + 1, ErrorCode::ILLEGAL_GENERATION)]
    {
        let answer = with.ask(&HeartbeatRequest { group_id, generation_id, member_id, group_instance_id });
        assert_eq!(answer.read::<HeartbeatResponse>().error_code, error);
    }
    commit(with, generation_id, member_id);
    let groups = vec![GROUP, "nobody"];
    let answer = with.ask(&DescribeGroupsRequest { groups, include_authorized_operations: true });
    let response: DescribeGroupsResponse = answer.read();
    // In another order than asked for, on a newer broker.
    let described = response.groups.iter().find(|group| group.group_id == GROUP).unwrap();
    assert_eq!(described.members[0].member_assignment, assignment);
    let members = vec![LeaveGroupRequestMember { member_id, group_instance_id }];
    let answer = with.ask(&LeaveGroupRequest { group_id, members });
    assert_eq!(answer.read::<LeaveGroupResponse>().members[0].error_code, ErrorCode::NONE);
}

fn join(
    with: &mut Conversation,
    member_id: &str,
    metadata: &[u8],
    ready: impl Fn(&Answer) -> bool,
) -> Answer {
    let request = JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id,
        group_instance_id: None,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata }],
    };
    with.ask_until(&request, ready)
}

fn commit(with: &mut Conversation, generation_id: i32, member_id: &str) {
    let partitions = vec![OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 3,
        committed_leader_epoch: 0,
        committed_metadata: Some("m"),
    }];
    let topics = vec![OffsetCommitRequestTopic { name: TOPIC, partitions }];
    let group_id = GROUP;
    let request = OffsetCommitRequest { group_id, generation_id, member_id, group_instance_id: None, topics };
    let answer = with.ask(&request);
    assert_eq!(answer.read::<OffsetCommitResponse>().topics[0].partitions[0].error_code, ErrorCode::NONE);
    let some = vec![OffsetFetchRequestTopic { name: TOPIC, partition_indexes: vec![0, 1] }];
    for topics in [None, Some(some)] {
        let answer = with.ask(&OffsetFetchRequest { group_id, topics });
        assert_eq!(answer.read::<OffsetFetchResponse>().topics[0].partitions[0].committed_offset, 3);
    }
}

/// One attempt to authenticate; a refusal costs the connection.
fn authentication(with: &mut Conversation, mechanism: &str, auth_bytes: &[u8]) -> ErrorCode {
    let answer = with.ask(&SaslHandshakeRequest { mechanism });
    let shaken: SaslHandshakeResponse = answer.read();
    if let Err(error) = shaken.error_code.ok() {
        return error;
    }
    let answer = with.ask(&SaslAuthenticateRequest { auth_bytes });
    answer.read::<SaslAuthenticateResponse>().error_code
}

/// What the broker without and the one with SASL say.
fn whole_exchange(version: &str) -> Option<Vec<Exchange>> {
    let broker = Broker::start(version)?;
    let admin = broker.admin();
    admin.create(TOPIC, 2, 1, &[]);
    admin.create(COMPACTED, 1, 1, &["cleanup.policy=compact"]);
    let transactions =
        program("Transactions").args([&broker.address(), TOPIC, "1", "2", "none"]).output().unwrap();
    assert!(transactions.status.success(), "{}", String::from_utf8_lossy(&transactions.stderr));
    let mut with = Conversation::with(&broker);
    records(&mut with);
    membership(&mut with);
    let mut said = with.said;
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
    for (mechanism, auth_bytes, error) in [
        ("PLAIN", &b"\0alice\0secret"[..], ErrorCode::NONE),
        ("PLAIN", b"\0alice\0wrong", ErrorCode::SASL_AUTHENTICATION_FAILED),
        ("SCRAM-SHA-256", b"", ErrorCode::UNSUPPORTED_SASL_MECHANISM),
    ] {
        let mut with = Conversation::with(&secured);
        assert_eq!(authentication(&mut with, mechanism, auth_bytes), error);
        said.append(&mut with.said);
    }
    Some(said)
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
