//! The partitions a member has been given, and which of them it is about to give up.

use super::{Event, Membership, Phase};
use crate::record::Partition;
use crate::relay::notice::Severity;
use std::collections::{BTreeMap, BTreeSet};

/// Counts the times partitions were given, so that a partition that was lost and came back is told from one
/// that was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub(super) u64);

/// What is held. A partition to give up is held until it is released.
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

    /// Adds those of `given` that aren't held yet; gives them back.
    pub(super) fn take(&mut self, given: &BTreeSet<Partition>, epoch: Epoch) -> Vec<Partition> {
        let added: Vec<Partition> = given.iter().filter(|p| !self.held.contains_key(p)).cloned().collect();
        self.held.extend(added.iter().map(|partition| (partition.clone(), epoch)));
        added
    }

    /// Marks what is not in `kept` as to be given up; gives back what wasn't marked before.
    pub(super) fn give_up_all_but(&mut self, kept: &BTreeSet<Partition>) -> Vec<Partition> {
        let fresh: Vec<Partition> =
            self.held.keys().filter(|p| !kept.contains(p) && !self.giving_up.contains(p)).cloned().collect();
        self.giving_up.extend(fresh.iter().cloned());
        fresh
    }

    /// Lets go of those that were to be given up; others are none of the caller's business.
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

    /// Loses what was to be given up and hasn't been released.
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
