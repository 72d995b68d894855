//! Values of every message, drawn at random, and what can be done with each message alike.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sluicegate::kafka::protocol::api_versions::*;
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
use sluicegate::kafka::protocol::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Writer};

/// A message and what the tests do with it.
pub struct Message {
    pub name: &'static str,
    pub api: ApiKey,
    /// Draws a value and writes it.
    draw: fn(&mut TestRunner) -> Vec<u8>,
    /// Reads a value and writes it again.
    pub rewrite: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Reads a value and shows it.
    pub show: fn(&[u8]) -> Result<String, DecodeError>,
    /// Writes and reads many values.
    pub round_trip: fn(),
}

impl Message {
    /// Some values as bytes, the same each time.
    pub fn encodings(&self, count: usize) -> Vec<Vec<u8>> {
        let mut runner = TestRunner::deterministic();
        (0..count).map(|_| (self.draw)(&mut runner)).collect()
    }
}

pub fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    value.encode(&mut writer);
    writer.finish().unwrap();
    out
}

macro_rules! messages {
    ($($api:ident: $($name:ident),*;)*) => {
        pub const MESSAGES: &[Message] = &[$($(Message {
            name: stringify!($name),
            api: ApiKey::$api,
            draw: |runner| encoded(&<$name as Sample>::any().new_tree(runner).unwrap().current()),
            rewrite: |bytes| Reader::new(bytes).whole::<$name>().map(|value| encoded(&value)),
            show: |bytes| Reader::new(bytes).whole::<$name>().map(|value| format!("{value:?}")),
            round_trip: || {
                let checked = TestRunner::default().run(&<$name as Sample>::any(), |value| {
                    let bytes = encoded(&value);
                    prop_assert_eq!(Reader::new(&bytes).whole::<$name>(), Ok(value));
                    Ok(())
                });
                assert_eq!(checked, Ok(()), "{}", stringify!($name));
            },
        },)*)*];
    };
}

messages! {
    ApiVersions: ApiVersionsRequest, ApiVersionsResponse;
    Metadata: MetadataRequest, MetadataResponse;
    ListOffsets: ListOffsetsRequest, ListOffsetsResponse;
    Fetch: FetchRequest, FetchResponse;
    FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    JoinGroup: JoinGroupRequest, JoinGroupResponse;
    SyncGroup: SyncGroupRequest, SyncGroupResponse;
    Heartbeat: HeartbeatRequest, HeartbeatResponse;
    LeaveGroup: LeaveGroupRequest, LeaveGroupResponse;
    OffsetCommit: OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch: OffsetFetchRequest, OffsetFetchResponse;
    Produce: ProduceRequest, ProduceResponse;
    SaslHandshake: SaslHandshakeRequest, SaslHandshakeResponse;
    SaslAuthenticate: SaslAuthenticateRequest, SaslAuthenticateResponse;
    InitProducerId: InitProducerIdRequest, InitProducerIdResponse;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    DescribeGroups: DescribeGroupsRequest, DescribeGroupsResponse;
}

/// What can be drawn at random.
pub trait Sample: Sized + std::fmt::Debug + 'static {
    fn any() -> BoxedStrategy<Self>;
}

impl Sample for ErrorCode {
    fn any() -> BoxedStrategy<Self> {
        any::<i16>().prop_map(ErrorCode).boxed()
    }
}

const NAMES: &[&str] = &["", "t", "orders-1", "größer 🦀", "a name of some length, {\"and}\n marks"];

impl Sample for &'static str {
    fn any() -> BoxedStrategy<Self> {
        prop::sample::select(NAMES).boxed()
    }
}

const SLICES: &[&[u8]] = &[b"", b"\0", b"\xff\xff\xff\xff", b"some bytes of some length"];

impl Sample for &'static [u8] {
    fn any() -> BoxedStrategy<Self> {
        prop::sample::select(SLICES).boxed()
    }
}

