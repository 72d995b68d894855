//! Converts a member's requests and responses between the group's types and the protocol's.

use crate::kafka::cluster::ClusterError;
use crate::kafka::group::assignor::{Assignment, Assignor, Subscriber, Subscription};
use crate::kafka::group::consumer_protocol::{
    decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::kafka::group::error::GroupError;
use crate::kafka::group::exchange::{Answer, Joined, Stamp};
use crate::kafka::protocol::ErrorCode;
use crate::kafka::protocol::heartbeat::HeartbeatRequest;
use crate::kafka::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::kafka::protocol::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember, LeaveGroupResponse};
use crate::kafka::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use std::time::{Duration, Instant};

/// The protocol type of consumer groups.
const PROTOCOL_TYPE: &str = "consumer";

/// An error once the deadline has passed.
pub(super) fn in_time(deadline: Instant) -> Result<(), ClusterError> {
    match Instant::now() < deadline {
        true => Ok(()),
        false => Err(ClusterError::OutOfTime),
    }
}

/// A JoinGroup request without its subscriptions.
pub(super) struct Joining<'a> {
    pub(crate) group: &'a str,
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
}

impl<'a> Joining<'a> {
    pub(super) fn request(&self, encoded: &'a [(&str, Vec<u8>)]) -> JoinGroupRequest<'a> {
        let protocol = |(name, metadata): &'a (&str, Vec<u8>)| JoinGroupRequestProtocol { name, metadata };
        JoinGroupRequest {
            group_id: self.group,
            session_timeout_ms: milliseconds(self.session_timeout),
            rebalance_timeout_ms: milliseconds(self.rebalance_timeout),
            member_id: self.member_id,
            group_instance_id: self.instance_id,
            protocol_type: PROTOCOL_TYPE,
            protocols: encoded.iter().map(protocol).collect(),
            reason: None,
        }
    }
}

pub(super) fn subscriptions(
    protocols: &[(Assignor, Subscription)],
) -> Result<Vec<(&'static str, Vec<u8>)>, ClusterError> {
    let unwritable = |reason| ClusterError::Unwritable { what: "the group's subscription", reason };
    let encoded = protocols.iter().map(|(assignor, subscription)| {
        Ok((assignor.name(), encode_subscription(subscription).map_err(unwritable)?))
    });
    encoded.collect()
}

pub(super) fn assignments(
    assignments: &[(String, Assignment)],
) -> Result<Vec<(&str, Vec<u8>)>, ClusterError> {
    let unwritable = |reason| ClusterError::Unwritable { what: "the group's assignment", reason };
    let encoded = assignments.iter().map(|(member_id, assignment)| {
        Ok((member_id.as_str(), encode_assignment(assignment).map_err(unwritable)?))
    });
    encoded.collect()
}

pub(super) fn sync<'a>(
    group: &'a str,
    stamp: &'a Stamp,
    protocol: &'a str,
    encoded: &'a [(&str, Vec<u8>)],
) -> SyncGroupRequest<'a> {
    let assignment =
        |(member_id, assignment): &'a (&str, Vec<u8>)| SyncGroupRequestAssignment { member_id, assignment };
    SyncGroupRequest {
        group_id: group,
        generation_id: stamp.generation,
        member_id: &stamp.member_id,
        group_instance_id: stamp.instance_id.as_deref(),
        protocol_type: Some(PROTOCOL_TYPE),
        protocol_name: Some(protocol),
        assignments: encoded.iter().map(assignment).collect(),
    }
}

pub(super) fn synced(answer: &SyncGroupResponse<'_>) -> Result<Answer, ClusterError> {
    match GroupError::from_code(answer.error_code.0) {
        Some(error) => Ok(Answer::Refused { error, member_id: String::new() }),
        // A member that the leader left out gets no bytes.
        None if answer.assignment.is_empty() => Ok(Answer::Synced(Assignment::default())),
        None => decode_assignment(answer.assignment)
            .map(Answer::Synced)
            .map_err(|reason| ClusterError::Unreadable { what: "the leader's assignment", reason }),
    }
}

pub(super) fn heartbeat<'a>(group: &'a str, stamp: &'a Stamp) -> HeartbeatRequest<'a> {
    HeartbeatRequest {
        group_id: group,
        generation_id: stamp.generation,
        member_id: &stamp.member_id,
        group_instance_id: stamp.instance_id.as_deref(),
    }
}

pub(super) fn leave<'a>(group: &'a str, member_id: &'a str) -> LeaveGroupRequest<'a> {
    let members = vec![LeaveGroupRequestMember { member_id, ..Default::default() }];
    LeaveGroupRequest { group_id: group, members, ..Default::default() }
}

pub(super) fn left(answer: &LeaveGroupResponse<'_>) -> Answer {
    let of_member = answer.members.first().map(|member| member.error_code);
    let code = Some(answer.error_code).filter(|code| *code != ErrorCode::NONE).or(of_member);
    done(code.unwrap_or(ErrorCode::NONE))
}

pub(super) fn done(code: ErrorCode) -> Answer {
    match GroupError::from_code(code.0) {
        Some(error) => Answer::Refused { error, member_id: String::new() },
        None => Answer::Done,
    }
}

pub(super) fn joined(answer: JoinGroupResponse<'_>) -> Result<Answer, ClusterError> {
    if let Some(error) = GroupError::from_code(answer.error_code.0) {
        return Ok(Answer::Refused { error, member_id: answer.member_id.to_owned() });
    }
    let unreadable = |reason| ClusterError::Unreadable { what: "a member's subscription", reason };
    let members = answer.members.iter().map(|member| {
        Ok(Subscriber {
            member_id: member.member_id.to_owned(),
            instance_id: member.group_instance_id.map(str::to_owned),
            subscription: decode_subscription(member.metadata).map_err(unreadable)?,
        })
    });
    Ok(Answer::Joined(Joined {
        generation: answer.generation_id,
        protocol: answer.protocol_name.unwrap_or_default().to_owned(),
        leader: answer.leader.to_owned(),
        member_id: answer.member_id.to_owned(),
        members: members.collect::<Result<_, ClusterError>>()?,
    }))
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
