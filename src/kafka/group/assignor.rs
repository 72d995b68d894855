//! The three assignors, with the names and rules of Java's and librdkafka's: any member of a group may be the leader,
//! which assigns the partitions of all members.
//!
//! Pure functions of the subscriptions and the partition counts: the same input gives the same assignment, in whatever
//! order the members come. Each partition of a subscribed topic goes to exactly one of its subscribers. Only the
//! cooperative assignor withholds a partition, for the round in which its owner gives it up. Nothing here knows
//! generations, coordinators or the protocol's encoding.

use super::sticky;
use super::subscription::wanted;
pub use super::subscription::{Assignment, Subscriber, Subscription, TopicSizes};
use crate::record::Partition;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// An algorithm that assigns the partitions of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Each topic by itself, in consecutive ranges, so that equal partition numbers of topics meet at one member.
    Range,
    /// All partitions of all topics in turn.
    RoundRobin,
    /// Balanced, with as few moves as balance allows. A partition that moves is given up by its owner in one round and
    /// assigned to the next owner in another, so that all other partitions go on meanwhile (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// All assignors.
    pub const ALL: [Self; 3] = [Self::Range, Self::RoundRobin, Self::CooperativeSticky];

    /// Its name in the group protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor with this name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether its members keep their partitions while they rejoin.
    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// Assigns the partitions: one sorted list per member, in the order of `members`.
    pub fn assign(self, sizes: &TopicSizes, members: &[Subscriber]) -> Vec<Vec<Partition>> {
        let order = order_of_service(members);
        let served: Vec<&Subscriber> = order.iter().map(|place| &members[*place]).collect();
        let served_lists = match self {
            Self::Range => range(sizes, &served),
            Self::RoundRobin => round_robin(sizes, &served),
            Self::CooperativeSticky => sticky::assign(sizes, &served),
        };
        let mut lists = vec![Vec::new(); members.len()];
        for (place, mut list) in order.into_iter().zip(served_lists) {
            list.sort();
            lists[place] = list;
        }
        lists
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The indexes of the members in the order of assignment: static members first, by instance id, which outlives a
/// restart; then the others by member id.
fn order_of_service(members: &[Subscriber]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..members.len()).collect();
    places.sort_by(|&a, &b| {
        let (a, b) = (&members[a], &members[b]);
        match (&a.instance_id, &b.instance_id) {
            (Some(x), Some(y)) => x.cmp(y),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
        .then_with(|| a.member_id.cmp(&b.member_id))
    });
    places
}

fn range(sizes: &TopicSizes, members: &[&Subscriber]) -> Vec<Vec<Partition>> {
    let mut lists = vec![Vec::new(); members.len()];
    for (topic, size, subscribers) in wanted(sizes, members) {
        let (count, size) = (subscribers.len(), size as usize);
        let mut numbers = (0..size as i32).map(|number| Partition::new(Arc::clone(topic), number));
        for (turn, member) in subscribers.into_iter().enumerate() {
            // The first members take the remainder, one more each.
            let length = size / count + usize::from(turn < size % count);
            lists[member].extend(numbers.by_ref().take(length));
        }
    }
    lists
}

fn round_robin(sizes: &TopicSizes, members: &[&Subscriber]) -> Vec<Vec<Partition>> {
    let mut lists = vec![Vec::new(); members.len()];
    let mut turn = 0;
    for (topic, size, subscribers) in wanted(sizes, members) {
        for number in 0..size {
            // The turn passes over members that have not subscribed to this topic.
            let next = subscribers.partition_point(|member| *member < turn);
            let member = subscribers[next % subscribers.len()];
            lists[member].push(Partition::new(Arc::clone(topic), number));
            turn = (member + 1) % members.len();
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|t| Arc::from(*t)).collect();
        Subscriber {
            member_id: id.into(),
            subscription: Subscription { topics, ..Subscription::default() },
            ..Subscriber::default()
        }
    }

    fn sizes(of: &[(&str, i32)]) -> TopicSizes {
        of.iter().map(|(topic, size)| (Arc::from(*topic), *size)).collect()
    }

    fn shown(lists: &[Vec<Partition>]) -> Vec<String> {
        lists.iter().map(|l| l.iter().map(Partition::to_string).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn range_gives_the_first_members_the_rest_of_each_topic() {
        let members = [member("c1", &["t0", "t1"]), member("c0", &["t0", "t1"])];
        let lists = Assignor::Range.assign(&sizes(&[("t0", 3), ("t1", 3)]), &members);
        assert_eq!(shown(&lists), ["t0-2 t1-2", "t0-0 t0-1 t1-0 t1-1"]);
    }

    #[test]
    fn round_robin_deals_across_topics() {
        let members = [member("c0", &["t0", "t1"]), member("c1", &["t0", "t1"])];
        let lists = Assignor::RoundRobin.assign(&sizes(&[("t0", 3), ("t1", 3)]), &members);
        assert_eq!(shown(&lists), ["t0-0 t0-2 t1-1", "t0-1 t1-0 t1-2"]);
    }

    #[test]
    fn round_robin_passes_over_those_who_do_not_want_a_topic() {
        let members = [member("c0", &["t0"]), member("c1", &["t0", "t1"]), member("c2", &["t0", "t1", "t2"])];
        let lists = Assignor::RoundRobin.assign(&sizes(&[("t0", 1), ("t1", 2), ("t2", 3)]), &members);
        assert_eq!(shown(&lists), ["t0-0", "t1-0", "t1-1 t2-0 t2-1 t2-2"]);
    }

    #[test]
    fn static_members_are_served_first_whatever_their_member_ids() {
        let mut last = member("z", &["t"]);
        last.instance_id = Some("i".into());
        let lists = Assignor::Range.assign(&sizes(&[("t", 1)]), &[member("a", &["t"]), last]);
        assert_eq!(shown(&lists), ["", "t-0"]);
    }

    #[test]
    fn nobody_gets_a_topic_that_does_not_exist() {
        for assignor in Assignor::ALL {
            assert_eq!(shown(&assignor.assign(&sizes(&[("u", 2)]), &[member("a", &["t"])])), [""]);
            assert!(assignor.assign(&sizes(&[("u", 2)]), &[]).is_empty());
            assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
        }
    }
}
