//! `Metadata`: the cluster's brokers, its topics, and who leads which partition.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks for topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRequest<'a> {
    /// Which; `None` for all there are.
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether the broker may make those that aren't there.
    pub allow_auto_topic_creation: bool,
    /// Whether to say what this user may do to the cluster.
    pub include_cluster_authorized_operations: bool,
    /// Whether to say what this user may do to each topic.
    pub include_topic_authorized_operations: bool,
}

impl Request for MetadataRequest<'_> {
    const API: ApiKey = ApiKey::Metadata;
    type Response<'r> = MetadataResponse<'r>;
}

impl Encode for MetadataRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.nullable_array("topics", self.topics.as_deref());
        writer.boolean(self.allow_auto_topic_creation);
        writer.boolean(self.include_cluster_authorized_operations);
        writer.boolean(self.include_topic_authorized_operations);
    }
}

impl<'a> Decode<'a> for MetadataRequest<'a> {
    const SMALLEST: usize = 4 + 1 + 1 + 1;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            topics: reader.nullable_array("topics")?,
            allow_auto_topic_creation: reader.boolean("allow_auto_topic_creation")?,
            include_cluster_authorized_operations: reader.boolean("include_cluster_authorized_operations")?,
            include_topic_authorized_operations: reader.boolean("include_topic_authorized_operations")?,
        })
    }
}

/// A topic asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRequestTopic<'a> {
    /// Its name.
    pub name: &'a str,
}

impl Encode for MetadataRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
    }
}

impl<'a> Decode<'a> for MetadataRequestTopic<'a> {
    const SMALLEST: usize = 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")? })
    }
}

/// The cluster as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse<'a> {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The brokers that are up.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The cluster's id.
    pub cluster_id: Option<&'a str>,
    /// The broker that is the controller; -1 if there is none.
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// What this user may do to the cluster, a bit each; `i32::MIN` if not asked for.
    pub cluster_authorized_operations: i32,
}

impl Encode for MetadataResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.array("brokers", &self.brokers);
        writer.nullable_string("cluster_id", self.cluster_id);
        writer.int32(self.controller_id);
        writer.array("topics", &self.topics);
        writer.int32(self.cluster_authorized_operations);
    }
}

impl<'a> Decode<'a> for MetadataResponse<'a> {
    const SMALLEST: usize = 4 + 4 + 2 + 4 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            brokers: reader.array("brokers")?,
            cluster_id: reader.nullable_string("cluster_id")?,
            controller_id: reader.int32("controller_id")?,
            topics: reader.array("topics")?,
            cluster_authorized_operations: reader.int32("cluster_authorized_operations")?,
        })
    }
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponseBroker<'a> {
    /// Its number.
    pub node_id: i32,
    /// Where it says that clients reach it.
    pub host: &'a str,
    /// Its port there.
    pub port: i32,
    /// Its rack.
    pub rack: Option<&'a str>,
}

impl Encode for MetadataResponseBroker<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.node_id);
        writer.string("host", self.host);
        writer.int32(self.port);
        writer.nullable_string("rack", self.rack);
    }
}

impl<'a> Decode<'a> for MetadataResponseBroker<'a> {
    const SMALLEST: usize = 4 + 2 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            node_id: reader.int32("node_id")?,
            host: reader.string("host")?,
            port: reader.int32("port")?,
            rack: reader.nullable_string("rack")?,
        })
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponseTopic<'a> {
    /// Why there is nothing to say of it.
    pub error_code: ErrorCode,
    /// Its name.
    pub name: &'a str,
    /// Whether it is Kafka's own, as the topic of the commits is.
    pub is_internal: bool,
    /// Its partitions, in no order.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What this user may do to it, a bit each; `i32::MIN` if not asked for.
    pub topic_authorized_operations: i32,
}

impl Encode for MetadataResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.string("name", self.name);
        writer.boolean(self.is_internal);
        writer.array("partitions", &self.partitions);
        writer.int32(self.topic_authorized_operations);
    }
}

impl<'a> Decode<'a> for MetadataResponseTopic<'a> {
    const SMALLEST: usize = 2 + 2 + 1 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            error_code: reader.error_code("error_code")?,
            name: reader.string("name")?,
            is_internal: reader.boolean("is_internal")?,
            partitions: reader.array("partitions")?,
            topic_authorized_operations: reader.int32("topic_authorized_operations")?,
        })
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponsePartition {
    /// Why it can't be used.
    pub error_code: ErrorCode,
    /// Its number.
    pub partition_index: i32,
    /// The broker that leads it; -1 if there is none.
    pub leader_id: i32,
    /// How many leaders it had before; -1 if that isn't known.
    pub leader_epoch: i32,
    /// The brokers that have it.
    pub replica_nodes: Vec<i32>,
    /// Those of them that are in sync.
    pub isr_nodes: Vec<i32>,
    /// Those of them that are down.
    pub offline_replicas: Vec<i32>,
}

impl Encode for MetadataResponsePartition {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.error_code(self.error_code);
        writer.int32(self.partition_index);
        writer.int32(self.leader_id);
        writer.int32(self.leader_epoch);
        writer.array("replica_nodes", &self.replica_nodes);
        writer.array("isr_nodes", &self.isr_nodes);
        writer.array("offline_replicas", &self.offline_replicas);
    }
}

impl Decode<'_> for MetadataResponsePartition {
    const SMALLEST: usize = 2 + 4 + 4 + 4 + 4 + 4 + 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            error_code: reader.error_code("error_code")?,
            partition_index: reader.int32("partition_index")?,
            leader_id: reader.int32("leader_id")?,
            leader_epoch: reader.int32("leader_epoch")?,
            replica_nodes: reader.array("replica_nodes")?,
            isr_nodes: reader.array("isr_nodes")?,
            offline_replicas: reader.array("offline_replicas")?,
        })
    }
}
