//! `DescribeGroups`: the members of groups and their assignments.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks the groups' coordinator.
    pub struct DescribeGroupsRequest<'a> {
        groups: Vec<&'a str> => 0..; "The groups' names."
        include_authorized_operations: bool => 3..; "Whether to say what this user may do to each group."
    }

    /// The groups.
    pub struct DescribeGroupsResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        groups: Vec<DescribeGroupsResponseGroup<'a>> => 0..; "The groups, in no order."
    }

    /// A group.
    pub struct DescribeGroupsResponseGroup<'a> {
        error_code: ErrorCode => 0..; "Why there is nothing to say of it."
        error_message: Option<&'a str> => 6..; "The describe error message, or null if there was no error."
        group_id: &'a str => 0..; "Its name."
        group_state: &'a str => 0..;
            "`Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty` or `Dead`."
        protocol_type: &'a str => 0..; "`consumer`, for consumers."
        protocol_data: &'a str => 0..; "The assignor in use."
        members: Vec<DescribeGroupsResponseMember<'a>> => 0..; "Its members."
        authorized_operations: i32 = i32::MIN => 3..;
            "What this user may do to it, a bit each; `i32::MIN` if not asked for."
    }

    /// A member.
    pub struct DescribeGroupsResponseMember<'a> {
        member_id: &'a str => 0..; "Its id."
        group_instance_id: Option<&'a str> => 4.., ignorable; "The id that its operator gave."
        client_id: &'a str => 0..; "What it calls itself."
        client_host: &'a str => 0..; "Where it is."
        member_metadata: &'a [u8] => 0..;
            "Its subscription: bytes that the coordinator does not read."
        member_assignment: &'a [u8] => 0..;
            "Its assignment: bytes that the coordinator does not read."
    }
}

request!(DescribeGroupsRequest<'_>, DescribeGroups, 'r DescribeGroupsResponse<'r>);
