//! Queues that keep order: the records of one key or partition are sent one after the other.
//!
//! Pure bookkeeping of sequence numbers, without time or answers.

use super::settings::Order;
use crate::record::Record;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// A queue, by the hash of its key or partition. Two keys with the same hash share a queue, which costs a little
/// concurrency and never the order.
pub(crate) type OrderKey = u64;

/// The queues of records under way.
#[derive(Debug)]
pub(crate) struct OrderQueues {
    order: Order,
    hasher: RandomState,
    /// Only the first of each queue may be sent.
    queues: HashMap<OrderKey, VecDeque<u64>>,
}

impl OrderQueues {
    /// No queues yet.
    pub(crate) fn new(order: Order) -> Self {
        Self { order, hasher: RandomState::new(), queues: HashMap::new() }
    }

    /// Whether records are kept in order by key.
    pub(crate) fn is_by_key(&self) -> bool {
        self.order == Order::Key
    }

    /// The queue of a record; `None` if it is not ordered.
    pub(crate) fn of(&self, record: &Record) -> Option<OrderKey> {
        match self.order {
            Order::None => None,
            Order::Partition => Some(self.hasher.hash_one(record.partition())),
            Order::Key => record.key().map(|key| self.hasher.hash_one((record.partition().topic(), key))),
        }
    }

    /// Appends a record to its queue. Returns whether it is the first.
    pub(crate) fn enter(&mut self, lane: Option<OrderKey>, sequence: u64) -> bool {
        let Some(lane) = lane else { return true };
        let queue = self.queues.entry(lane).or_default();
        queue.push_back(sequence);
        queue.len() == 1
    }

    /// Whether nothing of its queue is before the record.
    pub(crate) fn is_first(&self, key: Option<OrderKey>, sequence: u64) -> bool {
        key.is_none_or(|key| self.queues.get(&key).and_then(VecDeque::front) == Some(&sequence))
    }

    /// Removes a record from its queue. Returns the record that is first because of it.
    pub(crate) fn leave(&mut self, lane: Option<OrderKey>, sequence: u64) -> Option<u64> {
        let lane = lane?;
        let queue = self.queues.get_mut(&lane)?;
        let was_first = queue.front() == Some(&sequence);
        if was_first {
            queue.pop_front();
        } else {
            queue.retain(|other| *other != sequence);
        }
        let successor = queue.front().copied();
        if successor.is_none() {
            self.queues.remove(&lane);
        }
        successor.filter(|_| was_first)
    }
}
