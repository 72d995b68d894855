//! A consumer: the records of topics, and the group's positions in them.
//!
//! Five kinds of threads share a state: the polling thread, which decodes records; the committer; the [metadata]
//! thread, which refreshes topics and leaders and looks up committed positions; one [fetcher] per broker, which fetches
//! records and queries the bounds of logs; and the [member] of the group. Each has its own connections, so that none
//! waits for another's response. A partition's state changes only through its [cursor].
//!
//! | room | what it is |
//! |---|---|
//! | `event` | what a poll asks for and returns |
//! | [cursor] | the state machine of one partition |
//! | `state` | the state shared by the threads |
//! | `error` | [`ConsumerError`], [`ConsumerNotice`] |
//! | [topics] | the subscription: names and patterns |
//! | [metadata] | the thread for metadata and committed positions |
//! | [offsets] | requests about offsets |
//! | [note] | the metadata committed with a position |
//! | `report` | when notices about partitions are due |
//! | `outage_notice` | when notices about failing requests are due |
//! | [fetcher] | the thread that fetches from one broker |
//! | [member] | the thread that drives [`group::membership`](crate::kafka::group) |
//! | `group_limit` | this member's part of the group's limit |
//! | `group_destination` | whether other members of the group send elsewhere |
//! | `leader_data` | what the leader sends along with assignments |
//! | `commit` | commits to the coordinator |

mod commit;
pub mod cursor;
mod error;
mod event;
pub mod fetcher;
mod group_destination;
mod group_limit;
mod leader_data;
pub mod member;
pub mod metadata;
pub mod note;
pub mod offsets;
mod outage_notice;
mod report;
mod state;
pub mod topics;

use super::cluster::{Address, Cluster, Connections};
use super::config::{Config, GroupLimit, Share};
use super::connection::Connector;
use super::group::limit_shares::GroupShare;
use crate::net::Canceller;
use crate::record::{Offset, Partition, Record};
use crate::timing::lease::Lease;
pub use commit::{CommitFailure, Committer, REFUSED_AGAIN};
use cursor::{Cursor, Phase, Rules, Trouble};
pub use error::{ConsumerError, ConsumerNotice};
pub use event::{AssignedPartition, ConsumerEvent, MaxPoll, Unreachable};
use group_destination::DestinationCheck;
use group_limit::MemberLimit;
use member::Member;
use metadata::MetadataThread;
use state::{Chunk, Shared, State};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};
use topics::Topics;

/// How long closing waits for the LeaveGroup response.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The initial capacity for the records of a poll, at most.
const RECORDS_AT_ONCE: usize = 1_024;

/// A Kafka consumer.
pub struct Consumer {
    shared: Arc<Shared>,
    config: Arc<Config>,
    cluster: Arc<Cluster>,
    lease: Lease,
    /// The batch that is being delivered.
    current: Option<Chunk>,
}

impl Consumer {
    /// Starts the threads, which begin to fetch. Unreachable brokers are retried; a fatal error of a broker comes out
    /// of a poll.
    ///
    /// With a `limit`, the members of the group split it, and this one is told its share. Without a group it is
    /// ignored.
    ///
    /// # Errors
    /// An invalid topic pattern, invalid group settings, or a thread that can't be started.
    pub fn open(
        config: Config,
        limit: Option<(GroupLimit, Arc<dyn GroupShare>)>,
        connector: Connector,
        brokers: Vec<Address>,
    ) -> Result<Self, ConsumerError> {
        let topics = Topics::parse(&config.topics).map_err(ConsumerError::Settings)?;
        let config = Arc::new(config);
        let Config { reset, until_end, commits, explain, .. } = *config;
        let shared = Arc::new(Shared::new(Rules { reset, until_end, commits }, explain));
        let cluster = Arc::new(Cluster::new(connector, brokers));
        let connections = || Connections::new(Arc::clone(&cluster), config.request_timeout);
        let lease = match &config.share {
            Share::Fixed(_) => Lease::unlimited(),
            Share::Group(_) => Lease::expired(Instant::now()),
        };
        let metadata = MetadataThread::new(connections(), Arc::clone(&shared), Arc::clone(&config), topics);
        spawn("metadata", "metadata".into(), &shared, move || metadata.run())
            .map_err(ConsumerError::Thread)?;
        if let Share::Group(settings) = &config.share {
            settings.check().map_err(ConsumerError::Settings)?;
            shared.lock().is_member = true;
            let limit = MemberLimit::new(limit);
            let destination = DestinationCheck::new(config.destination, &settings.group);
            let (settings, lease) = (settings.clone(), lease.clone());
            let member = Member::new(connections(), Arc::clone(&shared), settings, lease, limit, destination);
            spawn("member", "member".into(), &shared, move || member.run()).map_err(ConsumerError::Thread)?;
        }
        Ok(Self { shared, config, cluster, lease, current: None })
    }

