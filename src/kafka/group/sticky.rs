//! The cooperative sticky assignor (KIP-54, KIP-429): as balanced as the subscriptions allow, moving as little
//! as that allows, and giving nothing away that somebody still holds.
//!
//! Three steps. Everybody keeps what it rightly claims. What nobody claims goes to whoever has least. Then
//! partitions move along chains of members, from one that has too many to one that has at least two fewer, until
//! there is no such chain; no assignment is more even than that. Each move makes the sum of the squared loads
//! smaller, so the moving ends. At last what changed hands is withheld: its owner sees that it is missing, gives
//! it up and joins again, and only then it is given to its next owner.

use super::assignor::{Subscriber, Subscription, TopicSizes, wanted};
use crate::relay::record::Partition;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// A partition by the place of its topic in the list of wanted topics, and its number.
type Place = (usize, i32);

/// Who says that it holds a partition.
#[derive(Clone, Copy)]
struct Claim {
    member: usize,
    generation: i32,
    /// Another member says the same of the same generation: at most one can be right, and nothing tells which.
    contested: bool,
}

/// How things stand while they are being evened out.
struct Table {
    /// For each topic the places of the members that want it.
    subscribers: Vec<Vec<usize>>,
    /// For each member what it holds, by topic.
    holdings: Vec<BTreeMap<usize, Vec<i32>>>,
    /// For each member how many partitions it holds.
    loads: Vec<usize>,
    claims: HashMap<Place, Claim>,
}

/// One list for each of the members, which come in the order of service.
pub(super) fn assign(sizes: &TopicSizes, members: &[&Subscriber]) -> Vec<Vec<Partition>> {
    let topics = wanted(sizes, members);
    let claims = claims(&topics, sizes, members);
    let mut table = Table {
        subscribers: topics.iter().map(|(_, _, subscribers)| subscribers.clone()).collect(),
        holdings: vec![BTreeMap::new(); members.len()],
        loads: vec![0; members.len()],
        claims,
    };
    let extents: Vec<i32> = topics.iter().map(|(_, size, _)| *size).collect();
    let free = table.keep(&extents);
    table.hand_out(free);
    table.even_out();

    let name = |place: &Place| Partition::new(Arc::clone(topics[place.0].0), place.1);
    (0..members.len()).map(|member| table.granted(member).iter().map(name).collect()).collect()
}

/// The claims that count: for each partition those of its newest generation, since a claim of an older one
/// comes from a member that has missed how it was given to somebody else.
fn claims(
    topics: &[(&Arc<str>, i32, Vec<usize>)],
    sizes: &TopicSizes,
    members: &[&Subscriber],
) -> HashMap<Place, Claim> {
    let places: HashMap<&str, usize> = topics.iter().enumerate().map(|(i, t)| (&**t.0, i)).collect();
    let mut claims: HashMap<Place, Claim> = HashMap::new();
    for (member, subscriber) in members.iter().enumerate() {
        let generation = generation_of(&subscriber.subscription);
        for partition in &subscriber.subscription.owned {
            let exists =
                sizes.get(partition.topic()).is_some_and(|size| (0..*size).contains(&partition.number()));
            let Some(topic) = places.get(partition.topic()).filter(|_| exists) else { continue };
            let claim = claims.entry((*topic, partition.number())).or_insert(Claim {
                member,
                generation,
                contested: false,
            });
            if generation > claim.generation {
                *claim = Claim { member, generation, contested: false };
            } else if generation == claim.generation && claim.member != member {
                claim.contested = true;
            }
        }
    }
    claims
}

/// The generation a member's claims are of, or -1 where it doesn't say. Members before KIP-792 say it in their
/// user data: Java as four bytes, librdkafka as the last four of its sticky data (previous assignment, then
/// generation).
fn generation_of(subscription: &Subscription) -> i32 {
    const UNKNOWN: i32 = -1;
    if let Some(generation) = subscription.generation.filter(|generation| *generation >= 0) {
        return generation;
    }
    let last: Option<&[u8; 4]> = subscription.user_data.last_chunk();
    last.map_or(UNKNOWN, |bytes| i32::from_be_bytes(*bytes).max(UNKNOWN))
}

