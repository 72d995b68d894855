//! Keeps the cursors right, in a thread of its own: which topics there are, who leads which partition, where each
//! one begins, what to do when a position is outside of its log, and which brokers are fetched from.
//!
//! Invariant: no record is passed over in silence. Where a position moves by anything but the reading of records, a
//! notice names the partition, the gap and the reason.

use super::fetcher::Fetcher;
use super::nag::Nag;
use super::offsets::{self, Committed, EARLIEST, EpochEnd, LATEST, Listed};
use super::state::{Cursor, Phase, Shared};
use super::topics::Topics;
use crate::kafka::cluster::{ClusterError, Links, Target};
use crate::kafka::config::{Config, Reset, Share, Start};
use crate::kafka::protocol::ErrorCode;
use crate::relay::record::Partition;
use crate::relay::source::{Outage, Polled, Severity};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Metadata is asked for no more often than this, however many ask for it.
const METADATA_MIN_AGE: Duration = Duration::from_millis(100);
/// A named topic that no broker knows of so often in a row, and never did, does not exist.
const MISSING_ROUNDS: u32 = 4;
/// The time between two tries of what failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The thread's own.
pub(super) struct Keeper {
    links: Links,
    shared: Arc<Shared>,
    config: Arc<Config>,
    topics: Topics,
    coordinator: Option<i32>,
    fetchers: HashMap<i32, JoinHandle<()>>,
    refreshed: Option<Instant>,
    nag: Nag,
    missing: Nag,
    /// All topics that are named were there once.
    complete: bool,
    /// So often in a row one was missing.
    missing_rounds: u32,
}

impl Keeper {
    pub(super) fn new(links: Links, shared: Arc<Shared>, config: Arc<Config>, topics: Topics) -> Self {
        Self {
            links,
            shared,
            config,
            topics,
            coordinator: None,
            fetchers: HashMap::new(),
            refreshed: None,
            nag: Nag::default(),
            missing: Nag::default(),
            complete: false,
            missing_rounds: 0,
        }
    }

    /// Runs until closed, or until something can't be mended; then joins the fetchers.
    pub(super) fn run(mut self) {
        while self.await_work() {
            match self.work() {
                Ok(()) => {
                    self.shared.lock().outage = None;
                    self.nag.recovered(&self.shared);
                }
                Err(ClusterError::Fatal(text)) => {
                    self.shared.fail(text);
                    break;
                }
                Err(ClusterError::Retriable(text)) => {
                    self.note_outage(&text);
                    self.nag.tell(&self.shared, &text);
                    self.shared.want_metadata();
                    let (min, max) = RETRY;
                    let delay = min.saturating_mul(1 << self.nag.failures().min(6)).min(max);
                    if !self.shared.pause(delay) {
                        break;
                    }
                }
            }
        }
        // They see that the source is closed; their sockets are shut down by whoever closes it.
        drop(self.fetchers);
    }

    fn note_outage(&self, cause: &str) {
        let mut state = self.shared.lock();
        let since = state.outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
        state.outage = Some(Outage { since, cause: cause.to_owned() });
    }

