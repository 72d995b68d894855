//! The cooperative sticky assignor (KIP-54, KIP-429): as balanced as the subscriptions allow, with as few moves as
//! possible, and without assigning a partition that another member still owns.
//!
//! Members keep the partitions that they validly claim. Unclaimed ones go to the member with the fewest. Then
//! partitions move along chains of members, from one with too many to one with at least two fewer, until there is no
//! such chain; no assignment is more balanced than that. Each move lowers the sum of the squared loads, so the loop
//! ends. Partitions that changed their owner are withheld: the old owner misses them, gives them up and rejoins, and
//! only then does the new owner get them.

use super::subscription::{Subscriber, Subscription, TopicSizes, wanted};
use crate::record::Partition;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A partition: the index of its topic in the list of wanted topics, and its number.
type Place = (usize, i32);

/// A member's claim to own a partition.
#[derive(Clone, Copy)]
struct Claim {
    member: usize,
    generation: i32,
    /// Another member claims it in the same generation: at most one of them is right, and nothing tells which.
    contested: bool,
}

/// The claims on each topic's partitions, by number.
type Claims = Vec<Vec<Option<Claim>>>;

/// An assignment that is being balanced.
struct Table {
    /// By topic: the indexes of its subscribers, ascending.
    subscribers: Vec<Rc<[usize]>>,
    /// By topic: the first topic with the same subscribers.
    alike: Vec<usize>,
    /// By member: its partitions, by topic.
    holdings: Vec<BTreeMap<usize, Vec<i32>>>,
    /// By member: the number of its partitions.
    loads: Vec<usize>,
    claims: Claims,
}

/// One list per member. The members come in the order of assignment.
pub(super) fn assign(sizes: &TopicSizes, members: &[&Subscriber]) -> Vec<Vec<Partition>> {
    let topics = wanted(sizes, members);
    let (mut subscribers, mut alike) = (Vec::new(), Vec::new());
    let mut firsts: HashMap<Rc<[usize]>, usize> = HashMap::new();
    for (topic, (_, _, wanting)) in topics.iter().enumerate() {
        let wanting: Rc<[usize]> = wanting.as_slice().into();
        alike.push(*firsts.entry(Rc::clone(&wanting)).or_insert(topic));
        subscribers.push(wanting);
    }
    let mut table = Table {
        subscribers,
        alike,
        holdings: vec![BTreeMap::new(); members.len()],
        loads: vec![0; members.len()],
        claims: claims(&topics, members),
    };
    let free = table.keep();
    table.hand_out(free);
    table.even_out();

    let name = |place: &Place| Partition::new(Arc::clone(topics[place.0].0), place.1);
    (0..members.len()).map(|member| table.granted(member).iter().map(name).collect()).collect()
}

/// The valid claims: for each partition those of its latest generation, since a member with an older generation has
/// missed that the partition was assigned to another.
fn claims(topics: &[(&Arc<str>, i32, Vec<usize>)], members: &[&Subscriber]) -> Claims {
    let places: HashMap<&str, usize> = topics.iter().enumerate().map(|(i, t)| (&**t.0, i)).collect();
    let mut claims: Claims = topics.iter().map(|(_, size, _)| vec![None; *size as usize]).collect();
    for (member, subscriber) in members.iter().enumerate() {
        let generation = generation_of(&subscriber.subscription);
        for partition in &subscriber.subscription.owned {
            let topic = places.get(partition.topic()).map(|topic| &mut claims[*topic]);
            let number = usize::try_from(partition.number()).ok();
            let place = topic.zip(number).and_then(|(topic, number)| topic.get_mut(number));
            let Some(place) = place else { continue };
            let claim = place.get_or_insert(Claim { member, generation, contested: false });
            if generation > claim.generation {
                *claim = Claim { member, generation, contested: false };
            } else if generation == claim.generation && claim.member != member {
                claim.contested = true;
            }
        }
    }
    claims
}

/// The generation of a member's claims; -1 if it does not say. Members before KIP-792 send it in their user data:
/// Java's as four bytes, librdkafka's as the last four bytes, after the previous assignment.
fn generation_of(subscription: &Subscription) -> i32 {
    const UNKNOWN: i32 = -1;
    if let Some(generation) = subscription.generation.filter(|generation| *generation >= 0) {
        return generation;
    }
    let last: Option<&[u8; 4]> = subscription.user_data.last_chunk();
    last.map_or(UNKNOWN, |bytes| i32::from_be_bytes(*bytes).max(UNKNOWN))
}

impl Table {
    /// Lets members keep the partitions that they validly claim. Returns the others, those of topics with the fewest
    /// subscribers first, since they leave the least choice.
    fn keep(&mut self) -> Vec<(usize, Vec<i32>)> {
        let mut free = Vec::new();
        for topic in 0..self.claims.len() {
            let mut unclaimed = Vec::new();
            for number in 0..self.claims[topic].len() as i32 {
                let kept = self.claim((topic, number)).filter(|claim| !claim.contested);
                let wants = |member: &usize| self.subscribers[topic].binary_search(member).is_ok();
                match kept.map(|claim| claim.member).filter(wants) {
                    Some(member) => self.give(member, (topic, number)),
                    None => unclaimed.push(number),
                }
            }
            free.push((topic, unclaimed));
        }
        free.sort_by_key(|(topic, _)| (self.subscribers[*topic].len(), *topic));
        free
    }

