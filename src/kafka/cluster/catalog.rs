//! The metadata of a cluster as learned from its brokers' responses: brokers, topics, leaders. Does no I/O.
//!
//! Each broker answers with its own view, and the view of a lagging broker is stale. So a response that contradicts
//! newer metadata is not believed at once:
//!
//! - A leader with a lower epoch is accepted once the known leader has refused a request, or is no longer among the
//!   brokers, or after [`CONSISTENT`] equal responses. By then the topic was recreated, or the newer leader is dead.
//! - A missing topic counts as deleted after [`CONSISTENT`] responses without it.
//! - A new topic id means a new topic, at once and whatever its epochs. But a process that has just started may hear the
//!   new id first, and then, as if it were newer, the former one from a lagging broker. So a former id is accepted again
//!   once a broker doesn't know the current one, or after [`CONSISTENT`] consecutive responses with it. An id that a
//!   broker has served takes both, or [`OVERRULES_SERVED`] responses during which no broker serves it again.
//! - A response without brokers is ignored.

use super::Address;
use super::TopicSizes;
use crate::kafka::protocol::metadata::{MetadataResponse, MetadataResponseTopic};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How many consecutive responses it takes to overrule newer metadata.
pub const CONSISTENT: u32 = 3;
/// How many consecutive responses with a former topic id overrule an id that a broker has served and none has refused.
/// Many more than fit between two fetches of a partition, as metadata is never requested more often than every 100 ms.
pub const OVERRULES_SERVED: u32 = 30;
/// How many former ids of a topic are remembered.
const MOST_FORMER_IDS: usize = 8;

/// The leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The broker's id.
    pub broker: i32,
    /// The leader epoch; -1 where the broker does not report it.
    pub epoch: i32,
}

/// The metadata of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The topic's id; zero where the brokers have no topic ids.
    pub topic: Uuid,
    /// The leader, if there is one.
    pub leader: Option<Leader>,
}

/// What consecutive responses have said, against newer metadata, and how many of them.
#[derive(Clone, Copy, Debug)]
struct Streak<T> {
    said: T,
    responses: u32,
}

impl<T: PartialEq> Streak<T> {
    /// The streak after another response: a longer one, or a new one if it says something else.
    fn after(before: Option<Self>, said: T) -> Self {
        let responses = before.filter(|before| before.said == said).map_or(0, |before| before.responses);
        Self { said, responses: responses + 1 }
    }
}

#[derive(Clone, Debug, Default)]
struct Slot {
    leader: Option<Leader>,
    /// A leader with a lower epoch.
    older: Option<Streak<Leader>>,
}

#[derive(Clone, Debug, Default)]
struct Topic {
    id: Uuid,
    former: VecDeque<Uuid>,
    /// A former id.
    returning: Option<Streak<Uuid>>,
    /// A broker has answered a fetch that named the current id.
    served: bool,
    /// Since then a broker has answered that it doesn't know the current id.
    refused: bool,
    partitions: Vec<Slot>,
    /// How many consecutive responses lacked it.
    missing: u32,
}

/// The metadata of a cluster.
#[derive(Debug, Default)]
pub struct Catalog {
    id: Option<Arc<str>>,
    brokers: BTreeMap<i32, Address>,
    topics: BTreeMap<Arc<str>, Topic>,
}

impl Catalog {
    /// The cluster id, if a broker has reported it.
    pub(crate) fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    /// The brokers by id, from the latest metadata.
    pub(crate) fn brokers(&self) -> &BTreeMap<i32, Address> {
        &self.brokers
    }

    /// Adds a broker that another response than metadata has named.
    pub(crate) fn add_broker(&mut self, id: i32, address: Address) {
        self.brokers.insert(id, address);
    }

    /// The metadata of a partition.
    pub fn place(&self, topic: &str, partition: i32) -> Place {
        let Some(topic) = self.topics.get(topic) else { return Place::default() };
        let slot = usize::try_from(partition).ok().and_then(|at| topic.partitions.get(at));
        Place { topic: topic.id, leader: slot.and_then(|slot| slot.leader) }
    }

    /// The id of a topic; zero if it is not known.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// The number of partitions of each known topic.
    pub fn sizes(&self) -> TopicSizes {
        self.topics.iter().map(|(name, topic)| (Arc::clone(name), topic.size())).collect()
    }

    /// The number of partitions of a topic, if it is known.
    pub(crate) fn size(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(Topic::size)
    }

    /// The known leader has denied that it leads: the next response is accepted whatever its epoch.
    pub fn leader_refused(&mut self, topic: &str, partition: i32) {
        let slot =
            usize::try_from(partition).ok().and_then(|at| self.topics.get_mut(topic)?.partitions.get_mut(at));
        if let Some(slot) = slot {
            *slot = Slot::default();
        }
    }