    /// Waits until there is something to do; `false` once closed.
    fn await_work(&self) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return false;
            }
            let now = Instant::now();
            let due = self.refresh_due(now, state.metadata_wanted);
            let due = state.next_return_to_leader(now).map_or(due, |at| at.min(due));
            let waiting = |cursor: &Cursor| {
                matches!(
                    cursor.phase,
                    Phase::Unresolved | Phase::OutOfRange | Phase::Foreign | Phase::Suspect
                ) || (cursor.phase == Phase::Ready
                    && cursor.broker(now).is_some_and(|broker| !self.is_fetched_from(broker)))
            };
            if due <= now || state.cursors.values().any(waiting) {
                return true;
            }
            state = self.shared.wait_for_chores(state, due);
        }
    }

    fn is_fetched_from(&self, broker: i32) -> bool {
        self.fetchers.get(&broker).is_some_and(|thread| !thread.is_finished())
    }

    fn refresh_due(&self, now: Instant, wanted: bool) -> Instant {
        let age = if wanted { METADATA_MIN_AGE } else { self.config.metadata_max_age };
        self.refreshed.map_or(now, |at| at + age)
    }

    /// Does what there is to do. One partition's trouble keeps no other waiting; the first trouble is told.
    fn work(&mut self) -> Result<(), ClusterError> {
        let now = Instant::now();
        let wanted = self.shared.lock().metadata_wanted;
        let mut outcome = match self.refresh_due(now, wanted) <= now {
            true => self.refresh(wanted),
            false => Ok(()),
        };
        for step in [Self::resolve, Self::reset, Self::look_for_truncation] {
            let done = step(self);
            outcome = outcome.and(done);
        }
        self.start_fetchers();
        outcome
    }

    // ---- metadata ------------------------------------------------------------------------------------------

    fn refresh(&mut self, wanted: bool) -> Result<(), ClusterError> {
        self.shared.lock().metadata_wanted = false;
        let topics = self.topics.clone();
        let names = topics.names();
        let failed = self.links.refresh(names.as_deref())?;
        if wanted {
            // What this broker knows may be old: the next question goes to another.
            self.links.close(Target::Any);
        }
        let sizes = self.links.cluster().sizes();
        let found = self.topics.choose(sizes.keys());
        let missing: Vec<&str> =
            names.unwrap_or_default().into_iter().filter(|name| !sizes.contains_key(*name)).collect();
        self.tell_missing(&missing, &failed)?;
        self.refreshed = Some(Instant::now());
        if let Share::Fixed(numbers) = &self.config.share {
            // Of a topic that is missing, perhaps for a moment, everything stays as it is.
            let known = found.iter().filter(|topic| sizes.contains_key(*topic)).cloned().collect();
            let wanted = fixed(numbers.as_deref(), &known, &sizes)?;
            self.assign_fixed(&wanted, &known, missing.is_empty());
        }
        let mut state = self.shared.lock();
        state.subscribed = Some((found, sizes));
        let mut leaderless = false;
        for (partition, cursor) in &mut state.cursors {
            let leader = self.links.cluster().leader(partition.topic(), partition.number());
            follow(cursor, leader);
            leaderless |= leader.is_none();
        }
        state.metadata_wanted |= leaderless || !missing.is_empty();
        drop(state);
        self.shared.wake();
        if leaderless || !missing.is_empty() {
            // Not in a hurry: an election, or somebody's work.
            self.refreshed = Some(Instant::now() + RETRY.1.saturating_sub(METADATA_MIN_AGE) / 4);
        }
        Ok(())
    }

    fn tell_missing(
        &mut self,
        missing: &[&str],
        failed: &[(Arc<str>, ErrorCode)],
    ) -> Result<(), ClusterError> {
        for (topic, code) in failed {
            if let fatal @ ClusterError::Fatal(_) =
                crate::kafka::cluster::of_code(*code, &format!("topic {topic}"))
            {
                return Err(fatal);
            }
        }
        if missing.is_empty() {
            (self.complete, self.missing_rounds) = (true, 0);
            self.missing.recovered(&self.shared);
            return Ok(());
        }
        let names: Vec<String> = missing.iter().map(|name| format!("'{name}'")).collect();
        let text = format!("topic {} does not exist: check --topic, or create it", names.join(" and "));
        // Once it was there, it is a topic that somebody deletes and may create again; at first it is a wrong name, or a
        // broker that has just started and does not know its topics yet.
        self.missing_rounds = self.missing_rounds.saturating_add(1);
        let unknown = failed.iter().all(|(_, code)| *code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        if !self.complete && unknown && self.missing_rounds >= MISSING_ROUNDS {
            return Err(ClusterError::Fatal(text));
        }
        self.missing.tell(&self.shared, &text);
        Ok(())
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
            state.news.push_back(Polled::Lost(told));
        }
        state.settled |= all_known;
    }

    // ---- positions -----------------------------------------------------------------------------------------

    fn in_phase(&self, phase: &Phase) -> Vec<(Partition, Cursor)> {
        let state = self.shared.lock();
        let here = state.cursors.iter().filter(|(_, cursor)| cursor.phase == *phase);
        here.map(|(partition, cursor)| (partition.clone(), cursor.clone())).collect()
    }

    /// Finds out where new partitions begin: where the group left them, or where `--start` says.
    fn resolve(&mut self) -> Result<(), ClusterError> {
        let new = self.in_phase(&Phase::Unresolved);
        if new.is_empty() {
            return Ok(());
        }
        let partitions: Vec<Partition> = new.iter().map(|(partition, _)| partition.clone()).collect();
        let group = &self.config.group;
        let committed = offsets::committed(&mut self.links, &mut self.coordinator, group, &partitions)?;
        let unknown: Vec<Partition> =
            partitions.iter().filter(|partition| !committed.contains_key(*partition)).cloned().collect();
        let started = self.started(&unknown);
        let (mut firsts, mut ends) = (Listed::default(), Listed::default());
        if self.config.until_end {
            firsts = offsets::list(&mut self.links, EARLIEST, &partitions, false);
            ends = offsets::list(&mut self.links, LATEST, &partitions, false);
        }
        let mut state = self.shared.lock();
        for (partition, before) in new {
            let Some(cursor) = state.cursors.get_mut(&partition).filter(|c| c.serial == before.serial) else {
                continue;
            };
            follow(cursor, self.links.cluster().leader(partition.topic(), partition.number()));
            let (first, end) = (firsts.get(&partition), ends.get(&partition));
            let is_new = !committed.contains_key(&partition);
            let begin = match (committed.get(&partition), started.get(&partition)) {
                _ if self.config.until_end && (first.is_none() || end.is_none()) => continue,
                (Some(committed), _) => committed.clone(),
                (None, Some(next)) => Committed { next, epoch: -1, metadata: String::new() },
                // What is not known yet is asked for again.
                (None, None) => continue,
            };
            cursor.end = end;
            cursor.epochs = (begin.epoch >= 0).then_some((begin.next, begin.epoch)).into_iter().collect();
            let outside = first.zip(end).is_some_and(|(first, end)| !(first..=end).contains(&begin.next));
            let suspect = begin.epoch >= 0;
            // After a restart "the earliest" is the same or what is left of it; other beginnings are to be kept.
            let is_fresh = is_new && self.config.start != Start::Earliest;
            state.begin(&partition, begin.next, begin.metadata, is_fresh);
            if let Some(cursor) = state.cursors.get_mut(&partition) {
                // A position outside of the log would count as being at the end, and one beyond a truncation as
                // right: neither waits for the first fetch to tell.
                cursor.phase = match (outside, suspect) {
                    (true, _) => Phase::OutOfRange,
                    (false, true) => Phase::Suspect,
                    (false, false) => Phase::Ready,
                };
            }
        }
        drop(state);
        self.shared.wake();
        let failed = [started.failed, firsts.failed, ends.failed].into_iter().flatten().next();
        failed.map_or(Ok(()), Err)
    }

    /// Where `--start` says that these begin.
    fn started(&mut self, partitions: &[Partition]) -> Listed {
        if partitions.is_empty() {
            return Listed::default();
        }
        match self.config.start {
            Start::Earliest => offsets::list(&mut self.links, EARLIEST, partitions, false),
            Start::Latest => offsets::list(&mut self.links, LATEST, partitions, false),
            Start::Timestamp(ms) => {
                let mut found = offsets::list(&mut self.links, ms, partitions, false);
                let is_later = |(partition, offset): (&Partition, &Option<i64>)| {
                    offset.is_none().then(|| partition.clone())
                };
                let later: Vec<Partition> = found.offsets.iter().filter_map(is_later).collect();
                if !later.is_empty() {
                    let latest = offsets::list(&mut self.links, LATEST, &later, false);
                    found.offsets.extend(latest.offsets);
                    found.failed = found.failed.or(latest.failed);
                }
                found
            }
        }
    }

    /// Applies the reset policy to positions outside of their logs.
    fn reset(&mut self) -> Result<(), ClusterError> {
        let outside = self.in_phase(&Phase::OutOfRange);
        let foreign = self.in_phase(&Phase::Foreign);
        let partitions: Vec<Partition> = outside.iter().chain(&foreign).map(|(p, _)| p.clone()).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let firsts = offsets::list(&mut self.links, EARLIEST, &partitions, true);
        let ends = offsets::list(&mut self.links, LATEST, &partitions, true);
        for (partition, cursor) in outside.into_iter().chain(foreign) {
            let (Some(first), Some(end)) = (firsts.get(&partition), ends.get(&partition)) else { continue };
            if cursor.phase == Phase::OutOfRange && (first..=end).contains(&cursor.next) {
                // It was true a moment ago: the leader had not caught up.
                self.amend(&partition, &cursor, |cursor| {
                    cursor.phase = Phase::Ready;
                    cursor.not_before = Some(Instant::now() + RETRY.0);
                });
                continue;
            }
            self.reset_one(&partition, &cursor, first, end)?;
        }
        let failed = firsts.failed.or(ends.failed);
        failed.map_or(Ok(()), Err)
    }

    fn reset_one(
        &self,
        partition: &Partition,
        cursor: &Cursor,
        first: i64,
        end: i64,
    ) -> Result<(), ClusterError> {
        let position = cursor.next;
        let gap = match position < first {
            true => format!("{} offsets up to {first} were deleted before they were read", first - position),
            false => "the topic was created anew, or its log was cut off".into(),
        };
        let text = format!(
            "the position {position} of {partition} is outside of its log, which holds {first} to {end}: {gap}"
        );
        let next = match self.config.reset {
            Reset::Earliest => first,
            Reset::Latest => end,
            Reset::Fail => {
                return Err(ClusterError::Fatal(format!("{text}. --offset-reset fail ends the run here")));
            }
        };
        self.go_on(partition, cursor, next, &format!("{text}. Going on at {next} (--offset-reset)"));
        Ok(())
    }

    /// Whether a new leader's log still holds what we have read (KIP-320).
    fn look_for_truncation(&mut self) -> Result<(), ClusterError> {
        for (partition, cursor) in self.in_phase(&Phase::Suspect) {
            let Some((_, epoch)) = cursor.epochs.last().copied() else {
                self.amend(&partition, &cursor, |cursor| cursor.phase = Phase::Ready);
                continue;
            };
            match offsets::epoch_end(&mut self.links, &partition, epoch)? {
                EpochEnd::At(end) if end < cursor.next => {
                    let text = format!(
                        "the log of {partition} was cut off at offset {end}, below our position {}: records from there \
                         on that were already sent are no longer in the topic",
                        cursor.next
                    );
                    if self.config.reset == Reset::Fail {
                        return Err(ClusterError::Fatal(format!(
                            "{text}. --offset-reset fail ends the run here"
                        )));
                    }
                    self.go_on(&partition, &cursor, end, &format!("{text}. Going on at {end}"));
                }
                EpochEnd::At(_) | EpochEnd::Unchecked => {
                    self.amend(&partition, &cursor, |cursor| cursor.phase = Phase::Ready);
                }
                // A log that never was under that leader is another one.
                EpochEnd::Unknown => self.amend(&partition, &cursor, |cursor| cursor.phase = Phase::Foreign),
            }
        }
        Ok(())
    }

    /// Changes a cursor that still stands where it stood.
    fn amend(&self, partition: &Partition, before: &Cursor, change: impl FnOnce(&mut Cursor)) {
        let mut state = self.shared.lock();
        let cursor = state.cursors.get_mut(partition);
        if let Some(cursor) = cursor.filter(|c| c.serial == before.serial && c.next == before.next) {
            change(cursor);
        }
        drop(state);
        self.shared.wake();
    }

    /// Moves a position. Forwards, what was read before stays and is delivered; backwards, the partition begins
    /// anew, with what was not done before.
    fn go_on(&self, partition: &Partition, before: &Cursor, next: i64, text: &str) {
        self.shared.notice(Severity::Warning, text.to_owned());
        let mut state = self.shared.lock();
        let cursor = state.cursors.get_mut(partition);
        let Some(cursor) = cursor.filter(|c| c.serial == before.serial && c.next == before.next) else {
            return;
        };
        if next > cursor.next {
            (cursor.next, cursor.phase, cursor.not_before) = (next, Phase::Ready, None);
        } else {
            // Below a cut, what was not done is still there and still wanted; another log is begun as it is.
            let begin = if before.phase == Phase::Suspect { next.min(cursor.committed) } else { next };
            cursor.epochs.retain(|(from, _)| *from < begin && before.phase == Phase::Suspect);
            state.begin(partition, begin, String::new(), self.config.reset == Reset::Latest);
        }
        drop(state);
        self.shared.wake();
    }

    // ---- fetchers ------------------------------------------------------------------------------------------

    /// One thread for each broker that something is to be fetched from.
    fn start_fetchers(&mut self) {
        let now = Instant::now();
        let brokers: BTreeSet<i32> =
            self.shared.lock().cursors.values().filter_map(|cursor| cursor.broker(now)).collect();
        for broker in brokers {
            if self.is_fetched_from(broker) {
                continue;
            }
            let links = Links::new(Arc::clone(self.links.cluster()), self.config.request_timeout);
            let fetcher = Fetcher::new(broker, links, Arc::clone(&self.shared), Arc::clone(&self.config));
            let thread = std::thread::Builder::new().name(format!("fetch-{broker}"));
            let alarm = super::Alarm { name: "fetch", shared: Arc::clone(&self.shared) };
            let run = move || {
                let _alarm = alarm;
                fetcher.run();
            };
            match thread.spawn(run) {
                Ok(thread) => {
                    self.fetchers.insert(broker, thread);
                }
                Err(error) => self.shared.fail(format!("no thread can be started to fetch: {error}")),
            }
        }
    }
}

