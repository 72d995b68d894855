//! The settings of a membership.

use super::{Assignor, COORDINATOR_PATIENCE};
use std::time::Duration;

/// The settings of a membership.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// The group's name (`group.id`).
    pub group: String,
    /// The instance id of a static member (`group.instance.id`, KIP-345).
    pub instance_id: Option<String>,
    /// The assignors offered, in order of preference; either all eager or all cooperative.
    pub assignors: Vec<Assignor>,
    /// After this long without a heartbeat the coordinator assigns a member's partitions to others, and the member
    /// stops using them (`session.timeout.ms`).
    pub session_timeout: Duration,
    /// How long this member may take to finish what is in flight before it rejoins (`max.poll.interval.ms` in Java).
    /// The coordinator is told at least [`COORDINATOR_PATIENCE`].
    pub rebalance_timeout: Duration,
    /// The time between two heartbeats (`heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// The time limit of requests that the coordinator does not hold back (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// The rack of this instance (`client.rack`, KIP-881).
    pub rack: Option<String>,
}

impl Default for MembershipSettings {
    fn default() -> Self {
        Self {
            group: "sluicegate".into(),
            instance_id: None,
            assignors: vec![Assignor::CooperativeSticky],
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            rack: None,
        }
    }
}

impl MembershipSettings {
    /// Checks whether the settings are consistent.
    ///
    /// # Errors
    /// What contradicts what, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let Some(first) = self.assignors.first() else {
            return Err("Name at least one assignor.".into());
        };
        let other_kind = |other: &&Assignor| other.is_cooperative() != first.is_cooperative();
        if let Some(other) = self.assignors.iter().find(other_kind) {
            return Err(format!(
                "The assignors {first} and {other} can't be offered together: under one of them partitions are \
                 kept through a rebalance, under the other they are not."
            ));
        }
        if self.heartbeat_interval.is_zero()
            || self.heartbeat_interval.saturating_mul(2) > self.session_timeout
        {
            return Err("The heartbeat interval must be at most half of the session timeout.".into());
        }
        if self.rebalance_timeout.is_zero() || self.request_timeout.is_zero() {
            return Err("The rebalance timeout and the request timeout can't be zero.".into());
        }
        Ok(())
    }

    /// The time limit of requests that the coordinator does not hold back: short enough for a retry within a session.
    pub(crate) fn prompt(&self) -> Duration {
        self.request_timeout.min(self.session_timeout / 3)
    }

    /// The rebalance timeout that the coordinator is told.
    pub(super) fn coordinator_patience(&self) -> Duration {
        self.rebalance_timeout.max(COORDINATOR_PATIENCE)
    }

    /// Whether partitions are kept while rejoining.
    pub(super) fn is_cooperative(&self) -> bool {
        self.assignors.first().is_some_and(|assignor| assignor.is_cooperative())
    }
}
