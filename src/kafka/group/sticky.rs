//! The cooperative sticky assignor (KIP-54, KIP-429): as balanced as the subscriptions allow, moving as little
//! as that allows, and giving nothing away that somebody still holds.
//!
//! Three steps. Everybody keeps what it rightly claims. What nobody claims goes to whoever has least. Then
//! partitions move along chains of members, from one that has too many to one that has at least two fewer, until
//! there is no such chain; no assignment is more even than that. Each move makes the sum of the squared loads
//! smaller, so the moving ends. At last what changed hands is withheld: its owner sees that it is missing, gives
//! it up and joins again, and only then it is given to its next owner.

use super::subscription::{Subscriber, Subscription, TopicSizes, wanted};
use crate::record::Partition;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
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

/// The claims on each topic's partitions, by number.
type Claims = Vec<Vec<Option<Claim>>>;

/// How things stand while they are being evened out.
struct Table {
    /// For each topic the places of the members that want it, in order.
    subscribers: Vec<Rc<[usize]>>,
    /// For each topic the first one that the same members want.
    alike: Vec<usize>,
    /// For each member what it holds, by topic.
    holdings: Vec<BTreeMap<usize, Vec<i32>>>,
    /// For each member how many partitions it holds.
    loads: Vec<usize>,
    claims: Claims,
}

/// One list for each of the members, which come in the order of service.
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

/// The claims that count: for each partition those of its newest generation, since a claim of an older one
/// comes from a member that has missed how it was given to somebody else.
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
                let least = self.loads.iter().copied().min().unwrap_or(0);
                if self.loads[rich] < least + 2 {
                    // Nor can anybody else give: all that are left have no more than this one.
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

    /// Moves one partition away from `rich`, by as short a chain as there is to the poorest it can reach. Nobody
    /// has fewer than `least`.
    fn relieve(&mut self, rich: usize, least: usize) -> bool {
        let mut came_from: Vec<Option<(usize, usize)>> = vec![None; self.loads.len()];
        // Topics that the same members want lead to the same members.
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

    /// Takes the partition of `topic` from `from` that hurts least: one that `to` had, one that `from` never
    /// had, or else any.
    fn take(&mut self, from: usize, topic: usize, to: usize) -> i32 {
        let claims = &self.claims[topic];
        let owner = |number: i32| claims[number as usize].map(|claim| claim.member);
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
