//! What a membership is told by its operator.

use super::{Assignor, COORDINATOR_PATIENCE};
use std::time::Duration;

/// Who joins which group, and how patient it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The group's name (`group.id`).
    pub group: String,
    /// This instance's own name, which makes it a static member (`group.instance.id`, KIP-345).
    pub instance_id: Option<String>,
    /// The assignors offered, the best first; either all eager or all cooperative.
    pub assignors: Vec<Assignor>,
    /// After so long without a sign of life the coordinator gives a member's partitions to others, and the
    /// member itself stops using them (`session.timeout.ms`).
    pub session_timeout: Duration,
    /// How long this member has to finish what is in flight before it joins again (`max.poll.interval.ms` in Java).
    /// The coordinator is told at least [`COORDINATOR_PATIENCE`].
    pub rebalance_timeout: Duration,
    /// The time between two signs of life (`heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// How long an answer may take that has nothing to wait for (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// Where this instance stands (`client.rack`, KIP-881).
    pub rack: Option<String>,
}

impl Default for Settings {
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

impl Settings {
    /// Whether they make sense together; the error is a sentence.
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

    /// How long an answer may take that has nothing to wait for: short enough for a second try within a session.
    pub fn prompt(&self) -> Duration {
        self.request_timeout.min(self.session_timeout / 3)
    }

    /// How long the coordinator is to wait for this member in a rebalance.
    pub(super) fn coordinator_patience(&self) -> Duration {
        self.rebalance_timeout.max(COORDINATOR_PATIENCE)
    }

    /// Whether partitions are kept while joining again.
    pub(super) fn is_cooperative(&self) -> bool {
        self.assignors.first().is_some_and(|assignor| assignor.is_cooperative())
    }
}
