//! `LeaveGroup`: leaves a group, so that the other members don't wait for the session to end.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Who leaves.
    pub struct LeaveGroupRequest<'a> {
        group_id: &'a str => 0..; "The group's name."
        member_id: &'a str => 0..=2; "The member ID to remove from the group."
        members: Vec<LeaveGroupRequestMember<'a>> => 3..; "The members."
    }

    /// A member that leaves.
    pub struct LeaveGroupRequestMember<'a> {
        member_id: &'a str => 3..; "Its id."
        group_instance_id: Option<&'a str> => 3..; "The id that the operator gave."
        reason: Option<&'a str> => 5.., ignorable; "The reason why the member left the group."
    }

    /// Who left.
    pub struct LeaveGroupResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..; "Why nobody did."
        members: Vec<LeaveGroupResponseMember<'a>> => 3..; "The members."
    }

    /// A member that left.
    pub struct LeaveGroupResponseMember<'a> {
        member_id: &'a str => 3..; "Its id."
        group_instance_id: Option<&'a str> = Some("") => 3..; "The id that the operator gave."
        error_code: ErrorCode => 3..; "Why it didn't."
    }
}

request!(LeaveGroupRequest<'_>, LeaveGroup, 'r LeaveGroupResponse<'r> {
    // Before version 3 one member leaves.
    fn reshaped(&self, version: i16) -> Option<Self> {
        let [member] = self.members.as_slice() else { return None };
        (version < 3).then(|| Self { member_id: member.member_id, members: Vec::new(), ..self.clone() })
    }
});
