//! The metadata thread: refreshes topics and leaders, looks up committed positions, and starts a fetcher for each
//! broker that needs one.
//!
//! Invariant: no record is skipped silently. Where a position moves other than by reading records, a notice names the
//! partition, the gap and the reason.

use super::cursor::{Cursor, Phase, Trouble, doubled};
use super::event::{ConsumerEvent, Unreachable};
use super::fetcher::Fetcher;
use super::note;
use super::offsets;
use super::outage_notice::OutageNotice;
use super::state::{Shared, State};
use super::topics::Topics;
use super::{ConsumerError, ConsumerNotice, spawn};
use crate::kafka::cluster::{Connections, Leader, Place, is_fatal};
use crate::kafka::config::{Config, Share, Start};
use crate::kafka::group::assignor::TopicSizes;
use crate::kafka::protocol::{ErrorCode, Uuid};
use crate::record::Partition;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The minimum time between two metadata requests.
const METADATA_MIN_AGE: Duration = Duration::from_millis(100);
/// After this many consecutive refreshes without it, a topic that was never found does not exist.
const MISSING_ROUNDS: u32 = 4;
/// The shortest and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The shortest and the longest time between two refreshes while a topic or a leader is missing.
const UNSETTLED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// The time between two checks for partitions that keep failing.
const LOOK_AT_TROUBLES: Duration = Duration::from_secs(1);
/// The consumer fails after this long without a readable partition.
const UNREADABLE_FOR: Duration = Duration::from_secs(10);

/// The state of the thread.
pub(super) struct MetadataThread {
    connections: Connections,
    shared: Arc<Shared>,
    config: Arc<Config>,
    topics: Topics,
    coordinator: Option<i32>,
    refreshed: Option<Instant>,
    /// The last check for partitions that keep failing.
    looked: Instant,
    outage_notice: OutageNotice,
    missing: OutageNotice,
    forbidden: OutageNotice,
    /// All named topics have been found once.
    complete: bool,
    /// How many consecutive refreshes lacked a named topic.
    missing_rounds: u32,
    /// How many consecutive refreshes lacked a topic or a leader.
    unsettled: u32,
    /// The topics that existed at the start.
    first_topics: Option<BTreeSet<Arc<str>>>,
    /// The notice that the brokers have no topic ids was given.
    told_of_no_ids: bool,
    /// Since when no partition can be read.
    unreadable_since: Option<Instant>,
}

impl MetadataThread {
    pub(super) fn new(
        connections: Connections,
        shared: Arc<Shared>,
        config: Arc<Config>,
        topics: Topics,
    ) -> Self {
        Self {
            connections,
            shared,
            config,
            topics,
            coordinator: None,
            refreshed: None,
            looked: Instant::now(),
            outage_notice: OutageNotice::new("the brokers answer again"),
            missing: OutageNotice::new("all topics are there again"),
            forbidden: OutageNotice::new("all topics may be used again"),
            complete: false,
            missing_rounds: 0,
            unsettled: 0,
            first_topics: None,
            told_of_no_ids: false,
            unreadable_since: None,
        }
    }

    /// Runs until the consumer is closed or an error is fatal.
    pub(super) fn run(mut self) {
        while self.await_work() {
            match self.work() {
                Ok(()) => {
                    self.shared.lock().unreachable = None;
                    self.outage_notice.recovered(&self.shared);
                }
                Err(error) if error.is_fatal() => {
                    self.shared.fail(error);
                    break;
                }
                Err(error) => {
                    self.note_unreachable(&self.shared.explain(&error));
                    self.outage_notice.failed(&self.shared, &error);
                    self.shared.want_metadata();
                    if !self.shared.pause(doubled(RETRY, self.outage_notice.failures().saturating_add(1))) {
                        break;
                    }
                }
            }
        }
    }

    fn note_unreachable(&self, cause: &str) {
        let mut state = self.shared.lock();
        let since = state.unreachable.as_ref().map_or_else(Instant::now, |before| before.since);
        state.unreachable = Some(Unreachable { since, cause: cause.to_owned() });
    }

