//! `SyncGroup`: the leader sends the assignments, and each member gets its own.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// What a member brings, and the leader for all.
    pub struct SyncGroupRequest<'a> {
        group_id: &'a str => 0..; "The group's name."
        generation_id: i32 => 0..; "The generation it joined."
        member_id: &'a str => 0..; "This member's id."
        group_instance_id: Option<&'a str> => 3..; "The id that the operator gave."
        protocol_type: Option<&'a str> => 5.., ignorable; "The group protocol type."
        protocol_name: Option<&'a str> => 5.., ignorable; "The group protocol name."
        assignments: Vec<SyncGroupRequestAssignment<'a>> => 0..;
            "Who gets what, from the leader; nothing, from the others."
    }

    /// What one member gets.
    pub struct SyncGroupRequestAssignment<'a> {
        member_id: &'a str => 0..; "Its id."
        assignment: &'a [u8] => 0..; "An assignment: bytes that the coordinator does not read."
    }

    /// What this member gets.
    pub struct SyncGroupResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "Why it gets nothing."
        protocol_type: Option<&'a str> => 5.., ignorable; "The group protocol type."
        protocol_name: Option<&'a str> => 5.., ignorable; "The group protocol name."
        assignment: &'a [u8] => 0..; "An assignment: bytes that the coordinator does not read."
    }
}

request!(SyncGroupRequest<'_>, SyncGroup, 'r SyncGroupResponse<'r>);