    /// Returns as soon as there is an event; `None` if there is none within `timeout`. To be called again soon even if
    /// no records are wanted: that is how revocations come through.
    ///
    /// # Errors
    /// The consumer can't go on; further polls return the same error.
    pub fn poll(
        &mut self,
        most: MaxPoll,
        timeout: Duration,
    ) -> Result<Option<ConsumerEvent>, Arc<ConsumerError>> {
        let deadline = Instant::now() + timeout;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            state.report_events();
            if let Some(event) = state.events.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &state.failure {
                return Err(Arc::clone(error));
            }
            if let Some(chunk) = self.current.take() {
                self.current = state.put_back(chunk);
            }
            if most.records > 0 && (self.current.is_some() || state.has_chunks()) {
                drop(state);
                let records = self.take(most);
                if !records.is_empty() {
                    return Ok(Some(ConsumerEvent::Records(records)));
                }
                state = shared.lock();
                continue;
            }
            let has_records = self.current.is_some() || !state.chunks.is_empty();
            let skipped = if has_records { Vec::new() } else { state.skipped() };
            if !skipped.is_empty() {
                return Ok(Some(ConsumerEvent::Skipped(skipped)));
            }
            if most.records > 0
                && let Some(end) = self.at_end(&state)
            {
                return end.map(Some).map_err(Arc::new);
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            state = shared.wait_for_events(state, deadline);
        }
    }

    /// Commits positions for this consumer, perhaps in another thread.
    pub fn committer(&self) -> Committer {
        let connections = Connections::new(Arc::clone(&self.cluster), self.config.request_timeout);
        Committer::new(connections, Arc::clone(&self.config), Arc::clone(&self.shared))
    }

    /// Since when no broker can be reached, if so.
    pub fn unreachable(&self) -> Option<Unreachable> {
        self.shared.lock().unreachable.clone()
    }

    /// Throttles exactly these partitions until the next call; the others go on.
    pub fn throttle(&mut self, partitions: &[Partition]) {
        let mut state = self.shared.lock();
        let throttled: HashSet<&Partition> = partitions.iter().collect();
        for (partition, cursor) in &mut state.cursors {
            cursor.throttle(throttled.contains(partition));
        }
        drop(state);
        self.shared.wake_fetchers();
    }

    /// Releases revoked partitions, which other members may have then.
    pub fn release(&mut self, partitions: &[Partition]) {
        let mut state = self.shared.lock();
        for partition in partitions {
            // A partition that was lost meanwhile, and perhaps assigned again, is not the one to release.
            let revoked =
                state.cursors.get(partition).is_some_and(|cursor| *cursor.phase() == Phase::Revoked);
            if revoked {
                state.remove(partition);
                state.released.push(partition.clone());
            }
        }
        drop(state);
        self.shared.wake();
    }

    /// The end offsets of the assigned partitions, as far as known.
    pub fn end_offsets(&self) -> Vec<(Partition, Offset)> {
        let state = self.shared.lock();
        let known =
            state.cursors.iter().filter_map(|(partition, cursor)| Some((partition, cursor.log_end()?)));
        known.map(|(partition, end)| (partition.clone(), Offset(end))).collect()
    }

    /// The number of partitions that could not be read for long.
    pub fn stalled(&self) -> usize {
        self.shared.lock().stalled(Instant::now())
    }