    /// Waits until something is due. Returns `false` once closed.
    fn await_work(&self) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.closed || state.failure.is_some() {
                return false;
            }
            let now = Instant::now();
            let mut due = self.refresh_due(now, state.metadata_wanted);
            due = state.next_return_to_leader(now).map_or(due, |at| at.min(due));
            if state.cursors.values().any(|cursor| cursor.trouble().is_some() || cursor.is_unreadable()) {
                due = due.min(self.looked + LOOK_AT_TROUBLES);
            }
            let idle = |cursor: &Cursor| brokers(cursor, now).any(|broker| !state.fetchers.contains(&broker));
            let waits = state.cursors.values().filter(|cursor| *cursor.phase() == Phase::Unresolved);
            due = waits.map(|cursor| cursor.not_before().unwrap_or(now)).fold(due, Instant::min);
            if due <= now || state.cursors.values().any(idle) {
                return true;
            }
            state = self.shared.wait_for_work(state, due);
        }
    }

    fn refresh_due(&self, now: Instant, wanted: bool) -> Instant {
        let age = if wanted { METADATA_MIN_AGE } else { self.config.metadata_max_age };
        self.refreshed.map_or(now, |at| at + age)
    }

    /// Does everything that is due, whatever fails. Returns the first error.
    fn work(&mut self) -> Result<(), ConsumerError> {
        let now = Instant::now();
        let wanted = self.shared.lock().metadata_wanted;
        let mut outcome = match self.refresh_due(now, wanted) <= now {
            true => self.refresh(wanted),
            false => Ok(()),
        };
        for step in [Self::resolve, Self::look_for_anything_readable] {
            let done = step(self);
            outcome = outcome.and(done);
        }
        self.looked = Instant::now();
        let mut state = self.shared.lock();
        state.look_at_troubles(self.looked);
        drop(state);
        self.shared.wake();
        self.start_fetchers();
        outcome
    }

    // ---- metadata ------------------------------------------------------------------------------------------

    fn refresh(&mut self, wanted: bool) -> Result<(), ConsumerError> {
        self.shared.lock().metadata_wanted = false;
        let topics = self.topics.clone();
        let names = topics.names();
        let failed = self.connections.refresh(names.as_deref())?;
        if wanted {
            // This broker's view may be stale: the next request goes to another.
            self.connections.ask_another();
        }
        let sizes = self.connections.cluster().sizes();
        let found = self.topics.choose(sizes.keys());
        // A topic that may not be described is not known to be missing.
        let is_refused = |name: &str| {
            let of_it = failed.iter().find(|(topic, _)| topic.as_ref() == name);
            of_it.is_some_and(|(_, code)| *code == ErrorCode::TOPIC_AUTHORIZATION_FAILED)
        };
        let is_missing = |name: &&str| !sizes.contains_key(*name) && !is_refused(name);
        let missing: Vec<&str> = names.unwrap_or_default().into_iter().filter(is_missing).collect();
        self.tell_missing(&missing, &failed)?;
        self.refreshed = Some(Instant::now());
        if self.first_topics.is_none() && missing.is_empty() {
            self.first_topics = Some(sizes.keys().cloned().collect());
        }
        self.tell_of_ids(&found, &sizes);
        if let Share::Fixed(numbers) = &self.config.share {
            // A missing topic, perhaps only for a moment, keeps its partitions.
            let known = found.iter().filter(|topic| sizes.contains_key(*topic)).cloned().collect();
            let wanted = fixed(numbers.as_deref(), &known, &sizes)?;
            self.assign_fixed(&wanted, &known, missing.is_empty());
        }
        let mut state = self.shared.lock();
        state.subscribed = Some((found, sizes));
        let now = Instant::now();
        let mut leaderless = false;
        let partitions: Vec<Partition> = state.cursors.keys().cloned().collect();
        for partition in &partitions {
            leaderless |= self.tell_metadata(&mut state, partition, now).is_none();
        }
        let is_unsettled = leaderless || !missing.is_empty();
        state.metadata_wanted |= is_unsettled;
        drop(state);
        self.shared.wake();
        self.unsettled = if is_unsettled { self.unsettled.saturating_add(1) } else { 0 };
        if is_unsettled {
            // An election takes a moment, an administrator longer.
            let pause = doubled(UNSETTLED, self.unsettled).saturating_sub(METADATA_MIN_AGE);
            self.refreshed = Some(Instant::now() + pause);
        }
        Ok(())
    }

    fn tell_missing(
        &mut self,
        missing: &[&str],
        failed: &[(Arc<str>, ErrorCode)],
    ) -> Result<(), ConsumerError> {
        // A topic that can't be used does not stop the others.
        let refused: Vec<_> = failed.iter().filter(|(_, code)| is_fatal(*code)).cloned().collect();
        let asked = self.topics.names().map_or(0, |names| names.len());
        let (count, error) = (refused.len(), ConsumerError::TopicsRefused(refused));
        if !self.complete && count >= asked.max(1) {
            return Err(error);
        }
        match count {
            0 => self.forbidden.recovered(&self.shared),
            _ => self.forbidden.failed(&self.shared, &error),
        }
        if missing.is_empty() {
            (self.complete, self.missing_rounds) = (true, 0);
            self.missing.recovered(&self.shared);
            return Ok(());
        }
        let error = ConsumerError::TopicsMissing(missing.iter().map(|name| (*name).to_owned()).collect());
        // A topic that was found once may be recreated. One that never was is a wrong name, unless the broker has just
        // started and does not know its topics yet.
        self.missing_rounds = self.missing_rounds.saturating_add(1);
        let unknown = failed.iter().all(|(_, code)| *code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        if !self.complete && unknown && self.missing_rounds >= MISSING_ROUNDS {
            return Err(error);
        }
        self.missing.failed(&self.shared, &error);
        Ok(())
    }

    /// Says once that these brokers have no topic ids, by which a recreated topic would be recognised.
    fn tell_of_ids(&mut self, topics: &BTreeSet<Arc<str>>, sizes: &TopicSizes) {
        if self.told_of_no_ids {
            return;
        }
        let cluster = self.connections.cluster();
        let mut there = topics.iter().filter(|topic| sizes.contains_key(*topic)).peekable();
        if there.peek().is_some() && there.all(|topic| cluster.topic_id(topic) == Uuid::ZERO) {
            self.told_of_no_ids = true;
            self.shared.notify(&ConsumerNotice::NoTopicIds);
        }
    }

    fn assign_fixed(&self, wanted: &BTreeSet<Partition>, known: &BTreeSet<Arc<str>>, all_known: bool) {
        let mut state = self.shared.lock();
        let present: BTreeSet<Partition> = state.cursors.keys().cloned().collect();
        for partition in wanted.difference(&present) {
            state.add(partition.clone());
        }
        let gone = present.difference(wanted).filter(|partition| known.contains(partition.topic()));
        let gone: Vec<Partition> = gone.cloned().collect();
        let told: Vec<Partition> = gone.into_iter().filter(|partition| state.remove(partition)).collect();
        if !told.is_empty() {
            state.events.push_back(ConsumerEvent::Lost(told));
        }
        state.settled |= all_known;
    }

    /// Passes the metadata of a partition to its cursor. Returns the leader.
    fn tell_metadata(&self, state: &mut State, partition: &Partition, now: Instant) -> Option<Leader> {
        let Place { topic, leader } = self.connections.cluster().place(partition.topic(), partition.number());
        let pair = leader.map(|leader| (leader.broker, leader.epoch));
        state.change(partition, |cursor, serials| cursor.metadata_was(topic, pair, now, serials));
        leader
    }

    // ---- positions -----------------------------------------------------------------------------------------

    /// Looks up the committed positions of new partitions.
    fn resolve(&mut self) -> Result<(), ConsumerError> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let mut new = state.unresolved(now);
        for (partition, _) in &new {
            self.tell_metadata(&mut state, partition, now);
        }
        // A partition without a leader can't be read anyway.
        new.retain(|(partition, _)| state.cursors.get(partition).is_some_and(|c| c.leader().is_some()));
        drop(state);
        if new.is_empty() {
            return Ok(());
        }
        let sizes = self.connections.cluster().sizes();
        let mut asked: BTreeSet<Partition> = new.iter().map(|(partition, _)| partition.clone()).collect();
        if self.config.start != Start::Earliest {
            // If other partitions of its topic have positions, a partition without one is new.
            let topics: BTreeSet<&str> = new.iter().map(|(partition, _)| partition.topic()).collect();
            let all = topics.into_iter().filter_map(|name| sizes.get_key_value(name));
            asked
                .extend(all.flat_map(|(name, size)| (0..*size).map(|n| Partition::new(Arc::clone(name), n))));
        }
        let asked: Vec<Partition> = asked.into_iter().collect();
        let group = &self.config.group;
        let mut found = match offsets::committed(&mut self.connections, &mut self.coordinator, group, &asked)
        {
            Ok(found) => found,
            Err(error) => {
                let mut state = self.shared.lock();
                for (partition, ask) in &new {
                    let now = Instant::now();
                    state.change(partition, |cursor, serials| {
                        cursor.failed(*ask, Trouble::Connection, now, serials)
                    });
                }
                return Err(error.into());
            }
        };
        let committed = found.iter().filter(|(_, answer)| matches!(answer, Ok(Some(_))));
        let has_positions: HashSet<String> = committed.map(|(at, _)| at.topic().to_owned()).collect();
        let cluster = self.connections.cluster().id().map(|id| note::cluster_name(&id)).unwrap_or_default();
        let now = Instant::now();
        let mut state = self.shared.lock();
        for (partition, ask) in new {
            let is_late = has_positions.contains(partition.topic()) || self.came_later(partition.topic());
            let start = if is_late { Start::Earliest } else { self.config.start };
            // A partition that the response lacks is retried.
            let answer = found.remove(&partition).unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
            state.metadata_wanted |= answer.is_err();
            state.change(&partition, |cursor, serials| match answer {
                Ok(committed) => cursor.committed_was(ask, committed.ok_or(start), &cluster, serials),
                Err(code) => {
                    let topic = cursor.topic();
                    self.connections.cluster().topic_refused(partition.topic(), topic, code);
                    cursor.failed(ask, Trouble::Refused(code), now, serials)
                }
            });
        }
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Whether the topic was created after the start: then it is read from its beginning.
    fn came_later(&self, topic: &str) -> bool {
        self.first_topics.as_ref().is_some_and(|topics| !topics.contains(topic))
    }

    /// Fails once no partition has been readable for [`UNREADABLE_FOR`].
    fn look_for_anything_readable(&mut self) -> Result<(), ConsumerError> {
        let state = self.shared.lock();
        let unreadable = state.cursors.iter().filter(|(_, cursor)| cursor.is_unreadable());
        let unreadable: Vec<Partition> = unreadable.map(|(partition, _)| partition.clone()).collect();
        let going = state.cursors.values().filter(|cursor| *cursor.phase() == Phase::Revoked).count();
        let nothing_left = !unreadable.is_empty() && unreadable.len() + going == state.cursors.len();
        drop(state);
        let now = Instant::now();
        let since = nothing_left.then(|| self.unreadable_since.unwrap_or(now));
        self.unreadable_since = since;
        match since.is_some_and(|since| now.saturating_duration_since(since) >= UNREADABLE_FOR) {
            false => Ok(()),
            true => Err(ConsumerError::NothingReadable(unreadable)),
        }
    }

    // ---- fetchers ------------------------------------------------------------------------------------------

    /// Starts a fetcher for each broker that needs one and has none.
    fn start_fetchers(&mut self) {
        let now = Instant::now();
        let wanted: Vec<i32> = {
            let mut state = self.shared.lock();
            if state.failure.is_some() {
                return;
            }
            let wanted: BTreeSet<i32> =
                state.cursors.values().flat_map(|cursor| brokers(cursor, now)).collect();
            wanted.into_iter().filter(|broker| state.fetchers.insert(*broker)).collect()
        };
        for broker in wanted {
            let connections =
                Connections::new(Arc::clone(self.connections.cluster()), self.config.request_timeout);
            let fetcher =
                Fetcher::new(broker, connections, Arc::clone(&self.shared), Arc::clone(&self.config));
            // Closing the consumer shuts its socket down.
            let started = spawn("fetch", format!("fetch-{broker}"), &self.shared, move || fetcher.run());
            if let Err(error) = started {
                self.shared.fail(ConsumerError::Thread(error));
            }
        }
    }
}

