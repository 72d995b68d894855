//! Group requests: coordinator lookup, membership, committed offsets.

use super::broker::{Answered, Broker, Call};
use super::group::{Committed, Group, Joined, LARGEST_METADATA, Newcomer, Profile, Reply, Stamp, Token};
use super::state::State;
use crate::kafka::protocol::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribeGroupsResponseGroup, DescribeGroupsResponseMember,
};
use crate::kafka::protocol::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse, FindCoordinatorResponseCoordinator,
};
use crate::kafka::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::kafka::protocol::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::kafka::protocol::leave_group::{
    LeaveGroupRequest, LeaveGroupRequestMember, LeaveGroupResponse, LeaveGroupResponseMember,
};
use crate::kafka::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::kafka::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use crate::kafka::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::kafka::protocol::{ApiKey, ErrorCode, Uuid};
use crate::record::Partition;
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// The longest a join or sync waits; after that the connection is closed.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// `key_type` of a FindCoordinator request.
const OF_GROUP: i8 = 0;

impl State {
    /// The group after its due timers have fired, if this node is its coordinator. Creates it if it doesn't exist.
    fn coordinated(&mut self, call: &Call<'_>, group: &str) -> Result<&mut Group, ErrorCode> {
        self.may_ask(call)?;
        let group = self.group(group)?;
        group.tick(Instant::now());
        Ok(group)
    }

    /// The group, if it exists: describing a group doesn't create it.
    fn existing(&mut self, call: &Call<'_>, group: &str) -> Result<Option<&mut Group>, ErrorCode> {
        self.may_ask(call)?;
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let mut group = self.groups.get_mut(group);
        if let Some(group) = group.as_mut() {
            group.tick(Instant::now());
        }
        Ok(group)
    }

    /// An existing group, for requests that only members send.
    fn joined(&mut self, call: &Call<'_>, group: &str) -> Result<&mut Group, ErrorCode> {
        self.existing(call, group)?.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    fn may_ask(&mut self, call: &Call<'_>) -> Result<(), ErrorCode> {
        if let Some(code) = self.rules.error(call.api, None) {
            return Err(code);
        }
        match self.coordinator == call.node {
            true => Ok(()),
            false => Err(ErrorCode::NOT_COORDINATOR),
        }
    }
}

impl Broker {
    pub(super) fn find_coordinator(&self, call: &Call<'_>, request: &FindCoordinatorRequest<'_>) -> Answered {
        let mut state = self.lock();
        let injected = state.rules.error(call.api, None);
        let node_id = state.coordinator;
        drop(state);
        let transactional = (request.key_type != OF_GROUP).then_some(ErrorCode::INVALID_REQUEST);
        let error_code = injected.or(transactional).unwrap_or(ErrorCode::NONE);
        let found = error_code == ErrorCode::NONE;
        let port = usize::try_from(node_id - 1).ok().and_then(|at| self.ports.get(at)).copied();
        let host = call.here.to_string();
        let error_message = transactional.map(|_| "the sandbox has no transactions");
        let (node_id, host) = if found { (node_id, host.as_str()) } else { (-1, "") };
        let port = port.filter(|_| found).map_or(-1, i32::from);
        let throttle_time_ms = call.throttle_ms;
        if call.version >= 4 {
            let of = |key| FindCoordinatorResponseCoordinator {
                key,
                node_id,
                host,
                port,
                error_code,
                error_message,
            };
            let coordinators = request.coordinator_keys.iter().copied().map(of).collect();
            return call.framed(&FindCoordinatorResponse {
                throttle_time_ms,
                coordinators,
                ..Default::default()
            });
        }
        call.framed(&FindCoordinatorResponse {
            throttle_time_ms,
            error_code,
            error_message,
            node_id,
            host,
            port,
            coordinators: Vec::new(),
        })
    }