impl<T: Sample + Clone> Sample for Option<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::option::of(T::any()).boxed()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::collection::vec(T::any(), 0..4).boxed()
    }
}

macro_rules! primitive {
    ($($name:ident)*) => {$(
        impl Sample for $name {
            fn any() -> BoxedStrategy<Self> {
                any::<$name>().boxed()
            }
        }
    )*};
}

primitive!(bool i8 i16 i32 i64);

macro_rules! drawn {
    ($field:ident) => {
        Sample::any()
    };
}

/// All structs of all messages, field by field.
macro_rules! samples {
    ($($name:ty { $($field:ident),* })*) => {
        $(impl Sample for $name {
            fn any() -> BoxedStrategy<Self> {
                ($(drawn!($field),)*).prop_map(|($($field,)*)| Self { $($field),* }).boxed()
            }
        })*

        /// The smallest size that each says it has, and how many bytes it takes when all of them are 0.
        pub fn smallest() -> Vec<(&'static str, usize, usize)> {
            vec![$({
                let mut reader = Reader::new(&[0; 128]);
                <$name>::decode(&mut reader).unwrap();
                (stringify!($name), <$name>::SMALLEST, reader.position())
            }),*]
        }
    };
}

impl Sample for ApiVersionsRequest {
    fn any() -> BoxedStrategy<Self> {
        Just(Self).boxed()
    }
}

impl Sample for ApiVersionsResponse {
    fn any() -> BoxedStrategy<Self> {
        let code = prop_oneof![Just(ErrorCode::UNSUPPORTED_VERSION), Sample::any()];
        (code, Sample::any(), Sample::any())
            .prop_map(|(error_code, api_keys, throttle_time_ms): (_, _, i32)| Self {
                error_code,
                api_keys,
                // Not written beside that error.
                throttle_time_ms: if error_code == ErrorCode::UNSUPPORTED_VERSION {
                    0
                } else {
                    throttle_time_ms
                },
            })
            .boxed()
    }
}