impl Table {
    /// Lets everybody keep what it rightly claims; gives back what is left, the topics that the fewest want
    /// first, since they leave the least choice.
    fn keep(&mut self, extents: &[i32]) -> Vec<(usize, Vec<i32>)> {
        let mut free = Vec::new();
        for (topic, size) in extents.iter().enumerate() {
            let mut unclaimed = Vec::new();
            for number in 0..*size {
                let kept = self.claims.get(&(topic, number)).filter(|claim| !claim.contested);
                match kept.map(|claim| claim.member).filter(|m| self.subscribers[topic].contains(m)) {
                    Some(member) => self.give(member, (topic, number)),
                    None => unclaimed.push(number),
                }
            }
            free.push((topic, unclaimed));
        }
        free.sort_by_key(|(topic, _)| (self.subscribers[*topic].len(), *topic));
        free
    }

    /// Gives each free partition to whoever of its topic's subscribers has least.
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

    /// Moves partitions until nobody has two more than another to whom a chain of moves leads.
    fn even_out(&mut self) {
        // Each round but the last moves something, and each move lowers the sum of the squared loads.
        let mut moved = true;
        while std::mem::take(&mut moved) {
            let mut content = vec![false; self.loads.len()];
            // Always the richest gives, one at a time, so that nobody gives more than it has too many.
            while let Some(rich) = (0..content.len())
                .filter(|member| !content[*member])
                .max_by_key(|member| (self.loads[*member], Reverse(*member)))
            {
                if self.relieve(rich) {
                    moved = true;
                } else {
                    content[rich] = true;
                }
            }
        }
    }

    /// Moves one partition away from `rich`, by as short a chain as there is to the poorest it can reach.
    fn relieve(&mut self, rich: usize) -> bool {
        let mut came_from: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut seen_topics = vec![false; self.subscribers.len()];
        let mut poorest: Option<usize> = None;
        let mut front = VecDeque::from([rich]);
        while let Some(member) = front.pop_front() {
            for topic in self.holdings[member].keys() {
                if std::mem::replace(&mut seen_topics[*topic], true) {
                    continue;
                }
                for next in &self.subscribers[*topic] {
                    if *next == rich || came_from.contains_key(next) {
                        continue;
                    }
                    came_from.insert(*next, (member, *topic));
                    front.push_back(*next);
                    if poorest.is_none_or(|found| self.loads[*next] < self.loads[found]) {
                        poorest = Some(*next);
                    }
                }
            }
        }
        let Some(mut to) = poorest.filter(|found| self.loads[*found] + 2 <= self.loads[rich]) else {
            return false;
        };
        while let Some((from, topic)) = came_from.get(&to).copied() {
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

    /// Takes the partition of `topic` from `from` that hurts least: one that `to` had, one that `from` never
    /// had, or else any.
    fn take(&mut self, from: usize, topic: usize, to: usize) -> i32 {
        let claims = &self.claims;
        let owner = |number: i32| claims.get(&(topic, number)).map(|claim| claim.member);
        let held = self.holdings[from].entry(topic).or_default();
        let place = held
            .iter()
            .position(|n| owner(*n) == Some(to))
            .or_else(|| held.iter().position(|n| owner(*n) != Some(from)))
            .unwrap_or(0);
        // `from` holds a partition of `topic`: that is how the chain came by, and it passes each member once.
        let number = held.remove(place);
        if held.is_empty() {
            self.holdings[from].remove(&topic);
        }
        self.loads[from] -= 1;
        number
    }

    /// What `member` may have now: not what another still holds, nor what several say they hold.
    fn granted(&self, member: usize) -> Vec<Place> {
        let all = self.holdings[member].iter();
        all.flat_map(|(topic, numbers)| numbers.iter().map(move |number| (*topic, *number)))
            .filter(|place| self.claims.get(place).is_none_or(|c| c.member == member && !c.contested))
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
