//! All messages, and what can be done with each of them alike.

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
use sluicegate::kafka::protocol::{ApiKey, Decode, DecodeError, Encode, EncodeError, Format, Reader, Writer};

/// A value that was read and written.
pub type Converted = Result<Result<Vec<u8>, EncodeError>, DecodeError>;

/// A message and what the tests do with it.
pub struct Message {
    pub name: &'static str,
    pub api: ApiKey,
    /// Reads a value in a version and writes it in a version.
    pub convert: fn(&[u8], Format, Format) -> Converted,
    /// Reads a value and shows it.
    pub show: fn(&[u8], Format) -> Result<String, DecodeError>,
    /// The smallest size that it says it has.
    pub smallest: fn(Format) -> usize,
}

impl Message {
    /// Reads a value and writes it again.
    pub fn rewrite(&self, bytes: &[u8], format: Format) -> Result<Vec<u8>, DecodeError> {
        let written = (self.convert)(bytes, format, format)?;
        Ok(written.unwrap_or_else(|error| panic!("{} {format:?}: {error}", self.name)))
    }

    /// How each of its versions is encoded.
    pub fn formats(&self) -> impl Iterator<Item = Format> {
        self.api.versions().map(|version| self.api.format(version))
    }
}

fn encoded(value: &impl Encode, format: Format) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    let mut writer = Writer::of(&mut out, format);
    writer.write("message", value);
    writer.finish().map(|()| out)
}

macro_rules! messages {
    ($($api:ident: $($name:ident),*;)*) => {
        pub const MESSAGES: &[Message] = &[$($(Message {
            name: stringify!($name),
            api: ApiKey::$api,
            convert: |bytes, from, to| Reader::of(bytes, from).whole::<$name>().map(|value| encoded(&value, to)),
            show: |bytes, format| Reader::of(bytes, format).whole::<$name>().map(|value| format!("{value:?}")),
            smallest: |format| <$name>::smallest(format),
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
    DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse;
    ListGroups: ListGroupsRequest, ListGroupsResponse;
    CreateTopics: CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse;
    CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse;
}
