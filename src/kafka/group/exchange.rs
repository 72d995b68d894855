//! What a member and its group's coordinator say to each other, in values instead of bytes.

use super::assignor::{Assignment, Assignor, Subscriber, Subscription};
use super::error::GroupError;
use std::time::{Duration, Instant};

/// Tells requests apart, so that the answer to one that was given up is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// Who a member is, and of when: what a commit, a heartbeat and a sync carry, and what fences them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The generation of the group; it changes with each rebalance.
    pub generation: i32,
    /// The id the coordinator gave.
    pub member_id: String,
    /// The id the operator gave, for static members (KIP-345).
    pub instance_id: Option<String>,
}

/// A request, and until when its answer is worth waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// To be given back with the answer.
    pub id: RequestId,
    /// What to ask.
    pub request: Request,
    /// When the membership takes it for failed by itself; a later answer is ignored.
    pub deadline: Instant,
}

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Close the connection to the coordinator, if there is one, in a way that lets nothing written on it
    /// arrive any more; then ask any broker for the coordinator, and connect to it.
    FindCoordinator,
    /// JoinGroup.
    Join {
        /// Empty at first.
        member_id: String,
        /// For static members.
        instance_id: Option<String>,
        /// How long the coordinator waits for a sign of life.
        session_timeout: Duration,
        /// How long it waits for the members to join again.
        rebalance_timeout: Duration,
        /// The assignors offered, the best first, each with what this member says under it.
        protocols: Vec<(Assignor, Subscription)>,
    },
    /// SyncGroup.
    Sync {
        /// Who asks.
        stamp: Stamp,
        /// By member id; empty from all but the leader.
        assignments: Vec<(String, Assignment)>,
    },
    /// Heartbeat.
    Heartbeat {
        /// Who lives.
        stamp: Stamp,
    },
    /// LeaveGroup.
    Leave {
        /// Who leaves.
        member_id: String,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::FindCoordinator`]: there is a connection to it.
    Coordinator,
    /// To [`Request::Join`].
    Joined(Joined),
    /// To [`Request::Sync`]: what this member is given.
    Synced(Assignment),
    /// To [`Request::Heartbeat`] and [`Request::Leave`]: no error.
    Done,
    /// An error code came back.
    Refused {
        /// Which.
        error: GroupError,
        /// The member id that came along, which counts with
        /// [`MemberIdRequired`](GroupError::MemberIdRequired) only.
        member_id: String,
    },
    /// No answer, or none that could be read: disconnected, timed out, malformed. The text says which; the
    /// connection is not used any more.
    Failed(String),
}

/// The group as it stands after all have joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The new generation.
    pub generation: i32,
    /// The name of the assignor all members offered.
    pub protocol: String,
    /// The member id of the one that assigns; empty where the coordinator does (KIP-848).
    pub leader: String,
    /// The id of this member.
    pub member_id: String,
    /// All members with what each said under the chosen assignor; empty to all but the leader.
    pub members: Vec<Subscriber>,
}
