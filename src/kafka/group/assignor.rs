//! Who gets which partition: the three assignors by the names and rules under which Java's and librdkafka's
//! members know them, since any member of a group may be its leader and assigns to all the others.
//!
//! Pure functions of the members' subscriptions and the topics' sizes: the same input gives the same assignment,
//! in whatever order the members come. Each partition of a subscribed topic goes to exactly one member that
//! subscribed to it; only the cooperative assignor withholds one, for the round in which its owner gives it up.
//! Nothing here knows of generations, coordinators or bytes on the wire.

use super::sticky;
use super::subscription::wanted;
pub use super::subscription::{Assignment, Subscriber, Subscription, TopicSizes};
use crate::record::Partition;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A way to split the partitions of a group's topics among its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Each topic by itself, in consecutive ranges: the same numbers of two topics meet at one member.
    Range,
    /// All partitions dealt out like cards.
    RoundRobin,
    /// Balanced, and everybody keeps what it has as far as that allows. What moves is given up by its owner in
    /// one round and given to its next owner in another, so that all else goes on meanwhile (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Range, Self::RoundRobin, Self::CooperativeSticky];

    /// The name members find each other by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether its members may keep their partitions while they join.
    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// Splits the partitions: one sorted list for each of `members`, in their order.
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

/// The places of the members in the order in which they are served: static members first, by their instance
/// ids, which outlive a restart; then the others by their member ids.
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
            // The first ones take one more each until the remainder is used up.
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
            // The turn goes on around the table, past those who don't want this topic.
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
