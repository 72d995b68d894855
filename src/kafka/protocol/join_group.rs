//! `JoinGroup`: joins a group, or rejoins it in a rebalance.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// What a member brings.
    pub struct JoinGroupRequest<'a> {
        group_id: &'a str => 0..; "The group's name."
        session_timeout_ms: i32 => 0..;
            "After how long without a heartbeat the member counts as gone, in milliseconds."
        rebalance_timeout_ms: i32 = -1 => 1.., ignorable;
            "For how long the group waits for this member in a rebalance, in milliseconds."
        member_id: &'a str => 0..; "The id that the coordinator gave; empty at first."
        group_instance_id: Option<&'a str> => 5..;
            "The id that the operator gave, if this is a static member (KIP-345)."
        protocol_type: &'a str => 0..; "`consumer`."
        protocols: Vec<JoinGroupRequestProtocol<'a>> => 0..;
            "The assignors this member knows, the preferred ones first."
        reason: Option<&'a str> => 8.., ignorable; "The reason why the member (re-)joins the group."
    }

    /// What a member says of itself to one assignor.
    pub struct JoinGroupRequestProtocol<'a> {
        name: &'a str => 0..; "The assignor's name."
        metadata: &'a [u8] => 0..; "A subscription: bytes that the coordinator does not read."
    }

    /// The new generation.
    pub struct JoinGroupResponse<'a> {
        throttle_time_ms: i32 => 2.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "Why this member isn't in it."
        generation_id: i32 = -1 => 0..; "Its number."
        protocol_type: Option<&'a str> => 7.., ignorable; "The group protocol name."
        protocol_name: Option<&'a str> = Some("") => 0.., null 7..; "The assignor that all members know."
        leader: &'a str => 0..; "The id of the member that assigns."
        skip_assignment: bool => 9..; "True if the leader must skip running the assignment."
        member_id: &'a str => 0..; "This member's id."
        members: Vec<JoinGroupResponseMember<'a>> => 0..;
            "All members, for the leader; nobody, for the others."
    }

    /// A member, for the leader's eyes.
    pub struct JoinGroupResponseMember<'a> {
        member_id: &'a str => 0..; "Its id."
        group_instance_id: Option<&'a str> => 5.., ignorable; "The id that its operator gave."
        metadata: &'a [u8] => 0..; "Its subscription: bytes that the coordinator does not read."
    }
}

request!(JoinGroupRequest<'_>, JoinGroup, 'r JoinGroupResponse<'r>);