    pub(super) fn join_group(&self, call: &Call<'_>, request: &JoinGroupRequest<'_>) -> Answered {
        let profile = Profile {
            instance: request.group_instance_id.map(str::to_owned),
            client_id: call.client_id.to_owned(),
            client_host: format!("/{}", call.there),
            protocol_type: request.protocol_type.to_owned(),
            protocols: request
                .protocols
                .iter()
                .map(|one| (one.name.to_owned(), one.metadata.to_vec()))
                .collect(),
            session: milliseconds(request.session_timeout_ms),
            // Version 0 has no rebalance timeout: the session timeout serves as both.
            rebalance: milliseconds(match call.version {
                0 => request.session_timeout_ms,
                _ => request.rebalance_timeout_ms,
            }),
        };
        let mut state = self.lock();
        let token = state.next_serial();
        let name = profile.instance.as_deref().unwrap_or(call.client_id);
        let newcomer =
            Newcomer { id: format!("{name}-{:016x}-{token}", self.seed), comes_back: call.version >= 4 };
        let joined = state.coordinated(call, request.group_id).map(|group| {
            group.join(token, request.member_id, newcomer, profile, Instant::now());
        });
        let reply = match joined {
            Ok(()) => self.await_reply(state, request.group_id, token),
            Err(code) => {
                drop(state);
                Reply::Refused(code, String::new())
            }
        };
        let refused = |error_code, member_id| {
            let (leader, protocol, members) = (String::new(), String::new(), Vec::new());
            (error_code, Joined { generation: -1, protocol, leader, member_id, members })
        };
        let (error_code, joined) = match reply {
            Reply::Joined(joined) => (ErrorCode::NONE, joined),
            Reply::Refused(code, member_id) if member_id.is_empty() => {
                refused(code, request.member_id.to_owned())
            }
            Reply::Refused(code, member_id) => refused(code, member_id),
            Reply::Synced(_) => refused(ErrorCode::UNKNOWN_SERVER_ERROR, String::new()),
        };
        let members = joined.members.iter().map(|(member_id, instance, metadata)| JoinGroupResponseMember {
            member_id,
            group_instance_id: instance.as_deref(),
            metadata,
        });
        call.framed(&JoinGroupResponse {
            throttle_time_ms: call.throttle_ms,
            error_code,
            generation_id: joined.generation,
            protocol_type: error_code.is_none().then_some(request.protocol_type),
            protocol_name: Some(&joined.protocol),
            leader: &joined.leader,
            member_id: &joined.member_id,
            members: members.collect(),
            ..JoinGroupResponse::default()
        })
    }

    /// Waits, for a bounded time, until the group has the response for this token.
    fn await_reply(&self, mut state: MutexGuard<'_, State>, name: &str, token: Token) -> Reply {
        let deadline = Instant::now() + LONGEST_WAIT;
        // This request may have completed the waiting requests of other members.
        self.wake();
        loop {
            let now = Instant::now();
            let gone = state.closed || now >= deadline;
            let Some(group) = state.groups.get_mut(name).filter(|_| !gone) else {
                return Reply::Refused(ErrorCode::COORDINATOR_NOT_AVAILABLE, String::new());
            };
            let due = group.next_timer().is_some_and(|timer| timer <= now);
            if due {
                group.tick(now);
                self.wake();
            }
            if let Some(reply) = group.take_reply(token) {
                return reply;
            }
            let until = group.next_timer().unwrap_or(deadline).min(deadline);
            state = self.wait(state, until);
        }
    }

    pub(super) fn sync_group(&self, call: &Call<'_>, request: &SyncGroupRequest<'_>) -> Answered {
        let stamp = Stamp {
            generation: request.generation_id,
            member_id: request.member_id,
            instance: request.group_instance_id,
        };
        let assignments: Vec<(&str, &[u8])> =
            request.assignments.iter().map(|one| (one.member_id, one.assignment)).collect();
        let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        let mut state = self.lock();
        let token = state.next_serial();
        let group = match says_protocol || call.version < 5 {
            true => state.joined(call, request.group_id),
            false => Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        };
        let asked = group.map(|group| {
            group.sync(token, &stamp, &assignments, Instant::now());
        });
        let reply = match asked {
            Ok(()) => self.await_reply(state, request.group_id, token),
            Err(code) => {
                drop(state);
                Reply::Refused(code, String::new())
            }
        };
        let (error_code, assignment) = match reply {
            Reply::Synced(assignment) => (ErrorCode::NONE, assignment),
            Reply::Refused(code, _) => (code, Vec::new()),
            Reply::Joined(_) => (ErrorCode::UNKNOWN_SERVER_ERROR, Vec::new()),
        };
        let is_synced = error_code.is_none();
        call.framed(&SyncGroupResponse {
            throttle_time_ms: call.throttle_ms,
            error_code,
            protocol_type: request.protocol_type.filter(|_| is_synced),
            protocol_name: request.protocol_name.filter(|_| is_synced),
            assignment: &assignment,
        })
    }

    pub(super) fn heartbeat(&self, call: &Call<'_>, request: &HeartbeatRequest<'_>) -> Answered {
        let stamp = Stamp {
            generation: request.generation_id,
            member_id: request.member_id,
            instance: request.group_instance_id,
        };
        let mut state = self.lock();
        let outcome =
            state.joined(call, request.group_id).map(|group| group.heartbeat(&stamp, Instant::now()));
        drop(state);
        let error_code = outcome.unwrap_or_else(|code| code);
        call.framed(&HeartbeatResponse { throttle_time_ms: call.throttle_ms, error_code })
    }