    /// A broker has answered a request about the topic of this id with an error. What counts is that it doesn't know the
    /// topic, by the current id.
    pub fn topic_refused(&mut self, topic: &str, id: Uuid, code: ErrorCode) {
        let is_unknown = matches!(
            code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::INCONSISTENT_TOPIC_ID
        );
        let current = self.topics.get_mut(topic).filter(|topic| topic.id == id);
        if let Some(topic) = current.filter(|_| is_unknown) {
            topic.refused = true;
        }
    }

    /// A broker has answered a fetch that named the topic by this id.
    pub fn topic_served(&mut self, topic: &str, id: Uuid) {
        if let Some(topic) = self.topics.get_mut(topic).filter(|topic| topic.id == id) {
            (topic.served, topic.refused, topic.returning) = (true, false, None);
        }
    }

    /// Learns from a response about all topics, or about some of them by name. Returns `false` if it lists no brokers.
    pub fn learn(&mut self, answer: &MetadataResponse<'_>, about_all: bool) -> bool {
        if answer.brokers.is_empty() {
            return false;
        }
        self.id = answer.cluster_id.map(Arc::from).or(self.id.take());
        let port = |port: i32| u16::try_from(port).unwrap_or(0);
        self.brokers = answer
            .brokers
            .iter()
            .map(|b| (b.node_id, Address { host: b.host.to_owned(), port: port(b.port) }))
            .collect();
        let mut there = BTreeSet::new();
        for topic in &answer.topics {
            // A topic without a name can only answer a request by topic id.
            let Some(name) = topic.name else { continue };
            match topic.error_code {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => self.miss(name),
                // Another error, such as a missing right: the topic exists.
                code if code != ErrorCode::NONE && topic.partitions.is_empty() => {
                    there.insert(name);
                }
                _ => {
                    there.insert(name);
                    self.learn_topic(name, topic);
                }
            }
        }
        if about_all {
            let missing: Vec<Arc<str>> =
                self.topics.keys().filter(|name| !there.contains(name.as_ref())).cloned().collect();
            missing.iter().for_each(|name| self.miss(name));
        }
        true
    }

    fn miss(&mut self, name: &str) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.missing += 1;
        if topic.missing >= CONSISTENT {
            self.topics.remove(name);
        }
    }

    fn learn_topic(&mut self, name: &str, told: &MetadataResponseTopic<'_>) {
        let brokers = &self.brokers;
        let mut known = self.topics.remove(name).unwrap_or_default();
        if known.former.contains(&told.topic_id) && !known.is_overruled_by(told.topic_id) {
            self.topics.insert(Arc::from(name), known);
            return;
        }
        // During an upgrade older brokers report no id.
        let id = if told.topic_id == Uuid::ZERO { known.id } else { told.topic_id };
        let is_another = known.id != Uuid::ZERO && known.id != id;
        let mut topic = Topic { id, former: known.former, ..Topic::default() };
        let before = if is_another { Vec::new() } else { known.partitions };
        if is_another {
            topic.former.retain(|former| *former != id);
            topic.former.push_back(known.id);
            let surplus = topic.former.len().saturating_sub(MOST_FORMER_IDS);
            topic.former.drain(..surplus);
        } else {
            (topic.served, topic.refused) = (known.served, known.refused);
        }
        let highest = told.partitions.iter().map(|p| p.partition_index).max().unwrap_or(-1);
        let size = usize::try_from(highest.saturating_add(1)).unwrap_or(0).min(told.partitions.len());
        // A topic never shrinks: a broker that reports fewer partitions is lagging.
        let is_same = !is_another && id != Uuid::ZERO;
        topic.partitions = if is_same { before.clone() } else { Vec::new() };
        topic.partitions.resize(if is_same { size.max(before.len()) } else { size }, Slot::default());
        for partition in &told.partitions {
            let at = usize::try_from(partition.partition_index).ok();
            let Some((at, slot)) = at.and_then(|at| topic.partitions.get_mut(at).map(|slot| (at, slot)))
            else {
                continue;
            };
            let leader = Leader { broker: partition.leader_id, epoch: partition.leader_epoch };
            let leader = (leader.broker >= 0).then_some(leader);
            *slot =
                before.get(at).map_or(Slot { leader, older: None }, |before| before.next(leader, brokers));
        }
        self.topics.insert(Arc::from(name), topic);
    }
}

