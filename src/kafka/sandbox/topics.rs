//! The topics: made, grown and deleted. Each has an id that no other topic had before it, so that one made anew
//! under an old name is told from its predecessor (KIP-516).

use super::broker::{Broker, State};
use super::log::Log;
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// No more topics than this.
pub const MOST_TOPICS: usize = 1_000;
/// A topic has no more partitions than this.
pub const MOST_PARTITIONS: i32 = 1_000;
/// The longest name of a topic.
const LONGEST_TOPIC: usize = 249;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    /// Random, and never zero.
    pub(super) id: Uuid,
    pub(super) logs: Vec<Log>,
    /// The settings that were chosen for it.
    pub(super) configs: BTreeMap<String, String>,
}

impl State {
    pub(super) fn log_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Log> {
        self.topics.get_mut(topic)?.logs.get_mut(usize::try_from(partition).ok()?)
    }

    /// The id of a topic; zero if there is no such topic.
    pub(super) fn id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// The name of a topic that is asked for by its name, or else by its id.
    pub(super) fn name(&self, name: &str, id: Uuid) -> Result<String, ErrorCode> {
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        let named = self.topics.iter().find(|(_, topic)| topic.id == id);
        named.map(|(name, _)| name.clone()).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }

    /// Deletes a topic with all that groups have committed for it.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), ErrorCode> {
        self.topics.remove(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        for group in self.groups.values_mut() {
            group.committed.retain(|partition, _| partition.topic() != name);
        }
        Ok(())
    }
}

impl Broker {
    /// Makes a topic unless it is there.
    pub(super) fn make_topic(&self, state: &mut State, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        match state.topics.contains_key(name) {
            true => Ok(()),
            false => self.new_topic(state, name, partitions, 0),
        }
    }

    /// Makes a topic whose leaders begin with this epoch.
    pub(super) fn new_topic(
        &self,
        state: &mut State,
        name: &str,
        partitions: i32,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        self.may_make(state, name, partitions)?;
        let logs = (0..partitions).map(|number| self.new_log(number, epoch)).collect();
        state.topics.insert(name.to_owned(), Topic { id: random_id(), logs, configs: BTreeMap::new() });
        self.wake();
        Ok(())
    }

    /// Whether a topic of that name and size can be made.
    pub(super) fn may_make(&self, state: &State, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=LONGEST_TOPIC).contains(&name.len()) && name.chars().all(allowed);
        if !fits || name == "." || name == ".." {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if state.topics.contains_key(name) {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        if !(1..=MOST_PARTITIONS).contains(&partitions) {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        if state.topics.len() >= MOST_TOPICS {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        Ok(())
    }

    /// Lets a topic have this many partitions, which must be more than it has.
    pub(super) fn add_partitions(&self, state: &mut State, name: &str, total: i32) -> Result<(), ErrorCode> {
        let present = self.may_grow(state, name, total)?;
        let topic = state.topics.get_mut(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        topic.logs.extend((present..total).map(|number| self.new_log(number, 0)));
        self.wake();
        Ok(())
    }

    /// How many partitions a topic has, if it can get this many.
    pub(super) fn may_grow(&self, state: &State, name: &str, total: i32) -> Result<i32, ErrorCode> {
        let topic = state.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let present = i32::try_from(topic.logs.len()).unwrap_or(i32::MAX);
        match (present.saturating_add(1)..=MOST_PARTITIONS).contains(&total) {
            true => Ok(present),
            false => Err(ErrorCode::INVALID_PARTITIONS),
        }
    }

    /// The nodes take turns in leading the partitions of a topic.
    fn new_log(&self, number: i32, epoch: i32) -> Log {
        let nodes = i32::try_from(self.ports.len()).unwrap_or(1).max(1);
        Log::new(number % nodes + 1, epoch, self.settings.partition_bytes)
    }
}

/// Each `RandomState` has keys of its own, which makes what it gives for the same value a random number.
fn random_id() -> Uuid {
    let random = || RandomState::new().hash_one(0);
    let id = u128::from(random()) << 64 | u128::from(random());
    Uuid(id.max(1).to_be_bytes())
}
