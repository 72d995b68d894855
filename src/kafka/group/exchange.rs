//! The requests of a member to its coordinator and the responses, without their encoding.

use super::assignor::{Assignment, Assignor, Subscriber, Subscription};
use super::error::GroupError;
use std::time::{Duration, Instant};

/// Identifies a request, so that the response to an abandoned one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// The identity of a member in a generation, which commits, heartbeats and syncs carry and are fenced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The generation of the group, which changes with each rebalance.
    pub generation: i32,
    /// The member id, given by the coordinator.
    pub member_id: String,
    /// The instance id of a static member, given by its operator (KIP-345).
    pub instance_id: Option<String>,
}

/// A request and its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Identifies the response.
    pub id: RequestId,
    /// The request.
    pub request: Request,
    /// The membership treats it as failed after this time, and ignores a later response.
    pub deadline: Instant,
}

/// A request to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reset the connection to the coordinator, if there is one, so that requests written to it don't arrive later.
    /// Then find the coordinator through any broker, and connect to it.
    FindCoordinator,
    /// JoinGroup.
    Join {
        /// Empty in the first join.
        member_id: String,
        /// The instance id of a static member.
        instance_id: Option<String>,
        /// How long the coordinator waits for a heartbeat.
        session_timeout: Duration,
        /// How long it waits for the members to rejoin.
        rebalance_timeout: Duration,
        /// The assignors offered, in order of preference, each with this member's subscription.
        protocols: Vec<(Assignor, Subscription)>,
    },
    /// SyncGroup.
    Sync {
        /// The identity of the member.
        stamp: Stamp,
        /// The assignments by member id; empty unless the member is the leader.
        assignments: Vec<(String, Assignment)>,
    },
    /// Heartbeat.
    Heartbeat {
        /// The identity of the member.
        stamp: Stamp,
    },
    /// LeaveGroup.
    Leave {
        /// The id of the leaving member.
        member_id: String,
    },
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::FindCoordinator`]: connected to the coordinator.
    Coordinator,
    /// To [`Request::Join`].
    Joined(Joined),
    /// To [`Request::Sync`]: the assignment of this member.
    Synced(Assignment),
    /// To [`Request::Heartbeat`] and [`Request::Leave`]: success.
    Done,
    /// The response has an error code.
    Refused {
        /// The error.
        error: GroupError,
        /// The member id in the response; it counts only with
        /// [`MemberIdRequired`](GroupError::MemberIdRequired).
        member_id: String,
    },
    /// No valid response: disconnected, timed out or malformed, as the text says. The connection is not used any more.
    Failed(String),
}

/// The response to a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The new generation.
    pub generation: i32,
    /// The name of the chosen assignor, which all members offered.
    pub protocol: String,
    /// The member id of the leader; empty if the coordinator assigns (KIP-848).
    pub leader: String,
    /// The id of this member.
    pub member_id: String,
    /// All members with their subscriptions under the chosen assignor; empty unless this member is the leader.
    pub members: Vec<Subscriber>,
}
