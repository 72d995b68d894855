//! Misbehaviour on demand, for tests of clients: which answers go wrong, how, and how often.

use super::broker::Broker;
use super::log::NOBODY;
use crate::kafka::protocol::{ApiKey, ErrorCode};
use crate::relay::record::Partition;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and this code says why.
    Error(ErrorCode),
    /// A bit of the records that are fetched is flipped on the way.
    Corrupt,
    /// An answer to `Metadata` says nothing of the topic, as if nobody had asked for it.
    Omit,
    /// An answer to `Metadata` names no broker.
    NoBrokers,
    /// The answer asks the client to hold back for so long, and nothing more is read from it meanwhile.
    Throttle(Duration),
    /// All is done, and the answer comes so much later.
    Slow(Duration),
    /// Nothing is done, and the connection is closed.
    Drop,
    /// All is done, but the connection is closed in place of an answer.
    Lose,
    /// All is done, but no answer comes, and the connection stays open.
    Hush,
    /// All is done, and the connection is closed behind so many bytes of the answer.
    Cut(usize),
    /// All is done, and the answer's bytes make no sense behind its length and number.
    Garbage,
    /// All is done, and the answer bears another request's number.
    Stranger,
    /// Nothing is done; this end of the connection is closed for writing, while it is still read from.
    HalfClose,
}

impl Fault {
    /// Whether it concerns the bytes on the connection, whatever they say.
    fn is_of_connection(self) -> bool {
        !matches!(self, Self::Error(_) | Self::Corrupt | Self::Omit | Self::NoBrokers | Self::Throttle(_))
    }
}

#[derive(Debug)]
struct Rule {
    api: ApiKey,
    place: Option<Partition>,
    fault: Fault,
    left: usize,
    until: Option<Instant>,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    fn take(&mut self, api: ApiKey, wanted: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let at = self.0.iter().position(|rule| rule.api == api && wanted(rule))?;
        let rule = self.0.get_mut(at)?;
        let fault = rule.fault;
        rule.left = rule.left.saturating_sub(1);
        if rule.left == 0 {
            self.0.remove(at);
        }
        Some(fault)
    }

    /// Forgets what was to go wrong until now.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|rule| rule.until.is_none_or(|until| now < until));
    }

    /// Whether a topic is to be left out of an answer to `Metadata`.
    pub(super) fn omits(&mut self, topic: &str) -> bool {
        let wanted = |rule: &Rule| rule.fault == Fault::Omit && rule.is_at(Some((topic, 0)));
        self.take(ApiKey::Metadata, wanted).is_some()
    }

    /// Whether an answer to `Metadata` is to name no broker.
    pub(super) fn hides_brokers(&mut self) -> bool {
        self.take(ApiKey::Metadata, |rule| rule.fault == Fault::NoBrokers).is_some()
    }

    /// The code that takes the place of an answer, about a partition where the API has such.
    pub(super) fn error(&mut self, api: ApiKey, place: Option<(&str, i32)>) -> Option<ErrorCode> {
        let wanted = |rule: &Rule| matches!(rule.fault, Fault::Error(_)) && rule.is_at(place);
        match self.take(api, wanted)? {
            Fault::Error(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the records that are fetched of a partition are to be spoilt.
    pub(super) fn corrupts(&mut self, topic: &str, partition: i32) -> bool {
        let wanted = |rule: &Rule| rule.fault == Fault::Corrupt && rule.is_at(Some((topic, partition)));
        self.take(ApiKey::Fetch, wanted).is_some()
    }

    /// For how long the client is held back.
    pub(super) fn throttle(&mut self, api: ApiKey) -> Option<Duration> {
        match self.take(api, |rule| matches!(rule.fault, Fault::Throttle(_)))? {
            Fault::Throttle(time) => Some(time),
            _ => None,
        }
    }

    /// What happens to the bytes.
    pub(super) fn of_connection(&mut self, api: ApiKey) -> Option<Fault> {
        self.take(api, |rule| rule.fault.is_of_connection())
    }
}

impl Rule {
    fn is_at(&self, place: Option<(&str, i32)>) -> bool {
        match (&self.place, place) {
            (None, _) => true,
            (Some(of), Some((topic, partition))) => of.topic() == topic && of.number() == partition,
            (Some(_), None) => false,
        }
    }
}

/// Makes a sandbox misbehave.
#[derive(Clone)]
pub struct Faults(pub(super) Arc<Broker>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.lock().rules).finish()
    }
}

