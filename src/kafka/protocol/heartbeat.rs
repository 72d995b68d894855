//! `Heartbeat`: keeps a member's session alive, and tells it whether its generation is still valid.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Who lives.
    pub struct HeartbeatRequest<'a> {
        group_id: &'a str => 0..; "The group's name."
        generation_id: i32 => 0..; "The generation it is a member of."
        member_id: &'a str => 0..; "The member's id."
        group_instance_id: Option<&'a str> => 3..; "The id that the operator gave."
    }

    /// What the coordinator makes of it.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "[`ErrorCode::REBALANCE_IN_PROGRESS`] asks to join again."
    }
}

request!(HeartbeatRequest<'_>, Heartbeat, 'r HeartbeatResponse);
