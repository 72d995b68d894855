//! `InitProducerId`: allocates the id of an idempotent producer (KIP-98).

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks any broker, or the transaction's coordinator.
    pub struct InitProducerIdRequest<'a> {
        transactional_id: Option<&'a str> = Some("") => 0..;
            "The transactional id; `None` for a producer that is only idempotent."
        transaction_timeout_ms: i32 => 0..; "After how long an open transaction is aborted, in milliseconds."
        producer_id: i64 = -1 => 3..; "The producer id."
        producer_epoch: i16 = -1 => 3..; "The producer's current epoch."
    }

    /// The number.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32 => 0.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "Why there is none."
        producer_id: i64 = -1 => 0..; "The producer's id; -1 if there is none."
        producer_epoch: i16 => 0..; "Which of the producers with this id it is: former ones are refused."
    }
}

request!(InitProducerIdRequest<'_>, InitProducerId, 'r InitProducerIdResponse);
