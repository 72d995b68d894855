//! `CreatePartitions`: adds partitions to topics.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks the controller.
    pub struct CreatePartitionsRequest<'a> {
        topics: Vec<CreatePartitionsRequestTopic<'a>> => 0..; "The topics."
        timeout_ms: i32 => 0..; "How long to wait for them, in milliseconds."
        validate_only: bool => 0..; "Whether only to say if it could be done."
    }

    /// A topic that is to grow.
    pub struct CreatePartitionsRequestTopic<'a> {
        name: &'a str => 0..; "Its name."
        count: i32 => 0..; "How many partitions it is to have in the end."
        assignments: Option<Vec<CreatePartitionsRequestAssignment>> = Some(Vec::new()) => 0..;
            "Which brokers have which new partition; `None` to leave that to the cluster."
    }

    /// The brokers that have a new partition.
    pub struct CreatePartitionsRequestAssignment {
        broker_ids: Vec<i32> => 0..; "The brokers, the preferred leader first."
    }

    /// What has grown.
    pub struct CreatePartitionsResponse<'a> {
        throttle_time_ms: i32 => 0..;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        results: Vec<CreatePartitionsResponseTopic<'a>> => 0..; "The topics."
    }

    /// Whether a topic has grown.
    pub struct CreatePartitionsResponseTopic<'a> {
        name: &'a str => 0..; "Its name."
        error_code: ErrorCode => 0..; "Why it hasn't."
        error_message: Option<&'a str> => 0..; "The same in words."
    }
}

request!(CreatePartitionsRequest<'_>, CreatePartitions, 'r CreatePartitionsResponse<'r>);