    fn claim(&self, (topic, number): Place) -> Option<Claim> {
        *self.claims[topic].get(usize::try_from(number).ok()?)?
    }

    /// Gives each free partition to the subscriber with the fewest partitions.
    fn hand_out(&mut self, free: Vec<(usize, Vec<i32>)>) {
        for (topic, numbers) in free {
            let waiting = self.subscribers[topic].iter().enumerate();
            let mut waiting: BinaryHeap<Reverse<(usize, usize, usize)>> =
                waiting.map(|(rank, member)| Reverse((self.loads[*member], rank, *member))).collect();
            for number in numbers {
                let Some(Reverse((load, rank, member))) = waiting.pop() else { break };
                self.give(member, (topic, number));
                waiting.push(Reverse((load + 1, rank, member)));
            }
        }
    }

    /// Moves partitions until no member has two more than another that a chain of moves leads to.
    fn even_out(&mut self) {
        // Each round but the last moves something, and each move lowers the sum of the squared loads.
        let mut moved = true;
        while std::mem::take(&mut moved) {
            let mut content = vec![false; self.loads.len()];
            // The member with the most partitions gives one at a time, so that no member gives too many.
            while let Some(rich) = (0..content.len())
                .filter(|member| !content[*member])
                .max_by_key(|member| (self.loads[*member], Reverse(*member)))
            {
                let least = self.loads.iter().copied().min().unwrap_or(0);
                if self.loads[rich] < least + 2 {
                    // The other members have no more partitions than this one, so none can give.
                    break;
                }
                if self.relieve(rich, least) {
                    moved = true;
                } else {
                    content[rich] = true;
                }
            }
        }
    }

    /// Moves one partition away from `rich`, along the shortest chain to the member with the fewest partitions that can
    /// be reached. No member has fewer than `least`.
    fn relieve(&mut self, rich: usize, least: usize) -> bool {
        let mut came_from: Vec<Option<(usize, usize)>> = vec![None; self.loads.len()];
        // Topics with the same subscribers lead to the same members.
        let mut seen = vec![false; self.subscribers.len()];
        let mut poorest: Option<usize> = None;
        let mut front = VecDeque::from([rich]);
        'search: while let Some(member) = front.pop_front() {
            for topic in self.holdings[member].keys() {
                if std::mem::replace(&mut seen[self.alike[*topic]], true) {
                    continue;
                }
                for next in &*self.subscribers[*topic] {
                    if *next == rich || came_from[*next].is_some() {
                        continue;
                    }
                    came_from[*next] = Some((member, *topic));
                    front.push_back(*next);
                    if poorest.is_none_or(|found| self.loads[*next] < self.loads[found]) {
                        poorest = Some(*next);
                        if self.loads[*next] == least {
                            break 'search;
                        }
                    }
                }
            }
        }
        let Some(mut to) = poorest.filter(|found| self.loads[*found] + 2 <= self.loads[rich]) else {
            return false;
        };
        while let Some((from, topic)) = came_from[to] {
            let number = self.take(from, topic, to);
            self.give(to, (topic, number));
            to = from;
        }
        true
    }

    fn give(&mut self, member: usize, (topic, number): Place) {
        self.holdings[member].entry(topic).or_default().push(number);
        self.loads[member] += 1;
    }

    /// Takes a partition of `topic` from `from`: preferably one that `to` owned before, or that `from` did not.
    fn take(&mut self, from: usize, topic: usize, to: usize) -> i32 {
        let claims = &self.claims[topic];
        let owner = |number: i32| claims[number as usize].map(|claim| claim.member);
        let held = self.holdings[from].entry(topic).or_default();
        let place = held
            .iter()
            .position(|n| owner(*n) == Some(to))
            .or_else(|| held.iter().position(|n| owner(*n) != Some(from)))
            .unwrap_or(0);
        // `from` has a partition of `topic`, since the chain led through it, and passes each member once.
        let number = held.remove(place);
        if held.is_empty() {
            self.holdings[from].remove(&topic);
        }
        self.loads[from] -= 1;
        number
    }

    /// The partitions to assign to `member` now: without those that another member still owns, or that several claim.
    fn granted(&self, member: usize) -> Vec<Place> {
        let all = self.holdings[member].iter();
        all.flat_map(|(topic, numbers)| numbers.iter().map(move |number| (*topic, *number)))
            .filter(|place| self.claim(*place).is_none_or(|c| c.member == member && !c.contested))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_generation_wherever_a_member_puts_it() {
        let of = |generation, user_data: &[u8]| {
            generation_of(&Subscription {
                generation,
                user_data: user_data.into(),
                ..Subscription::default()
            })
        };
        assert_eq!(of(Some(7), &[0, 0, 0, 9]), 7);
        assert_eq!(of(Some(-1), &[]), -1);
        assert_eq!(of(None, &[0, 0, 0, 9]), 9);
        // librdkafka: one topic "t" with partition 4, then generation 3.
        assert_eq!(of(None, &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 3]), 3);
        assert_eq!(of(None, &[0xff; 4]), -1);
        assert_eq!(of(None, &[1]), -1);
    }
}
