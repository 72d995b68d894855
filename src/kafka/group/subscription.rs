//! The subscriptions of members and their assignments.

use crate::record::Partition;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use crate::kafka::cluster::TopicSizes;

/// The subscription that a member joins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The subscribed topics.
    pub topics: BTreeSet<Arc<str>>,
    /// The partitions that it keeps while it joins (cooperative members only).
    pub owned: Vec<Partition>,
    /// The generation in which they were assigned, if the member says so (KIP-792).
    pub generation: Option<i32>,
    /// The member's rack, if it says so (KIP-881).
    pub rack: Option<String>,
    /// Bytes for the leader, in any format.
    pub user_data: Vec<u8>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriber {
    /// The member id, given by the coordinator.
    pub member_id: String,
    /// The instance id of a static member, given by its operator (KIP-345).
    pub instance_id: Option<String>,
    /// Its subscription.
    pub subscription: Subscription,
}

/// The assignment of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Its partitions, sorted.
    pub partitions: Vec<Partition>,
    /// Bytes from the leader, in any format. Members of other clients ignore them.
    pub user_data: Vec<u8>,
}

/// The existing topics with subscribers, with their partition counts and the indexes of their subscribers.
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