impl Faults {
    /// The next `times` answers of this API go wrong. An [`Error`](Fault::Error) of an API that answers for each
    /// partition counts for one partition each.
    pub fn inject(&self, api: ApiKey, fault: Fault, times: usize) {
        self.add(Rule { api, place: None, fault, left: times, until: None });
    }

    /// The same for one partition: errors, and records that are spoilt. Of `Metadata`, which answers for topics,
    /// partition 0 stands for the topic.
    pub fn inject_at(&self, api: ApiKey, place: Partition, fault: Fault, times: usize) {
        self.add(Rule { api, place: Some(place), fault, left: times, until: None });
    }

    /// Whatever is asked of this API about one partition is answered with this code, for so long or until the
    /// faults are [cleared](Self::clear).
    pub fn fail(&self, api: ApiKey, place: Partition, code: ErrorCode, time: Duration) {
        let (fault, until) = (Fault::Error(code), Some(Instant::now() + time));
        self.add(Rule { api, place: Some(place), fault, left: usize::MAX, until });
    }

    /// The next `times` answers to `Metadata` that should say something of this topic don't mention it.
    pub fn omit_topic(&self, topic: &str, times: usize) {
        self.inject_at(ApiKey::Metadata, Partition::new(topic, 0), Fault::Omit, times);
    }

    /// The next `times` answers to `Metadata` name no broker.
    pub fn omit_brokers(&self, times: usize) {
        self.inject(ApiKey::Metadata, Fault::NoBrokers, times);
    }

    fn add(&self, rule: Rule) {
        if rule.left > 0 {
            self.0.lock().rules.0.push(rule);
            self.0.wake();
        }
    }

    /// How many answers of this API are still to go wrong.
    pub fn left(&self, api: ApiKey) -> usize {
        self.0.lock().rules.0.iter().filter(|rule| rule.api == api).map(|rule| rule.left).sum()
    }

    /// All goes well from now on.
    pub fn clear(&self) {
        self.0.lock().rules.0.clear();
    }

    /// Another node leads the partition from now on.
    pub fn move_leader(&self, partition: &Partition, node: i32) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.lead(node);
        }
        self.0.wake();
    }

    /// Nobody leads the partition until [`move_leader`](Self::move_leader) names somebody.
    pub fn without_leader(&self, partition: &Partition) {
        self.move_leader(partition, NOBODY);
    }

    /// Another node coordinates the groups from now on.
    pub fn move_coordinator(&self, node: i32) {
        let mut state = self.0.lock();
        state.coordinator = node;
        state.groups.values_mut().for_each(|group| group.move_away(Instant::now()));
        drop(state);
        self.0.wake();
    }

    /// A new leader turns out not to have the records from here on: they are gone, by whole batches, and what is
    /// written from now on bears the new leader's epoch (an unclean election).
    pub fn truncate(&self, partition: &Partition, offset: i64) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.truncate(offset);
        }
        self.0.wake();
    }

    /// Records before this offset are deleted.
    pub fn trim(&self, partition: &Partition, offset: i64) {
        if let Some(log) = self.0.lock().log_mut(partition.topic(), partition.number()) {
            log.trim(offset);
        }
        self.0.wake();
    }

    /// The topic is deleted, if it is there.
    pub fn delete(&self, topic: &str) {
        let _ = self.0.lock().delete_topic(topic);
        self.0.wake();
    }

    /// The group begins a rebalance.
    pub fn rebalance(&self, group: &str) {
        self.with_group(group, |group, now| group.prepare(now));
    }

    /// The group's generation is over, which its members learn by what they ask next.
    pub fn fence(&self, group: &str) {
        self.with_group(group, |group, now| group.fence(now));
    }

    /// The group forgets its members.
    pub fn expel(&self, group: &str) {
        self.with_group(group, |group, now| group.expel(now));
    }

    fn with_group(&self, name: &str, change: impl FnOnce(&mut super::group::Group, Instant)) {
        if let Some(group) = self.0.lock().groups.get_mut(name) {
            change(group, Instant::now());
        }
        self.0.wake();
    }
}