impl Topic {
    fn size(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Whether a response with this former id overrules the current one.
    fn is_overruled_by(&mut self, former: Uuid) -> bool {
        let streak = Streak::after(self.returning, former);
        self.returning = Some(streak);
        let needed = match (self.served, self.refused) {
            (false, true) => 1,
            (false, false) | (true, true) => CONSISTENT,
            (true, false) => OVERRULES_SERVED,
        };
        streak.responses >= needed
    }
}

impl Slot {
    /// The entry after a response named this leader.
    fn next(&self, told: Option<Leader>, brokers: &BTreeMap<i32, Address>) -> Self {
        let believed = Self { leader: told, older: None };
        let (Some(known), Some(told)) = (self.leader, told) else { return believed };
        // Without epochs nothing tells which leader is newer.
        if told.epoch < 0 || told.epoch >= known.epoch || !brokers.contains_key(&known.broker) {
            return believed;
        }
        let streak = Streak::after(self.older, told);
        match streak.responses >= CONSISTENT {
            true => believed,
            false => Self { leader: self.leader, older: Some(streak) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::protocol::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    const OLD: Uuid = Uuid([1; 16]);
    const NEW: Uuid = Uuid([2; 16]);

    fn answer(brokers: &[i32], id: Uuid, leaders: &'static [(i32, i32)]) -> MetadataResponse<'static> {
        let broker = |id: &i32| MetadataResponseBroker {
            node_id: *id,
            host: "localhost",
            port: 9092,
            ..MetadataResponseBroker::default()
        };
        let partition = |(at, (leader_id, leader_epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
            partition_index: at as i32,
            leader_id: *leader_id,
            leader_epoch: *leader_epoch,
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            brokers: brokers.iter().map(broker).collect(),
            topics: vec![MetadataResponseTopic {
                name: Some("t"),
                topic_id: id,
                partitions: leaders.iter().enumerate().map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    fn without_topic(code: ErrorCode) -> MetadataResponse<'static> {
        let mut answer = answer(&[1], Uuid::ZERO, &[]);
        answer.topics[0].error_code = code;
        answer
    }

    fn leader(catalog: &Catalog) -> Option<(i32, i32)> {
        catalog.place("t", 0).leader.map(|leader| (leader.broker, leader.epoch))
    }

    #[test]
    fn a_broker_that_lags_behind_does_not_bring_back_a_former_leader() {
        let mut catalog = Catalog::default();
        assert!(catalog.learn(&answer(&[1, 2], OLD, &[(1, 5)]), false));
        catalog.learn(&answer(&[1, 2], OLD, &[(2, 4)]), false);
        catalog.learn(&answer(&[1, 2], OLD, &[(2, 4)]), false);
        assert_eq!(leader(&catalog), Some((1, 5)));
        catalog.learn(&answer(&[1, 2], OLD, &[(1, 5)]), false);
        catalog.learn(&answer(&[1, 2], OLD, &[(2, 4)]), false);
        assert_eq!(leader(&catalog), Some((1, 5)), "they have to say it in a row");
    }

    #[test]
    fn a_lower_epoch_is_believed_after_a_refusal_a_vanished_broker_or_several_answers() {
        let older = || answer(&[1, 2], Uuid::ZERO, &[(2, 0)]);
        let begun = || {
            let mut catalog = Catalog::default();
            catalog.learn(&answer(&[1, 2], Uuid::ZERO, &[(1, 5)]), false);
            catalog
        };
        let mut refused = begun();
        refused.leader_refused("t", 0);
        assert_eq!(leader(&refused), None);
        refused.learn(&older(), false);
        assert_eq!(leader(&refused), Some((2, 0)));

        let mut vanished = begun();
        vanished.learn(&answer(&[2], Uuid::ZERO, &[(2, 0)]), false);
        assert_eq!(leader(&vanished), Some((2, 0)));

        let mut several = begun();
        for _ in 0..CONSISTENT {
            assert_eq!(leader(&several), Some((1, 5)));
            several.learn(&older(), false);
        }
        assert_eq!(leader(&several), Some((2, 0)));
    }

    /// A catalog that has heard of these ids, one after the other.
    fn heard(ids: &[Uuid]) -> Catalog {
        let mut catalog = Catalog::default();
        ids.iter().for_each(|id| {
            catalog.learn(&of(*id), true);
        });
        catalog
    }

    fn of(id: Uuid) -> MetadataResponse<'static> {
        answer(&[1, 2], id, if id == OLD { &[(1, 5), (2, 9)] } else { &[(2, 0)] })
    }

    #[test]
    fn another_id_is_another_topic_at_once_whatever_its_epochs() {
        let catalog = heard(&[OLD, NEW]);
        assert_eq!((leader(&catalog), catalog.topic_id("t")), (Some((2, 0)), NEW));
        assert_eq!(catalog.sizes()["t"], 1);
    }

    #[test]
    fn a_lagging_broker_does_not_bring_back_a_former_topic_while_the_newer_one_is_served() {
        let mut catalog = heard(&[OLD, NEW]);
        for _ in 0..10 {
            catalog.topic_served("t", NEW);
            for _ in 1..OVERRULES_SERVED {
                catalog.learn(&of(OLD), true);
                assert_eq!((leader(&catalog), catalog.topic_id("t")), (Some((2, 0)), NEW));
            }
        }
        // A broker that doesn't know of the topic yet, and one that names the former one twice, are not enough either.
        catalog.topic_served("t", NEW);
        catalog.topic_refused("t", NEW, ErrorCode::UNKNOWN_TOPIC_ID);
        for _ in 1..CONSISTENT {
            catalog.learn(&of(OLD), true);
        }
        assert_eq!(catalog.topic_id("t"), NEW);
        catalog.learn(&of(NEW), true);
        catalog.learn(&of(OLD), true);
        assert_eq!(catalog.topic_id("t"), NEW, "they have to say it in a row");
    }

    #[test]
    fn a_new_id_that_was_heard_of_before_the_former_one_is_believed_again() {
        // A process that has just started asks a broker that is up to date, and then one that lags behind.
        let begun = || heard(&[NEW, OLD]);
        assert_eq!(begun().topic_id("t"), OLD);

        let mut refused = begun();
        refused.topic_refused("t", NEW, ErrorCode::UNKNOWN_TOPIC_ID);
        refused.learn(&of(NEW), true);
        assert_eq!(refused.topic_id("t"), OLD, "a late answer about another id says nothing");
        refused.topic_refused("t", OLD, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        refused.learn(&of(NEW), true);
        assert_eq!(refused.topic_id("t"), OLD, "it may have another leader");
        refused.topic_refused("t", OLD, ErrorCode::UNKNOWN_TOPIC_ID);
        refused.learn(&of(NEW), true);
        assert_eq!((leader(&refused), refused.topic_id("t")), (Some((2, 0)), NEW));
        // From then on it is the former one that has to prove itself.
        refused.learn(&of(OLD), true);
        assert_eq!(refused.topic_id("t"), NEW);

        let mut several = begun();
        for _ in 0..CONSISTENT {
            assert_eq!(several.topic_id("t"), OLD);
            several.learn(&of(NEW), true);
        }
        assert_eq!((leader(&several), several.topic_id("t")), (Some((2, 0)), NEW));

        // A leader that lags behind serves the former topic, until it deletes it or dies.
        let served = || {
            let mut catalog = begun();
            catalog.topic_served("t", OLD);
            catalog
        };
        for (refuses, needed) in [(true, CONSISTENT), (false, OVERRULES_SERVED)] {
            let mut catalog = served();
            if refuses {
                catalog.topic_refused("t", OLD, ErrorCode::UNKNOWN_TOPIC_ID);
            }
            for _ in 0..needed {
                assert_eq!(catalog.topic_id("t"), OLD);
                catalog.learn(&of(NEW), true);
            }
            assert_eq!(catalog.topic_id("t"), NEW);
        }
    }

    #[test]
    fn a_topic_is_gone_after_several_answers_without_it_and_no_other_error_makes_it_go() {
        for (about_all, missing) in [
            (true, MetadataResponse { topics: Vec::new(), ..answer(&[1], OLD, &[]) }),
            (false, without_topic(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
        ] {
            let mut catalog = Catalog::default();
            catalog.learn(&answer(&[1], OLD, &[(1, 0)]), about_all);
            for _ in 0..100 {
                catalog.learn(&without_topic(ErrorCode::TOPIC_AUTHORIZATION_FAILED), about_all);
                catalog.learn(&missing, about_all);
                catalog.learn(&answer(&[1], OLD, &[(1, 0)]), about_all);
                assert_eq!(leader(&catalog), Some((1, 0)));
            }
            for _ in 1..CONSISTENT {
                catalog.learn(&missing, about_all);
                assert!(catalog.sizes().contains_key("t"));
            }
            catalog.learn(&missing, about_all);
            assert!(!catalog.sizes().contains_key("t"));
        }
    }

    #[test]
    fn an_answer_without_brokers_says_nothing() {
        let mut catalog = Catalog::default();
        catalog.learn(&answer(&[1], OLD, &[(1, 0)]), true);
        let nothing = MetadataResponse { brokers: Vec::new(), topics: Vec::new(), ..answer(&[], OLD, &[]) };
        assert!(!catalog.learn(&nothing, true));
        assert_eq!((catalog.brokers().len(), leader(&catalog)), (1, Some((1, 0))));
    }
}
