//! All state of the sandbox, kept behind one lock: topics, groups, pending faults.

use super::group::Group;
use super::log::Log;
use super::rules::Rules;
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;

/// The most groups that can exist.
pub const MOST_GROUPS: usize = 1_000;
/// A topic with its partitions.
#[derive(Debug)]
pub(super) struct Topic {
    /// Random, never zero.
    pub(super) id: Uuid,
    pub(super) logs: Vec<Log>,
    /// The configs that differ from the defaults.
    pub(super) configs: BTreeMap<String, String>,
}

/// Topics, groups and pending faults.
#[derive(Debug)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) groups: BTreeMap<String, Group>,
    /// The node that is the coordinator of all groups.
    pub(super) coordinator: i32,
    pub(super) rules: Rules,
    pub(super) closed: bool,
    /// The last number used in an id.
    pub(super) serial: u64,
}

impl State {
    /// A number that was never returned before.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// The group of this name; creates it if it doesn't exist.
    pub(super) fn group(&mut self, name: &str) -> Result<&mut Group, ErrorCode> {
        if name.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if !self.groups.contains_key(name) && self.groups.len() >= MOST_GROUPS {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        Ok(self.groups.entry(name.to_owned()).or_insert_with(Group::new))
    }

    pub(super) fn log_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Log> {
        self.topics.get_mut(topic)?.logs.get_mut(usize::try_from(partition).ok()?)
    }

    /// The id of a topic; zero if it doesn't exist.
    pub(super) fn id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// Resolves a topic that a request names by name or by id.
    pub(super) fn name(&self, name: &str, id: Uuid) -> Result<String, ErrorCode> {
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        let named = self.topics.iter().find(|(_, topic)| topic.id == id);
        named.map(|(name, _)| name.clone()).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }

    /// Deletes a topic and the offsets that groups committed for it.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), ErrorCode> {
        self.topics.remove(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        for group in self.groups.values_mut() {
            group.committed.retain(|partition, _| partition.topic() != name);
        }
        Ok(())
    }
}
