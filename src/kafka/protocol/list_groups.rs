//! `ListGroups`: the groups that a broker coordinates.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks each broker for its own.
    pub struct ListGroupsRequest<'a> {
        states_filter: Vec<&'a str> => 4..; "The states that groups are wanted in; empty for any."
        types_filter: Vec<&'a str> => 5..; "The types of groups that are wanted; empty for any."
    }

    /// The groups.
    pub struct ListGroupsResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "Why there is nothing to say."
        groups: Vec<ListGroupsResponseGroup<'a>> => 0..; "The groups."
    }

    /// A group.
    pub struct ListGroupsResponseGroup<'a> {
        group_id: &'a str => 0..; "Its name."
        protocol_type: &'a str => 0..; "What its members are: `consumer`, mostly."
        group_state: &'a str => 4.., ignorable; "What it is at."
        group_type: &'a str => 5.., ignorable; "`classic`, or `consumer` of the new protocol (KIP-848)."
    }
}

request!(ListGroupsRequest<'_>, ListGroups, 'r ListGroupsResponse<'r>);