/// The brokers that serve a partition: its leader, and the replica to fetch from.
fn brokers(cursor: &Cursor, now: Instant) -> impl Iterator<Item = i32> {
    let is_asked = !matches!(cursor.phase(), Phase::Unresolved | Phase::Revoked | Phase::Stopped);
    let leader = cursor.leader().map(|(id, _)| id);
    [leader, cursor.broker(now)].into_iter().flatten().filter(move |_| is_asked)
}

/// The partitions with these numbers, or all of them.
fn fixed(
    numbers: Option<&[i32]>,
    topics: &BTreeSet<Arc<str>>,
    sizes: &TopicSizes,
) -> Result<BTreeSet<Partition>, ConsumerError> {
    let mut wanted = BTreeSet::new();
    for topic in topics {
        let size = sizes.get(topic).copied().unwrap_or(0);
        if let Some(number) = numbers.into_iter().flatten().find(|number| **number >= size) {
            let (topic, partition) = (Arc::clone(topic), *number);
            return Err(ConsumerError::NoPartition { topic, partition, count: size });
        }
        let all: Vec<i32> = (0..size).collect();
        let chosen = numbers.unwrap_or(&all);
        wanted.extend(chosen.iter().map(|number| Partition::new(Arc::clone(topic), *number)));
    }
    Ok(wanted)
}
