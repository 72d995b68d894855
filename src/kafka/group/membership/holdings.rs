//! The partitions that a member holds, and which of them it is giving up.

use super::{Event, Membership, Phase};
use crate::notice::Severity;
use crate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// Counts assignments, so that a partition that was lost and assigned again differs from one that was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub(super) u64);

/// The held partitions. A revoked partition is held until its release.
#[derive(Default)]
pub(super) struct Holdings {
    held: BTreeMap<Partition, Epoch>,
    giving_up: BTreeSet<Partition>,
}

impl Holdings {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn epoch(&self, partition: &Partition) -> Option<Epoch> {
        self.held.get(partition).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Partition> {
        self.held.keys()
    }

    pub(super) fn is_giving_up(&self) -> bool {
        !self.giving_up.is_empty()
    }

    /// Adds the partitions of `given` that are not held yet, and returns them.
    pub(super) fn take(&mut self, given: &BTreeSet<Partition>, epoch: Epoch) -> Vec<Partition> {
        let added: Vec<Partition> = given.iter().filter(|p| !self.held.contains_key(p)).cloned().collect();
        self.held.extend(added.iter().map(|partition| (partition.clone(), epoch)));
        added
    }

    /// Marks all partitions but `kept` as revoked. Returns those that were not marked before.
    pub(super) fn give_up_all_but(&mut self, kept: &BTreeSet<Partition>) -> Vec<Partition> {
        let fresh: Vec<Partition> =
            self.held.keys().filter(|p| !kept.contains(p) && !self.giving_up.contains(p)).cloned().collect();
        self.giving_up.extend(fresh.iter().cloned());
        fresh
    }

    /// Removes revoked partitions; ignores others.
    pub(super) fn release(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if self.giving_up.remove(partition) {
                self.held.remove(partition);
            }
        }
    }

    pub(super) fn lose_all(&mut self) -> Vec<Partition> {
        self.giving_up.clear();
        std::mem::take(&mut self.held).into_keys().collect()
    }

    /// Removes and returns the revoked partitions that were not released.
    pub(super) fn lose_unreleased(&mut self) -> Vec<Partition> {
        let late = std::mem::take(&mut self.giving_up);
        self.held.retain(|partition, _| !late.contains(partition));
        late.into_iter().collect()
    }
}

impl Membership {
    pub(super) fn give_up_all_but(&mut self, kept: &BTreeSet<Partition>) {
        let revoked = self.holdings.give_up_all_but(kept);
        if !revoked.is_empty() {
            self.events.push_back(Event::Revoked(revoked));
        }
    }

    pub(super) fn outlive_lease(&mut self) {
        self.notice(
            Severity::Warning,
            format!(
                "The coordinator of group {} could not be reached for too long: the partitions are given up, and \
                 this member joins again.",
                self.settings.group
            ),
        );
        self.lose_all();
        if matches!(self.phase, Phase::Stable | Phase::GivingUp { .. }) {
            self.phase = Phase::Joining;
        }
        self.go_on_when_released();
    }

    pub(super) fn lose_all(&mut self) {
        self.doubted_until = None;
        let lost = self.holdings.lose_all();
        if !lost.is_empty() {
            self.events.push_back(Event::Lost(lost));
        }
    }

    pub(super) fn lose_unreleased(&mut self) {
        let lost = self.holdings.lose_unreleased();
        if !lost.is_empty() {
            let text = format!(
                "What was in flight of {} revoked partitions of group {} did not finish within the rebalance \
                 timeout: its results are not committed, and the next owner sends it again.",
                lost.len(),
                self.settings.group
            );
            self.notice(Severity::Warning, text);
            self.events.push_back(Event::Lost(lost));
        }
    }
}
