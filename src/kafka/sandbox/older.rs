//! The versions of a few APIs that librdkafka speaks and that are older than ours: their requests read as ours,
//! our responses written as theirs.

use crate::kafka::protocol::api_versions::ApiVersionsResponse;
use crate::kafka::protocol::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember, LeaveGroupResponse};
use crate::kafka::protocol::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic, ListOffsetsResponse,
};
use crate::kafka::protocol::metadata::{MetadataRequest, MetadataResponse};
use crate::kafka::protocol::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::kafka::protocol::produce::ProduceResponse;
use crate::kafka::protocol::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Writer};

/// Whether requests of that version are understood.
pub(super) fn is_understood(api: ApiKey, version: i16) -> bool {
    let oldest = match api {
        ApiKey::Produce => 5,
        ApiKey::Metadata => 4,
        ApiKey::ListOffsets => 2,
        ApiKey::LeaveGroup => 1,
        ApiKey::OffsetForLeaderEpoch => 2,
        ApiKey::InitProducerId => 0,
        _ => api.version(),
    };
    (oldest..=api.version()).contains(&version)
}

/// Nothing may follow.
fn ended<T>(reader: &Reader<'_>, value: T) -> Result<T, DecodeError> {
    reader.clone().whole::<Nothing>().map(|_| value)
}

struct Nothing;

impl Decode<'_> for Nothing {
    const SMALLEST: usize = 0;

    fn decode(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// From version 4 on.
pub(super) fn metadata_request(
    mut reader: Reader<'_>,
    version: i16,
) -> Result<MetadataRequest<'_>, DecodeError> {
    if version >= 8 {
        return reader.whole();
    }
    let request = MetadataRequest {
        topics: reader.nullable_array("topics")?,
        allow_auto_topic_creation: reader.boolean("allow_auto_topic_creation")?,
        include_cluster_authorized_operations: false,
        include_topic_authorized_operations: false,
    };
    ended(&reader, request)
}

/// From version 2 on.
pub(super) fn list_offsets_request(
    mut reader: Reader<'_>,
    version: i16,
) -> Result<ListOffsetsRequest<'_>, DecodeError> {
    struct Partition(ListOffsetsRequestPartition);
    impl Decode<'_> for Partition {
        const SMALLEST: usize = 4 + 8;

        fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
            Ok(Self(ListOffsetsRequestPartition {
                partition_index: reader.int32("partition_index")?,
                current_leader_epoch: -1,
                timestamp: reader.int64("timestamp")?,
            }))
        }
    }
    struct Topic<'a>(&'a str, Vec<Partition>);
    impl<'a> Decode<'a> for Topic<'a> {
        const SMALLEST: usize = 2 + 4;

        fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
            Ok(Self(reader.string("name")?, reader.array("partitions")?))
        }
    }
    if version >= 4 {
        return reader.whole();
    }
    let (replica_id, isolation_level) = (reader.int32("replica_id")?, reader.int8("isolation_level")?);
    let topics: Vec<Topic<'_>> = reader.array("topics")?;
    let partitions = |partitions: Vec<Partition>| partitions.into_iter().map(|Partition(one)| one).collect();
    let topic = |Topic(name, them)| ListOffsetsRequestTopic { name, partitions: partitions(them) };
    let topics = topics.into_iter().map(topic).collect();
    ended(&reader, ListOffsetsRequest { replica_id, isolation_level, topics })
}

/// From version 1 on.
pub(super) fn leave_request(
    mut reader: Reader<'_>,
    version: i16,
) -> Result<LeaveGroupRequest<'_>, DecodeError> {
    if version >= 3 {
        return reader.whole();
    }
    let group_id = reader.string("group_id")?;
    let member = LeaveGroupRequestMember { member_id: reader.string("member_id")?, group_instance_id: None };
    ended(&reader, LeaveGroupRequest { group_id, members: vec![member] })
}

/// From version 2 on.
pub(super) fn epoch_request(
    mut reader: Reader<'_>,
    version: i16,
) -> Result<OffsetForLeaderEpochRequest<'_>, DecodeError> {
    if version >= 3 {
        return reader.whole();
    }
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: reader.array("topics")? };
    ended(&reader, request)
}

/// In version 0.
pub(super) struct FirstVersions<'a>(pub(super) &'a ApiVersionsResponse);

impl Encode for FirstVersions<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.0.error_code);
        writer.array("api_keys", &self.0.api_keys);
    }
}

/// In the version given.
pub(super) struct Metadata<'a>(pub(super) &'a MetadataResponse<'a>, pub(super) i16);

impl Encode for Metadata<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self(response, version) = self;
        if *version >= 8 {
            return response.encode(writer);
        }
        writer.int32(response.throttle_time_ms);
        writer.array("brokers", &response.brokers);
        writer.nullable_string("cluster_id", response.cluster_id);
        writer.int32(response.controller_id);
        count(writer, response.topics.len());
        for topic in &response.topics {
            writer.error_code(topic.error_code);
            writer.string("name", topic.name);
            writer.boolean(topic.is_internal);
            count(writer, topic.partitions.len());
            for partition in &topic.partitions {
                writer.error_code(partition.error_code);
                writer.int32(partition.partition_index);
                writer.int32(partition.leader_id);
                if *version >= 7 {
                    writer.int32(partition.leader_epoch);
                }
                writer.array("replica_nodes", &partition.replica_nodes);
                writer.array("isr_nodes", &partition.isr_nodes);
                if *version >= 5 {
                    writer.array("offline_replicas", &partition.offline_replicas);
                }
            }
        }
    }
}

/// What a request could hold is no more than an `int32` can count.
fn count(writer: &mut Writer<'_>, count: usize) {
    writer.int32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// In the version given.
pub(super) struct Produce<'a>(pub(super) &'a ProduceResponse<'a>, pub(super) i16);

impl Encode for Produce<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self(response, version) = self;
        if *version >= 8 {
            return response.encode(writer);
        }
        count(writer, response.responses.len());
        for topic in &response.responses {
            writer.string("name", topic.name);
            count(writer, topic.partition_responses.len());
            for partition in &topic.partition_responses {
                writer.int32(partition.index);
                writer.error_code(partition.error_code);
                writer.int64(partition.base_offset);
                writer.int64(partition.log_append_time_ms);
                writer.int64(partition.log_start_offset);
            }
        }
        writer.int32(response.throttle_time_ms);
    }
}

/// In the version given.
pub(super) struct ListOffsets<'a>(pub(super) &'a ListOffsetsResponse<'a>, pub(super) i16);

impl Encode for ListOffsets<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self(response, version) = self;
        if *version >= 4 {
            return response.encode(writer);
        }
        writer.int32(response.throttle_time_ms);
        count(writer, response.topics.len());
        for topic in &response.topics {
            writer.string("name", topic.name);
            count(writer, topic.partitions.len());
            for partition in &topic.partitions {
                writer.int32(partition.partition_index);
                writer.error_code(partition.error_code);
                writer.int64(partition.timestamp);
                writer.int64(partition.offset);
            }
        }
    }
}

/// In the version given: before version 3 one member leaves, and its error is that of all.
pub(super) struct LeaveGroup<'a>(pub(super) &'a LeaveGroupResponse<'a>, pub(super) i16);

impl Encode for LeaveGroup<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self(response, version) = self;
        if *version >= 3 {
            return response.encode(writer);
        }
        let of_member = response.members.first().map_or(ErrorCode::NONE, |member| member.error_code);
        writer.int32(response.throttle_time_ms);
        writer.error_code(if response.error_code == ErrorCode::NONE {
            of_member
        } else {
            response.error_code
        });
    }
}
