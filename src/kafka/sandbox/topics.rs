//! Creates and grows topics. Each gets a unique id, which tells a re-created topic from its predecessor (KIP-516).

use super::broker::Broker;
use super::log::Log;
use super::state::{State, Topic};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// The most topics that can exist.
pub const MOST_TOPICS: usize = 1_000;
/// The most partitions of a topic.
pub const MOST_PARTITIONS: i32 = 1_000;
/// The longest topic name, as in Kafka.
const LONGEST_TOPIC: usize = 249;

impl Broker {
    /// Creates a topic unless it exists.
    pub(super) fn make_topic(&self, state: &mut State, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        match state.topics.contains_key(name) {
            true => Ok(()),
            false => self.new_topic(state, name, partitions, 0),
        }
    }

    /// Creates a topic whose leader epochs start at `epoch`.
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

    /// Checks whether a topic with this name and number of partitions can be created.
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

    /// Grows a topic to `total` partitions, which must be more than it has.
    pub(super) fn add_partitions(&self, state: &mut State, name: &str, total: i32) -> Result<(), ErrorCode> {
        let present = self.may_grow(state, name, total)?;
        let topic = state.topics.get_mut(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        topic.logs.extend((present..total).map(|number| self.new_log(number, 0)));
        self.wake();
        Ok(())
    }

    /// The present number of partitions of a topic, if it can grow to `total`.
    pub(super) fn may_grow(&self, state: &State, name: &str, total: i32) -> Result<i32, ErrorCode> {
        let topic = state.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let present = i32::try_from(topic.logs.len()).unwrap_or(i32::MAX);
        match (present.saturating_add(1)..=MOST_PARTITIONS).contains(&total) {
            true => Ok(present),
            false => Err(ErrorCode::INVALID_PARTITIONS),
        }
    }

    /// Leaders are assigned round-robin over the nodes.
    fn new_log(&self, number: i32, epoch: i32) -> Log {
        let nodes = i32::try_from(self.ports.len()).unwrap_or(1).max(1);
        Log::new(number % nodes + 1, epoch, self.settings.partition_bytes)
    }
}

/// Each `RandomState` has its own random keys, so hashing a constant gives a random number.
fn random_id() -> Uuid {
    let random = || RandomState::new().hash_one(0);
    let id = u128::from(random()) << 64 | u128::from(random());
    Uuid(id.max(1).to_be_bytes())
}