    /// Until when the assigned partitions are this member's without hearing from the coordinator.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Leaves the group and closes, within [`LEAVE_TIMEOUT`]. Nothing is committed after it.
    pub fn close(&mut self) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        state.cancellers.values().for_each(Canceller::cancel);
        self.shared.wake();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while state.is_member && Instant::now() < deadline {
            state = self.shared.wait_for_events(state, deadline);
        }
        state.chunks.clear();
        self.current = None;
    }

    /// Decodes up to `most` records of the batches that were fetched.
    fn take(&mut self, most: MaxPoll) -> Vec<Record> {
        let mut taken = Vec::with_capacity(most.records.min(RECORDS_AT_ONCE));
        let mut bytes = 0;
        while taken.len() < most.records && (bytes < most.bytes || taken.is_empty()) {
            let Some(end) = self.next_chunk() else { break };
            let Some(chunk) = &mut self.current else { break };
            let finished = take_apart(chunk, end, most, &mut taken, &mut bytes);
            match finished {
                Ok(false) => break,
                Ok(true) => self.finish_chunk(),
                Err(text) => {
                    let partition = chunk.partition.clone();
                    self.finish_chunk();
                    self.stop_partition(&partition, &text);
                }
            }
        }
        taken
    }

    /// Makes a batch that is still wanted the current one. Returns the end offset of its partition, if that has one;
    /// `None` if no batch is left.
    fn next_chunk(&mut self) -> Option<Option<i64>> {
        let mut state = self.shared.lock();
        loop {
            if state.has_partition_events() {
                return None;
            }
            let current = self.current.take().and_then(|chunk| state.put_back(chunk));
            let chunk = match current {
                Some(chunk) => chunk,
                None => state.next_chunk()?,
            };
            if state.wants(&chunk) {
                let end = state.cursors.get(&chunk.partition).and_then(Cursor::end);
                self.current = Some(chunk);
                return Some(end);
            }
            state.bytes = state.bytes.saturating_sub(chunk.bytes);
            self.shared.wake_fetchers();
        }
    }

    fn finish_chunk(&mut self) {
        if let Some(chunk) = self.current.take() {
            let mut state = self.shared.lock();
            state.bytes = state.bytes.saturating_sub(chunk.bytes);
            let cursor = state.cursors.get_mut(&chunk.partition);
            if let Some(cursor) = cursor.filter(|cursor| cursor.assignment() == chunk.assignment) {
                cursor.handed_to(chunk.handed);
            }
            drop(state);
            self.shared.wake_fetchers();
        }
    }

    fn stop_partition(&self, partition: &Partition, text: &str) {
        let trouble = Trouble::Corrupt(text.to_owned());
        self.shared.change(partition, |cursor, serials| cursor.stop(trouble, serials));
    }

    fn at_end(&self, state: &MutexGuard<'_, State>) -> Option<Result<ConsumerEvent, ConsumerError>> {
        let has_records = self.current.is_some() || !state.chunks.is_empty();
        if !self.config.until_end || has_records || !state.settled || !state.events.is_empty() {
            return None;
        }
        if state.cursors.values().all(Cursor::has_ended) {
            return Some(Ok(ConsumerEvent::End));
        }
        let (stopped, rest): (Vec<_>, Vec<_>) =
            state.cursors.iter().partition(|(_, cursor)| *cursor.phase() == Phase::Stopped);
        if stopped.is_empty() || !rest.into_iter().all(|(_, cursor)| cursor.has_ended()) {
            return None;
        }
        let stopped = stopped.into_iter().map(|(partition, _)| partition.clone()).collect();
        Some(Err(ConsumerError::EndUnreachable(stopped)))
    }
}

/// Starts a thread whose panic fails the consumer. `name` is what an error calls it.
///
/// It is not joined: it may block in a read, and ends by itself once the state is closed.
fn spawn(
    name: &'static str,
    thread: String,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let guard = PanicGuard { name, shared: Arc::clone(shared) };
    let started = std::thread::Builder::new().name(thread).spawn(move || {
        let _guard = guard;
        run();
    });
    started.map(drop)
}

/// Reports a panic of its thread as the consumer's failure; otherwise the consumer would stall silently.
struct PanicGuard {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(ConsumerError::Panicked(self.name));
        }
    }
}

/// Decodes records of a batch until there are enough. Returns whether the batch is used up.
fn take_apart(
    chunk: &mut Chunk,
    end: Option<i64>,
    most: MaxPoll,
    taken: &mut Vec<Record>,
    bytes: &mut usize,
) -> Result<bool, String> {
    let payload = Arc::clone(chunk.records.payload());
    while taken.len() < most.records && (*bytes < most.bytes || taken.is_empty()) {
        let Some(raw) = chunk.records.next() else { return Ok(true) };
        let raw = raw.map_err(|error| error.to_string())?;
        if end.is_some_and(|end| raw.offset >= end) {
            return Ok(true);
        }
        let record = Record::from_shared(
            chunk.partition.clone(),
            Offset(raw.offset),
            raw.timestamp,
            Arc::clone(&payload),
            raw.key,
            raw.value,
            raw.headers,
        );
        let record =
            record.ok_or_else(|| format!("the record at offset {} lies outside of its batch", raw.offset))?;
        *bytes = bytes.saturating_add(record.weight());
        chunk.handed = record.offset().next().0;
        taken.push(record);
    }
    Ok(false)
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
    }
}
