//! `Metadata`: the brokers, topics and leaders of a cluster.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid};

describe! {
    /// Asks for topics.
    pub struct MetadataRequest<'a> {
        topics: Option<Vec<MetadataRequestTopic<'a>>> = Some(Vec::new()) => 0.., null 1..;
            "Which; `None` for all there are."
        allow_auto_topic_creation: bool = true => 4..; "Whether the broker may make those that aren't there."
        include_cluster_authorized_operations: bool => 8..=10;
            "Whether to say what this user may do to the cluster."
        include_topic_authorized_operations: bool => 8..;
            "Whether to say what this user may do to each topic."
    }

    /// A topic asked for.
    pub struct MetadataRequestTopic<'a> {
        topic_id: Uuid => 10.., ignorable; "The topic id."
        name: Option<&'a str> = Some("") => 0.., null 10..; "Its name."
    }

    /// The cluster as one broker sees it.
    pub struct MetadataResponse<'a> {
        throttle_time_ms: i32 => 3.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        brokers: Vec<MetadataResponseBroker<'a>> => 0..; "The brokers that are up."
        cluster_id: Option<&'a str> => 2.., ignorable; "The cluster's id."
        controller_id: i32 = -1 => 1.., ignorable; "The broker that is the controller; -1 if there is none."
        topics: Vec<MetadataResponseTopic<'a>> => 0..; "The topics."
        cluster_authorized_operations: i32 = i32::MIN => 8..=10;
            "What this user may do to the cluster, a bit each; `i32::MIN` if not asked for."
        error_code: ErrorCode => 13.., ignorable; "The top-level error code, or 0 if there was no error."
    }

    /// A topic.
    pub struct MetadataResponseTopic<'a> {
        error_code: ErrorCode => 0..; "Why there is nothing to say of it."
        name: Option<&'a str> = Some("") => 0.., null 12..; "Its name."
        topic_id: Uuid => 10.., ignorable; "The topic id."
        is_internal: bool => 1.., ignorable; "Whether it is Kafka's own, as the topic of the commits is."
        partitions: Vec<MetadataResponsePartition> => 0..; "Its partitions, in no order."
        topic_authorized_operations: i32 = i32::MIN => 8..;
            "What this user may do to it, a bit each; `i32::MIN` if not asked for."
    }

    /// A partition.
    pub struct MetadataResponsePartition {
        error_code: ErrorCode => 0..; "Why it can't be used."
        partition_index: i32 => 0..; "Its number."
        leader_id: i32 => 0..; "The broker that leads it; -1 if there is none."
        leader_epoch: i32 = -1 => 7.., ignorable; "How many leaders it had before; -1 if that isn't known."
        replica_nodes: Vec<i32> => 0..; "The brokers that have it."
        isr_nodes: Vec<i32> => 0..; "Those of them that are in sync."
        offline_replicas: Vec<i32> => 5.., ignorable; "Those of them that are down."
    }

    /// A broker.
    pub struct MetadataResponseBroker<'a> {
        node_id: i32 => 0..; "Its number."
        host: &'a str => 0..; "Where it says that clients reach it."
        port: i32 => 0..; "Its port there."
        rack: Option<&'a str> => 1.., ignorable; "Its rack."
    }
}

request!(MetadataRequest<'_>, Metadata, 'r MetadataResponse<'r> {
    // Before version 8 nobody can ask what a user may do, and the answer says that it wasn't asked for.
    fn reshaped(&self, version: i16) -> Option<Self> {
        let asks = self.include_topic_authorized_operations || self.include_cluster_authorized_operations;
        (asks && version < 8).then(|| Self {
            include_topic_authorized_operations: false,
            include_cluster_authorized_operations: false,
            ..self.clone()
        })
    }
});