    pub(super) fn leave_group(&self, call: &Call<'_>, request: &LeaveGroupRequest<'_>) -> Answered {
        let alone = [LeaveGroupRequestMember { member_id: request.member_id, ..Default::default() }];
        // Before version 3 a request names one member, whose error is the top-level error.
        let leaving = if call.version < 3 { &alone[..] } else { &request.members };
        let mut state = self.lock();
        let left = state.joined(call, request.group_id).map(|group| {
            let leave = |one: &LeaveGroupRequestMember<'_>| {
                group.leave(one.member_id, one.group_instance_id, Instant::now())
            };
            leaving.iter().map(leave).collect::<Vec<ErrorCode>>()
        });
        drop(state);
        self.wake();
        let mut error_code = left.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
        let codes = left.unwrap_or_default();
        let members = leaving.iter().zip(codes).map(|(one, error_code)| LeaveGroupResponseMember {
            member_id: one.member_id,
            group_instance_id: one.group_instance_id,
            error_code,
        });
        let (throttle_time_ms, mut members) = (call.throttle_ms, members.collect::<Vec<_>>());
        if call.version < 3 {
            error_code = members.pop().map_or(error_code, |member| member.error_code);
        }
        call.framed(&LeaveGroupResponse { throttle_time_ms, error_code, members })
    }

    pub(super) fn offset_commit(&self, call: &Call<'_>, request: &OffsetCommitRequest<'_>) -> Answered {
        let stamp = Stamp {
            generation: request.generation_id,
            member_id: request.member_id,
            instance: request.group_instance_id,
        };
        let mut state = self.lock();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let named = state.name(topic.name, topic.topic_id);
            let keep = |asked: &OffsetCommitRequestPartition<'_>| OffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: named
                    .clone()
                    .and_then(|name| commit(&mut state, call, request.group_id, &stamp, &name, asked))
                    .err()
                    .unwrap_or(ErrorCode::NONE),
            };
            let partitions = topic.partitions.iter().map(keep).collect();
            let (name, topic_id) = (topic.name, topic.topic_id);
            topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
        }
        drop(state);
        self.wake();
        call.framed(&OffsetCommitResponse { throttle_time_ms: call.throttle_ms, topics })
    }

    pub(super) fn offset_fetch(&self, call: &Call<'_>, request: &OffsetFetchRequest<'_>) -> Answered {
        let throttle_time_ms = call.throttle_ms;
        let mut state = self.lock();
        if call.version < 8 {
            let found = positions(&mut state, call, request.group_id, request.topics.as_deref());
            drop(state);
            let (topics, error_code) = found.answer();
            return call.framed(&OffsetFetchResponse {
                throttle_time_ms,
                topics,
                error_code,
                groups: Vec::new(),
            });
        }
        let mut found = Vec::with_capacity(request.groups.len());
        for group in &request.groups {
            found.push(positions(&mut state, call, group.group_id, group.topics.as_deref()));
        }
        drop(state);
        let groups = request.groups.iter().zip(&found).map(|(group, found)| {
            let (topics, error_code) = found.answer();
            OffsetFetchResponseGroup { group_id: group.group_id, topics, error_code }
        });
        let groups = groups.collect();
        call.framed(&OffsetFetchResponse { throttle_time_ms, groups, ..OffsetFetchResponse::default() })
    }

    pub(super) fn describe_groups(&self, call: &Call<'_>, request: &DescribeGroupsRequest<'_>) -> Answered {
        let mut state = self.lock();
        let mut refused = BTreeMap::new();
        for name in &request.groups {
            let known = state.groups.contains_key(*name);
            // An unknown group is reported as Dead, and describing doesn't create it.
            if let (true, Err(code)) = (known, state.existing(call, name).map(drop)) {
                refused.insert(*name, code);
            }
        }
        let describe = |name| {
            let known = state.groups.contains_key(name) || call.version < 6;
            let unknown = if known { ErrorCode::NONE } else { ErrorCode::GROUP_ID_NOT_FOUND };
            let error_code = refused.get(name).copied().unwrap_or(unknown);
            let group = state.groups.get(name).filter(|_| error_code == ErrorCode::NONE);
            DescribeGroupsResponseGroup {
                error_code,
                group_id: name,
                group_state: group.map_or("Dead", |group| group.phase.name()),
                protocol_type: group.map_or("", Group::protocol_type),
                protocol_data: group.map_or("", |group| &group.protocol),
                members: group.map(described).unwrap_or_default(),
                ..DescribeGroupsResponseGroup::default()
            }
        };
        let groups = request.groups.iter().copied().map(describe).collect();
        call.framed(&DescribeGroupsResponse { throttle_time_ms: call.throttle_ms, groups })
    }
}

