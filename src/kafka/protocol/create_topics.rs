//! `CreateTopics`: creates topics.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid};

describe! {
    /// Asks the controller.
    pub struct CreateTopicsRequest<'a> {
        topics: Vec<CreateTopicsRequestTopic<'a>> => 0..; "The topics to create."
        timeout_ms: i32 = 60_000 => 0..; "How long to wait for them, in milliseconds."
        validate_only: bool => 1..; "Whether only to say if they could be made."
    }

    /// A topic to make.
    pub struct CreateTopicsRequestTopic<'a> {
        name: &'a str => 0..; "Its name."
        num_partitions: i32 => 0..;
            "How many partitions it gets; -1 for what the broker gives, or for as many as are assigned."
        replication_factor: i16 => 0..;
            "How many brokers have each; -1 for what the broker gives, or for as many as are assigned."
        assignments: Vec<CreateTopicsRequestAssignment> => 0..;
            "Which brokers have which partition; empty to leave that to the cluster."
        configs: Vec<CreateTopicsRequestConfig<'a>> => 0..; "Its settings, where not the broker's own."
    }

    /// The brokers that have a partition.
    pub struct CreateTopicsRequestAssignment {
        partition_index: i32 => 0..; "The partition's number."
        broker_ids: Vec<i32> => 0..; "The brokers, the preferred leader first."
    }

    /// A setting.
    pub struct CreateTopicsRequestConfig<'a> {
        name: &'a str => 0..; "Its name."
        value: Option<&'a str> = Some("") => 0..; "Its value; `None` for the broker's own."
    }

    /// What was made.
    pub struct CreateTopicsResponse<'a> {
        throttle_time_ms: i32 => 2.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        topics: Vec<CreateTopicsResponseTopic<'a>> => 0..; "The topics."
    }

    /// Whether a topic was made.
    pub struct CreateTopicsResponseTopic<'a> {
        name: &'a str => 0..; "Its name."
        topic_id: Uuid => 7.., ignorable; "The id it was given."
        error_code: ErrorCode => 0..; "Why it wasn't made."
        error_message: Option<&'a str> = Some("") => 1.., null 0.., ignorable; "The same in words."
        topic_config_error_code: ErrorCode => 5.., tag 0, ignorable; "Why `configs` is `None`."
        num_partitions: i32 = -1 => 5.., ignorable; "How many partitions it has."
        replication_factor: i16 = -1 => 5.., ignorable; "How many brokers have each."
        configs: Option<Vec<CreateTopicsResponseConfig<'a>>> = Some(Vec::new()) => 5.., null 5.., ignorable;
            "All its settings."
    }

    /// A setting as it is.
    pub struct CreateTopicsResponseConfig<'a> {
        name: &'a str => 5..; "Its name."
        value: Option<&'a str> = Some("") => 5.., null 5..; "Its value."
        read_only: bool => 5..; "Whether it can't be changed."
        config_source: i8 = -1 => 5.., ignorable; "Where it comes from."
        is_sensitive: bool => 5..; "Whether its value is kept secret."
    }
}

request!(CreateTopicsRequest<'_>, CreateTopics, 'r CreateTopicsResponse<'r>);
