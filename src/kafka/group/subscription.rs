//! What members want and get, as the leader sees it.

use crate::record::Partition;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use crate::kafka::cluster::TopicSizes;

/// What a member says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics it wants partitions of.
    pub topics: BTreeSet<Arc<str>>,
    /// The partitions it still holds while it joins (cooperative members only).
    pub owned: Vec<Partition>,
    /// The generation in which it was given them, where it says so (KIP-792).
    pub generation: Option<i32>,
    /// Its rack, where it says so (KIP-881).
    pub rack: Option<String>,
    /// Bytes for the leader, free in form.
    pub user_data: Vec<u8>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriber {
    /// The id the coordinator gave it.
    pub member_id: String,
    /// The id its operator gave it, if it is a static member (KIP-345).
    pub instance_id: Option<String>,
    /// What it wants and what it holds.
    pub subscription: Subscription,
}

/// What a member is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Its partitions, sorted.
    pub partitions: Vec<Partition>,
    /// Bytes from the leader, free in form; members that don't know them ignore them.
    pub user_data: Vec<u8>,
}

/// The topics that exist and that somebody wants, with their sizes and the places of those who want them.
pub(super) fn wanted<'a>(
    sizes: &'a TopicSizes,
    members: &[&Subscriber],
) -> Vec<(&'a Arc<str>, i32, Vec<usize>)> {
    let existing = sizes.iter().filter(|(_, size)| **size > 0);
    let mut topics: Vec<_> = existing.map(|(topic, size)| (topic, *size, Vec::new())).collect();
    let places: HashMap<&str, usize> =
        topics.iter().enumerate().map(|(at, topic)| (&**topic.0, at)).collect();
    for (member, subscriber) in members.iter().enumerate() {
        for topic in &subscriber.subscription.topics {
            if let Some(at) = places.get(&**topic) {
                topics[*at].2.push(member);
            }
        }
    }
    topics.retain(|(_, _, subscribers)| !subscribers.is_empty());
    topics
}