/// The committed offsets that a request asks for.
struct Positions {
    error_code: ErrorCode,
    topics: Vec<TopicPositions>,
}

struct TopicPositions {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, Result<Option<Committed>, ErrorCode>)>,
}

fn positions(
    state: &mut State,
    call: &Call<'_>,
    group: &str,
    asked: Option<&[OffsetFetchRequestTopic<'_>]>,
) -> Positions {
    let committed = match state.existing(call, group) {
        Ok(group) => group.map(|group| group.committed.clone()).unwrap_or_default(),
        Err(error_code) => return Positions { error_code, topics: Vec::new() },
    };
    let mut every: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in committed.keys() {
        every.entry(partition.topic()).or_default().push(partition.number());
    }
    let asked: Vec<(Result<String, ErrorCode>, Uuid, &[i32])> = match asked {
        Some(asked) => asked
            .iter()
            .map(|one| (state.name(one.name, one.topic_id), one.topic_id, one.partition_indexes.as_slice()))
            .collect(),
        None => every
            .iter()
            .map(|(name, numbers)| (Ok((*name).to_owned()), state.id(name), numbers.as_slice()))
            .collect(),
    };
    let mut find = |name: &str, number: i32| match state.rules.error(call.api, Some((name, number))) {
        Some(code) => Err(code),
        None => Ok(committed.get(&Partition::new(name, number)).cloned()),
    };
    let mut topics = Vec::with_capacity(asked.len());
    for (name, id, numbers) in asked {
        let mut found = |number: &i32| (*number, name.clone().and_then(|name| find(&name, *number)));
        let partitions = numbers.iter().map(&mut found).collect();
        topics.push(TopicPositions { name: name.unwrap_or_default(), id, partitions });
    }
    Positions { error_code: ErrorCode::NONE, topics }
}

impl Positions {
    fn answer(&self) -> (Vec<OffsetFetchResponseTopic<'_>>, ErrorCode) {
        let topics = self.topics.iter().map(|topic| OffsetFetchResponseTopic {
            name: &topic.name,
            topic_id: topic.id,
            partitions: topic.partitions.iter().map(of_position).collect(),
        });
        (topics.collect(), self.error_code)
    }
}

fn of_position(
    (partition_index, found): &(i32, Result<Option<Committed>, ErrorCode>),
) -> OffsetFetchResponsePartition<'_> {
    let committed = found.as_ref().ok().and_then(Option::as_ref);
    OffsetFetchResponsePartition {
        partition_index: *partition_index,
        committed_offset: committed.map_or(-1, |found| found.next),
        committed_leader_epoch: committed.map_or(-1, |found| found.epoch),
        metadata: committed.map_or(Some(""), |found| found.metadata.as_deref()),
        error_code: found.as_ref().err().copied().unwrap_or(ErrorCode::NONE),
    }
}

fn commit(
    state: &mut State,
    call: &Call<'_>,
    group: &str,
    stamp: &Stamp<'_>,
    topic: &str,
    asked: &OffsetCommitRequestPartition<'_>,
) -> Result<(), ErrorCode> {
    let place = (topic, asked.partition_index);
    if let Some(code) = state.rules.error(ApiKey::OffsetCommit, Some(place)) {
        return Err(code);
    }
    // Checked before the group is looked at, as in Kafka.
    state.log_mut(topic, asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if stamp.generation >= 0 && state.existing(call, group)?.is_none() {
        return Err(ErrorCode::ILLEGAL_GENERATION);
    }
    let group = state.coordinated(call, group)?;
    group.may_commit(stamp, Instant::now())?;
    if asked.committed_metadata.is_some_and(|metadata| metadata.len() > LARGEST_METADATA) {
        return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
    }
    let committed = Committed {
        next: asked.committed_offset,
        epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.map(str::to_owned),
    };
    group.committed.insert(Partition::new(topic, asked.partition_index), committed);
    Ok(())
}

fn described(group: &Group) -> Vec<DescribeGroupsResponseMember<'_>> {
    let protocol = &group.protocol;
    let members = group.members.iter().map(|(id, member)| DescribeGroupsResponseMember {
        member_id: id,
        group_instance_id: member.profile.instance.as_deref(),
        client_id: &member.profile.client_id,
        client_host: &member.profile.client_host,
        member_metadata: member
            .profile
            .protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map_or(&[][..], |(_, said)| said),
        member_assignment: &member.assignment,
    });
    members.collect()
}

fn milliseconds(time: i32) -> Duration {
    Duration::from_millis(u64::try_from(time).unwrap_or(0))
}