samples! {
    ApiVersionsResponseKey { api_key, min_version, max_version }
    MetadataRequest<'static> { topics, allow_auto_topic_creation, include_cluster_authorized_operations, include_topic_authorized_operations }
    MetadataRequestTopic<'static> { name }
    MetadataResponse<'static> { throttle_time_ms, brokers, cluster_id, controller_id, topics, cluster_authorized_operations }
    MetadataResponseBroker<'static> { node_id, host, port, rack }
    MetadataResponseTopic<'static> { error_code, name, is_internal, partitions, topic_authorized_operations }
    MetadataResponsePartition { error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes, offline_replicas }
    ListOffsetsRequest<'static> { replica_id, isolation_level, topics }
    ListOffsetsRequestTopic<'static> { name, partitions }
    ListOffsetsRequestPartition { partition_index, current_leader_epoch, timestamp }
    ListOffsetsResponse<'static> { throttle_time_ms, topics }
    ListOffsetsResponseTopic<'static> { name, partitions }
    ListOffsetsResponsePartition { partition_index, error_code, timestamp, offset, leader_epoch }
    FetchRequest<'static> { replica_id, max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, topics, forgotten_topics_data, rack_id }
    FetchRequestTopic<'static> { topic, partitions }
    FetchRequestPartition { partition, current_leader_epoch, fetch_offset, log_start_offset, partition_max_bytes }
    FetchRequestForgottenTopic<'static> { topic, partitions }
    FetchResponse<'static> { throttle_time_ms, error_code, session_id, responses }
    FetchResponseTopic<'static> { topic, partitions }
    FetchResponsePartition<'static> { partition_index, error_code, high_watermark, last_stable_offset, log_start_offset, aborted_transactions, preferred_read_replica, records }
    FetchResponseAbortedTransaction { producer_id, first_offset }
    FindCoordinatorRequest<'static> { key, key_type }
    FindCoordinatorResponse<'static> { throttle_time_ms, error_code, error_message, node_id, host, port }
    JoinGroupRequest<'static> { group_id, session_timeout_ms, rebalance_timeout_ms, member_id, group_instance_id, protocol_type, protocols }
    JoinGroupRequestProtocol<'static> { name, metadata }
    JoinGroupResponse<'static> { throttle_time_ms, error_code, generation_id, protocol_name, leader, member_id, members }
    JoinGroupResponseMember<'static> { member_id, group_instance_id, metadata }
    SyncGroupRequest<'static> { group_id, generation_id, member_id, group_instance_id, assignments }
    SyncGroupRequestAssignment<'static> { member_id, assignment }
    SyncGroupResponse<'static> { throttle_time_ms, error_code, assignment }
    HeartbeatRequest<'static> { group_id, generation_id, member_id, group_instance_id }
    HeartbeatResponse { throttle_time_ms, error_code }
    LeaveGroupRequest<'static> { group_id, members }
    LeaveGroupRequestMember<'static> { member_id, group_instance_id }
    LeaveGroupResponse<'static> { throttle_time_ms, error_code, members }
    LeaveGroupResponseMember<'static> { member_id, group_instance_id, error_code }
    OffsetCommitRequest<'static> { group_id, generation_id, member_id, group_instance_id, topics }
    OffsetCommitRequestTopic<'static> { name, partitions }
    OffsetCommitRequestPartition<'static> { partition_index, committed_offset, committed_leader_epoch, committed_metadata }
    OffsetCommitResponse<'static> { throttle_time_ms, topics }
    OffsetCommitResponseTopic<'static> { name, partitions }
    OffsetCommitResponsePartition { partition_index, error_code }
    OffsetFetchRequest<'static> { group_id, topics }
    OffsetFetchRequestTopic<'static> { name, partition_indexes }
    OffsetFetchResponse<'static> { throttle_time_ms, topics, error_code }
    OffsetFetchResponseTopic<'static> { name, partitions }
    OffsetFetchResponsePartition<'static> { partition_index, committed_offset, committed_leader_epoch, metadata, error_code }
    ProduceRequest<'static> { transactional_id, acks, timeout_ms, topic_data }
    ProduceRequestTopic<'static> { name, partition_data }
    ProduceRequestPartition<'static> { index, records }
    ProduceResponse<'static> { responses, throttle_time_ms }
    ProduceResponseTopic<'static> { name, partition_responses }
    ProduceResponsePartition<'static> { index, error_code, base_offset, log_append_time_ms, log_start_offset, record_errors, error_message }
    ProduceResponseRecordError<'static> { batch_index, batch_index_error_message }
    SaslHandshakeRequest<'static> { mechanism }
    SaslHandshakeResponse<'static> { error_code, mechanisms }
    SaslAuthenticateRequest<'static> { auth_bytes }
    SaslAuthenticateResponse<'static> { error_code, error_message, auth_bytes, session_lifetime_ms }
    InitProducerIdRequest<'static> { transactional_id, transaction_timeout_ms }
    InitProducerIdResponse { throttle_time_ms, error_code, producer_id, producer_epoch }
    OffsetForLeaderEpochRequest<'static> { replica_id, topics }
    OffsetForLeaderEpochRequestTopic<'static> { topic, partitions }
    OffsetForLeaderEpochRequestPartition { partition, current_leader_epoch, leader_epoch }
    OffsetForLeaderEpochResponse<'static> { throttle_time_ms, topics }
    OffsetForLeaderEpochResponseTopic<'static> { topic, partitions }
    OffsetForLeaderEpochResponsePartition { error_code, partition, leader_epoch, end_offset }
    DescribeGroupsRequest<'static> { groups, include_authorized_operations }
    DescribeGroupsResponse<'static> { throttle_time_ms, groups }
    DescribeGroupsResponseGroup<'static> { error_code, group_id, group_state, protocol_type, protocol_data, members, authorized_operations }
    DescribeGroupsResponseMember<'static> { member_id, group_instance_id, client_id, client_host, member_metadata, member_assignment }
}
