//! What must hold in the world of the members at any time, and once all is quiet.

use super::world::World;
use crate::support::coordinator::State;
use sluicegate::record::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl World {
    /// No partition is held under a live lease by two.
    pub fn assert_exclusive(&self) {
        let mut owners: BTreeMap<&Partition, usize> = BTreeMap::new();
        if let Some(slow) = &self.slow {
            owners.extend(slow.held.iter().map(|partition| (partition, usize::MAX)));
        }
        for slot in 0..self.places.len() {
            let Some(process) = self.process(slot).filter(|_| self.places[slot].sleep.is_none()) else {
                continue;
            };
            if process.machine.lease_until().is_none_or(|end| end <= self.clock(slot)) {
                continue;
            }
            for partition in process.machine.held() {
                let other = owners.insert(partition, slot);
                assert_eq!(other, None, "{partition} is held by {slot} too, at {} ms", self.now);
            }
        }
    }

    /// All is quiet: everything is held by exactly one, who has nothing else in mind.
    pub fn assert_settled(&self) {
        let mut held: BTreeMap<Partition, usize> = BTreeMap::new();
        let mut wanted: BTreeSet<&Arc<str>> = BTreeSet::new();
        for slot in 0..self.places.len() {
            if let Some(fatal) = self.places[slot].process.as_ref().and_then(|p| p.fatal.as_ref()) {
                panic!("{slot} ended: {fatal}");
            }
            let Some(process) = self.process(slot) else { continue };
            assert!(process.machine.is_settled(), "{slot} is not settled at {}", self.now);
            wanted.extend(&self.topics[slot]);
            for partition in process.machine.held() {
                assert_eq!(held.insert(partition.clone(), slot), None, "{partition} is held twice");
            }
        }
        let all: BTreeSet<Partition> = self
            .sizes
            .iter()
            .filter(|(topic, _)| wanted.contains(topic))
            .flat_map(|(topic, size)| (0..*size).map(move |n| Partition::new(Arc::clone(topic), n)))
            .collect();
        assert!(held.keys().eq(&all), "held {held:?} of {all:?}");
        if !wanted.is_empty() {
            assert_eq!(self.coordinator.state(), State::Stable);
        }
    }

    /// How many partitions each living member holds.
    pub fn loads(&self) -> Vec<usize> {
        let alive = (0..self.places.len()).filter_map(|slot| self.process(slot));
        alive.map(|process| process.machine.held().count()).collect()
    }

    /// What the assignor would give everybody, sorted by what it is.
    pub fn fair(&self) -> Vec<Vec<Partition>> {
        let mut lists = self.plan.assignors[0].assign(&self.sizes, &self.coordinator.members());
        lists.sort();
        lists
    }

    /// What everybody has, sorted likewise.
    pub fn shared(&self) -> Vec<Vec<Partition>> {
        let alive = (0..self.places.len()).filter_map(|slot| self.process(slot));
        let mut lists: Vec<Vec<Partition>> =
            alive.map(|process| process.machine.held().cloned().collect()).collect();
        lists.sort();
        lists
    }
}
