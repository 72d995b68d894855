//! The handle by which tests make a sandbox misbehave: failing responses, moved leaders, lost records, rebalances.

use super::broker::Broker;
use super::log::NOBODY;
pub use super::rules::Fault;
use super::rules::Rule;
use crate::kafka::protocol::{ApiKey, ErrorCode};
use crate::record::Partition;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a sandbox misbehave.
#[derive(Clone)]
pub struct Faults(pub(super) Arc<Broker>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.lock().rules).finish()
    }
}

impl Faults {
    /// The next `times` responses of this API fail. For APIs that respond per partition, an
    /// [`Error`](Fault::Error) is counted per partition.
    pub fn inject(&self, api: ApiKey, fault: Fault, times: usize) {
        self.add(Rule { api, place: None, fault, left: times, until: None });
    }

    /// The same for one partition; for errors and corrupt records. `Metadata` responds per topic: use partition 0.
    pub fn inject_at(&self, api: ApiKey, place: Partition, fault: Fault, times: usize) {
        self.add(Rule { api, place: Some(place), fault, left: times, until: None });
    }

    /// For this long, or until [`clear`](Self::clear), every request of this API for this partition fails with this
    /// code.
    pub fn fail(&self, api: ApiKey, place: Partition, code: ErrorCode, time: Duration) {
        let (fault, until) = (Fault::Error(code), Some(Instant::now() + time));
        self.add(Rule { api, place: Some(place), fault, left: usize::MAX, until });
    }

    /// The next `times` Metadata responses that should contain this topic omit it.
    pub fn omit_topic(&self, topic: &str, times: usize) {
        self.inject_at(ApiKey::Metadata, Partition::new(topic, 0), Fault::Omit, times);
    }

    /// The next `times` Metadata responses contain no brokers.
    pub fn omit_brokers(&self, times: usize) {
        self.inject(ApiKey::Metadata, Fault::NoBrokers, times);
    }

    fn add(&self, rule: Rule) {
        if rule.left > 0 {
            self.0.lock().rules.add(rule);
            self.0.wake();
        }
    }

    /// How many responses of this API are still going to fail.
    pub fn left(&self, api: ApiKey) -> usize {
        self.0.lock().rules.left(api)
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.0.lock().rules.clear();
    }

    /// Makes another node the leader of a partition.
    pub fn move_leader(&self, partition: &Partition, node: i32) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.lead(node);
        }
        self.0.wake();
    }

    /// Leaves a partition without leader until [`move_leader`](Self::move_leader).
    pub fn without_leader(&self, partition: &Partition) {
        self.move_leader(partition, NOBODY);
    }

    /// Makes another node the coordinator of all groups.
    pub fn move_coordinator(&self, node: i32) {
        let mut state = self.0.lock();
        state.coordinator = node;
        state.groups.values_mut().for_each(|group| group.move_away(Instant::now()));
        drop(state);
        self.0.wake();
    }

    /// Elects an unclean leader: the batches from `offset` on are lost, and new records get the new leader's epoch.
    pub fn truncate(&self, partition: &Partition, offset: i64) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.truncate(offset);
        }
        self.0.wake();
    }

    /// Deletes the records before `offset`.
    pub fn trim(&self, partition: &Partition, offset: i64) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.trim(offset);
        }
        self.0.wake();
    }

    /// Deletes a topic, if it exists.
    pub fn delete(&self, topic: &str) {
        let _ = self.0.lock().delete_topic(topic);
        self.0.wake();
    }

    /// Starts a rebalance of the group.
    pub fn rebalance(&self, group: &str) {
        self.with_group(group, |group, now| group.prepare(now));
    }

    /// Ends the group's generation without telling its members: their next request is refused.
    pub fn fence(&self, group: &str) {
        self.with_group(group, |group, now| group.fence(now));
    }

    /// Removes all members from the group.
    pub fn expel(&self, group: &str) {
        self.with_group(group, |group, now| group.expel(now));
    }

    fn with_group(&self, name: &str, change: impl FnOnce(&mut super::group::Group, Instant)) {
        if let Some(group) = self.0.lock().groups.get_mut(name) {
            change(group, Instant::now());
        }
        self.0.wake();
    }
}