/// A cursor learns who leads its partition.
fn follow(cursor: &mut Cursor, leader: Option<(i32, i32)>) {
    cursor.leader = leader;
    let Some((_, epoch)) = leader else { return };
    let is_new = cursor.seen_epoch.replace(epoch).is_some_and(|seen| seen != epoch);
    if is_new {
        cursor.replica = None;
        if cursor.phase == Phase::Ready && !cursor.epochs.is_empty() {
            cursor.phase = Phase::Suspect;
        }
    }
}

/// The partitions that the operator named.
fn fixed(
    numbers: Option<&[i32]>,
    topics: &BTreeSet<Arc<str>>,
    sizes: &crate::kafka::group::assignor::TopicSizes,
) -> Result<BTreeSet<Partition>, ClusterError> {
    let mut wanted = BTreeSet::new();
    for topic in topics {
        let size = sizes.get(topic).copied().unwrap_or(0);
        if let Some(number) = numbers.into_iter().flatten().find(|number| **number >= size) {
            let text = format!("topic {topic} has no partition {number}: it has {size}. Check --partitions");
            return Err(ClusterError::Fatal(text));
        }
        let all: Vec<i32> = (0..size).collect();
        let chosen = numbers.unwrap_or(&all);
        wanted.extend(chosen.iter().map(|number| Partition::new(Arc::clone(topic), *number)));
    }
    Ok(wanted)
}
