//! The state shared by the threads of a consumer: a cursor per assigned partition, the batches fetched ahead, and the
//! events for the next poll.
//!
//! A cursor is changed only by its own methods, and its outputs are dispatched in one place:
//! [`change`](State::change).
//!
//! Invariants: a response counts only if the cursor has not moved since the request; the batches fetched ahead exceed
//! the buffer by at most one per fetcher, whatever their unpacked size. No lock is held across I/O.

use super::cursor::{Ask, Cursor, Output, Phase, Question, Rules, Serials, Trouble};
use super::event::{AssignedPartition, ConsumerEvent, Unreachable};
use super::report::Report;
use super::{ConsumerError, ConsumerNotice};
use crate::kafka::config::Explain;
use crate::kafka::group::assignor::TopicSizes;
use crate::kafka::group::exchange::Stamp;
use crate::kafka::protocol::{ErrorCode, Uuid};
use crate::kafka::record_batch::Records;
use crate::net::Canceller;
use crate::notice::{Notice, Severity};
use crate::record::{Checkpoint, Offset, Partition, Position};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `max_bytes` of a fetch. A broker returns a larger batch whole all the same (KIP-74).
pub(crate) const MOST_FETCH: usize = 256 << 10;

/// The state and its condition variables, one per kind of waiting thread.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// For the polling thread: there are records or events.
    events: Condvar,
    /// For fetchers: there is room in the buffer, or something to fetch.
    room: Condvar,
    /// For the metadata thread and the member: there is something to do.
    work: Condvar,
}

/// The shared state.
pub(crate) struct State {
    /// The assigned partitions; sorted, so that requests are alike.
    pub(crate) cursors: BTreeMap<Partition, Cursor>,
    /// Batches fetched and not delivered yet.
    pub(crate) chunks: VecDeque<Chunk>,
    /// The size of all batches in bytes, including the one that is being delivered.
    pub(crate) bytes: usize,
    /// Delivered before any records.
    pub(crate) events: VecDeque<ConsumerEvent>,
    /// Set while the brokers can't be reached.
    pub(crate) unreachable: Option<Unreachable>,
    /// The fatal error; the first one counts.
    pub(crate) failure: Option<Arc<ConsumerError>>,
    /// Partitions are assigned and no rebalance is known to be under way.
    pub(crate) settled: bool,
    /// A refresh of the metadata was requested.
    pub(crate) metadata_wanted: bool,
    /// The subscribed topics, and the partition counts of the known ones; `None` before the first metadata.
    pub(crate) subscribed: Option<(BTreeSet<Arc<str>>, TopicSizes)>,
    /// The brokers that have a fetcher.
    pub(crate) fetchers: BTreeSet<i32>,
    /// Cancel the fetches in flight, by broker.
    pub(crate) cancellers: HashMap<i32, Canceller>,
    /// The member and generation that commits carry; `None` while not a member.
    pub(crate) stamp: Option<Stamp>,
    /// Revoked partitions that were released, for the member to take.
    pub(crate) released: Vec<Partition>,
    /// Error codes of refused commits, for the member to take.
    pub(crate) commit_errors: Vec<(Stamp, ErrorCode)>,
    /// The member's thread runs: the group has not been left yet.
    pub(crate) is_member: bool,
    /// The consumer is closed: all threads have to end.
    pub(crate) closed: bool,
    rules: Rules,
    explain: Explain,
    serials: Serials,
    report: Report,
}

/// One batch, decompressed, with its records not yet decoded.
pub(crate) struct Chunk {
    /// Its partition.
    pub(crate) partition: Partition,
    /// The number of the assignment that it was fetched for.
    pub(crate) assignment: u64,
    /// An iterator over the records.
    pub(crate) records: Records,
    /// Its share of the buffer in bytes.
    pub(crate) bytes: usize,
    /// The offset after the last delivered record.
    pub(crate) handed: i64,
}

/// One partition of a request to a broker.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The partition.
    pub(crate) partition: Partition,
    /// The id of its topic; zero where the brokers have no topic ids.
    pub(crate) topic: Uuid,
    /// The number of its assignment.
    pub(crate) assignment: u64,
    /// The state of the cursor that the response has to match, with the fetch offset.
    pub(crate) ask: Ask,
    /// The leader epoch from the metadata; -1 if it is not known.
    pub(crate) leader_epoch: i32,
    /// Whether the request goes to a follower.
    pub(crate) of_replica: bool,
    /// Whether the leader must not redirect to a nearer replica.
    pub(crate) of_leader_alone: bool,
}

/// What a fetcher does next.
pub(crate) enum Plan {
    /// Fetch records of these partitions.
    Fetch(Vec<Asked>),
    /// Query the logs of these partitions.
    Ask(Vec<(Asked, Question)>),
    /// End the thread.
    End,
}

/// A batch of a fetch response.
pub(crate) struct Fetched {
    /// Its records; `None` for a control batch or an aborted transaction.
    pub(crate) chunk: Option<Chunk>,
    /// The next offset to fetch.
    pub(crate) next: i64,
    /// Its first offset, and the leader epoch under which it was written.
    pub(crate) epoch: Option<(i64, i32)>,
}

impl Shared {
    /// No partitions yet.
    pub(crate) fn new(rules: Rules, explain: Explain) -> Self {
        let (events, room, work) = (Condvar::new(), Condvar::new(), Condvar::new());
        Self { state: Mutex::new(State::new(rules, explain)), events, room, work }
    }

    /// Locks the state. Don't hold it across I/O.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic can't leave the state half changed: no change calls anything that may panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiting threads.
    pub(crate) fn wake(&self) {
        self.events.notify_all();
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Wakes the fetchers, when there is room in the buffer again.
    pub(crate) fn wake_fetchers(&self) {
        self.room.notify_all();
    }

    /// Waits for records or events until `deadline`.
    pub(crate) fn wait_for_events<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.events, state, deadline)
    }

    /// Waits for work of the metadata thread or the member until `deadline`.
    pub(crate) fn wait_for_work<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.work, state, deadline)
    }

    /// Sleeps for `time`, or until closed. Returns `false` once closed.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while !state.closed && Instant::now() < deadline {
            state = self.wait_for_work(state, deadline);
        }
        !state.closed
    }

    /// Queues a notice for the next poll.
    pub(crate) fn notify(&self, notice: &ConsumerNotice) {
        self.lock().notify(notice);
        self.wake();
    }

    /// Queues a notice with the caller's text.
    pub(crate) fn notify_of(&self, severity: Severity, text: String) {
        self.lock().events.push_back(ConsumerEvent::Notice(Notice { severity, text }));
        self.wake();
    }

    /// Ends the consumer with an error. The first error counts.
    pub(crate) fn fail(&self, error: impl Into<ConsumerError>) {
        self.lock().fail(error.into());
        self.wake();
    }

    /// An error in words for people.
    pub(crate) fn explain(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let explain = self.lock().explain;
        explain(error)
    }

    /// Waits until there is a request to send to `broker`, and room for its records. Returns [`Plan::End`] after
    /// `patience` without any partition at that broker.
    pub(crate) fn plan(&self, broker: i32, limit: usize, turn: usize, patience: Duration) -> Plan {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.closed || state.failure.is_some() {
                return Plan::End;
            }
            let questions = state.questions(broker, now);
            if !questions.is_empty() {
                return Plan::Ask(questions);
            }
            let mut asked = state.due(broker, now);
            if !asked.is_empty() && state.has_room(limit) {
                // The partitions take turns at being first, since the first may fill the response.
                let count = asked.len();
                asked.rotate_left(turn % count);
                return Plan::Fetch(asked);
            }
            let serves = |cursor: &Cursor| {
                cursor.broker(now) == Some(broker) || cursor.leader().is_some_and(|(id, _)| id == broker)
            };
            let serves = state.cursors.values().any(serves);
            if !serves && now.saturating_duration_since(began) >= patience {
                // Removed under this lock, so that no partition is added to a fetcher that is about to end.
                state.fetchers.remove(&broker);
                return Plan::End;
            }
            let until = state.next_retry(broker, now).map_or(now + patience, |at| at.min(now + patience));
            let until = state.next_return_to_leader(now).map_or(until, |at| at.min(until));
            state = wait(&self.room, state, until);
        }
    }

    /// Adds a fetched batch once there is room for it, and advances the cursor past it. Returns `false` if the batch is
    /// no longer wanted.
    pub(crate) fn fetched(&self, asked: &mut Asked, batch: Fetched, limit: usize) -> bool {
        /// Bounds one wait; the loop then waits again.
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        let Fetched { chunk, next, epoch } = batch;
        let mut state = self.lock();
        loop {
            let has_room = chunk.is_none() || state.has_room(limit);
            let closed = state.closed;
            let wanted = |cursor: &&mut Cursor| !closed && (has_room || !cursor.is_throttled());
            let Some(cursor) = state.reading(asked).filter(wanted) else { return false };
            if has_room {
                cursor.fetched(next, epoch);
                asked.ask = cursor.ask();
                break;
            }
            state = wait(&self.room, state, Instant::now() + LOOK_AGAIN);
        }
        if let Some(chunk) = chunk {
            state.bytes += chunk.bytes;
            state.chunks.push_back(chunk);
        }
        drop(state);
        self.events.notify_all();
        true
    }

    /// A fetch of this partition succeeded. `log_end` is the end of its log.
    pub(crate) fn fetch_succeeded(&self, asked: &Asked, log_end: Option<i64>) {
        let mut state = self.lock();
        if state.reading(asked).is_some() {
            state.change(&asked.partition, |cursor, _| cursor.fetch_succeeded(log_end));
        }
    }

    /// Applies a change to a cursor and wakes all threads.
    pub(crate) fn change(
        &self,
        partition: &Partition,
        what: impl FnOnce(&mut Cursor, &mut Serials) -> Vec<Output>,
    ) {
        self.lock().change(partition, what);
        self.wake();
    }

    /// A request about this partition failed.
    pub(crate) fn failed(&self, asked: &Asked, trouble: Trouble) {
        let now = Instant::now();
        self.change(&asked.partition, |cursor, serials| cursor.failed(asked.ask, trouble, now, serials));
    }

    /// Requests a refresh of the metadata.
    pub(crate) fn want_metadata(&self) {
        self.lock().metadata_wanted = true;
        self.wake();
    }
}

fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>, deadline: Instant) -> MutexGuard<'a, State> {
    let left = deadline.saturating_duration_since(Instant::now());
    on.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
}

impl State {
    fn new(rules: Rules, explain: Explain) -> Self {
        Self {
            cursors: BTreeMap::new(),
            chunks: VecDeque::new(),
            bytes: 0,
            events: VecDeque::new(),
            unreachable: None,
            failure: None,
            settled: false,
            metadata_wanted: false,
            subscribed: None,
            fetchers: BTreeSet::new(),
            cancellers: HashMap::new(),
            stamp: None,
            released: Vec::new(),
            commit_errors: Vec::new(),
            is_member: false,
            closed: false,
            rules,
            explain,
            serials: Serials::default(),
            report: Report::default(),
        }
    }

    /// Queues a notice for the next poll.
    pub(crate) fn notify(&mut self, notice: &ConsumerNotice) {
        let (severity, text) = (notice.severity(), (self.explain)(notice));
        self.events.push_back(ConsumerEvent::Notice(Notice { severity, text }));
    }

    /// Ends the consumer with an error. The first error counts.
    fn fail(&mut self, error: ConsumerError) {
        if self.failure.is_none() {
            self.failure = Some(Arc::new(error));
        }
    }

    /// The operator's rules.
    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    /// The cursor of a fetch, if it has not changed since.
    fn reading(&mut self, asked: &Asked) -> Option<&mut Cursor> {
        let cursor = self.cursors.get_mut(&asked.partition)?;
        (*cursor.phase() == Phase::Reading && cursor.is_current(asked.ask)).then_some(cursor)
    }

    fn due(&self, broker: i32, now: Instant) -> Vec<Asked> {
        let due = self.cursors.iter().filter(|(_, cursor)| cursor.wants_records(now));
        let due = due.filter(|(_, cursor)| cursor.broker(now) == Some(broker));
        due.map(|(partition, cursor)| asked(partition, cursor, cursor.ask(), broker, now)).collect()
    }

    /// The questions of the cursors that this broker leads.
    fn questions(&self, broker: i32, now: Instant) -> Vec<(Asked, Question)> {
        let led =
            self.cursors.iter().filter(|(_, cursor)| cursor.leader().is_some_and(|(id, _)| id == broker));
        let open = led.filter_map(|(partition, cursor)| {
            let (question, ask) =
                cursor.question(now).filter(|(question, _)| *question != Question::Committed)?;
            Some((asked(partition, cursor, ask, broker, now), question))
        });
        open.collect()
    }

    /// The partitions whose committed positions are to be looked up now.
    pub(crate) fn unresolved(&self, now: Instant) -> Vec<(Partition, Ask)> {
        let open = self.cursors.iter().filter_map(|(partition, cursor)| {
            let (_, ask) = cursor.question(now).filter(|(question, _)| *question == Question::Committed)?;
            Some((partition.clone(), ask))
        });
        open.collect()
    }

    /// The next retry of a partition at this broker.
    fn next_retry(&self, broker: i32, now: Instant) -> Option<Instant> {
        let of_it = |cursor: &&Cursor| {
            cursor.broker(now) == Some(broker) || cursor.leader().is_some_and(|(id, _)| id == broker)
        };
        let open = self.cursors.values().filter(of_it).filter(|cursor| cursor.is_tried_again());
        open.filter_map(Cursor::not_before).filter(|at| *at > now).min()
    }

    /// When the next partition returns from a follower to its leader.
    pub(crate) fn next_return_to_leader(&self, now: Instant) -> Option<Instant> {
        self.cursors.values().filter_map(Cursor::replica_until).filter(|until| *until > now).min()
    }

    /// Adds a newly assigned partition.
    pub(crate) fn add(&mut self, partition: Partition) {
        let cursor = Cursor::new(&mut self.serials);
        self.drop_chunks(&partition);
        self.cursors.insert(partition, cursor);
    }

    /// Applies a change to a cursor and dispatches its outputs.
    pub(crate) fn change(
        &mut self,
        partition: &Partition,
        what: impl FnOnce(&mut Cursor, &mut Serials) -> Vec<Output>,
    ) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        let before = cursor.assignment();
        let out = what(cursor, &mut self.serials);
        let dropped = cursor.assignment() != before || *cursor.phase() == Phase::Stopped;
        if dropped {
            self.drop_chunks(partition);
        }
        for output in out {
            match output {
                Output::Begins { next, text, uncommitted } => {
                    // The reason of a move goes before the new position.
                    for notice in self.report.of_partitions() {
                        self.notify(&notice);
                    }
                    self.begins(partition, next, text, uncommitted);
                }
                Output::ResetForbidden(change) => {
                    self.fail(ConsumerError::PositionLost { partition: partition.clone(), change });
                }
                other => self.report.hear(partition, other),
            }
        }
    }

    fn begins(&mut self, partition: &Partition, next: i64, text: String, uncommitted: bool) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        if !self.rules.commits {
            cursor.committed_to(next);
        }
        let position = Position { partition: partition.clone(), next: Offset(next) };
        let assignment = cursor.assignment();
        let checkpoint = Checkpoint { metadata: text, assignment, ..Checkpoint::from(position) };
        let assigned = AssignedPartition { checkpoint, uncommitted };
        match self.events.iter_mut().rev().find(|event| !matches!(event, ConsumerEvent::Notice(_))) {
            // Partitions that begin together share an event.
            Some(ConsumerEvent::Assigned(list)) => list.push(assigned),
            _ => self.events.push_back(ConsumerEvent::Assigned(vec![assigned])),
        }
    }

    /// Collects notices of partitions that have been failing for long.
    pub(crate) fn look_at_troubles(&mut self, now: Instant) {
        self.report.look(&mut self.cursors, now);
    }

    /// Queues the notices about cursors that are due.
    pub(crate) fn report_events(&mut self) {
        for notice in self.report.notices() {
            self.notify(&notice);
        }
    }

    /// The number of wanted partitions that could not be read for long.
    pub(crate) fn stalled(&self, now: Instant) -> usize {
        self.cursors.values().filter(|cursor| super::report::is_stalled(cursor, now)).count()
    }

    /// Revokes a partition. Returns whether the caller knows it, and so has to release it first.
    pub(crate) fn revoke(&mut self, partition: &Partition) -> bool {
        self.drop_chunks(partition);
        let Some(cursor) = self.cursors.get_mut(partition) else { return false };
        if !cursor.is_announced() {
            self.cursors.remove(partition);
            return false;
        }
        cursor.revoke(&mut self.serials);
        true
    }

    /// Removes a partition. Returns whether the caller knew it.
    pub(crate) fn remove(&mut self, partition: &Partition) -> bool {
        self.drop_chunks(partition);
        self.cursors.remove(partition).is_some_and(|cursor| cursor.is_announced())
    }

    fn drop_chunks(&mut self, partition: &Partition) {
        let mut bytes = 0;
        self.chunks.retain(|chunk| {
            let is_its = chunk.partition == *partition;
            bytes += if is_its { chunk.bytes } else { 0 };
            !is_its
        });
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether there is room for another batch. If the buffer is full with batches of throttled partitions alone, they
    /// are dropped to make room for the others, and fetched again later.
    fn has_room(&mut self, limit: usize) -> bool {
        let all_throttled = || self.chunks.iter().all(|chunk| self.is_throttled(&chunk.partition));
        if self.bytes >= limit && !self.chunks.is_empty() && all_throttled() {
            // From the back, so that the last one to rewind a partition is its first batch.
            while let Some(chunk) = self.chunks.pop_back() {
                self.bytes = self.bytes.saturating_sub(chunk.bytes);
                let cursor = self.cursors.get_mut(&chunk.partition);
                if let Some(cursor) = cursor.filter(|cursor| cursor.assignment() == chunk.assignment) {
                    cursor.rewind(chunk.handed, &mut self.serials);
                }
            }
        }
        self.bytes < limit
    }

    fn is_throttled(&self, partition: &Partition) -> bool {
        self.cursors.get(partition).is_some_and(Cursor::is_throttled)
    }

    /// Whether an assignment, revocation or loss is queued, which goes before any further record.
    pub(crate) fn has_partition_events(&self) -> bool {
        self.events.iter().any(|event| !matches!(event, ConsumerEvent::Notice(_)))
    }

    /// Whether the partition has been assigned without interruption since this checkpoint was made, with the same log.
    pub(crate) fn is_current(&self, checkpoint: &Checkpoint) -> bool {
        let cursor = self.cursors.get(&checkpoint.position.partition);
        cursor.is_some_and(|cursor| cursor.is_announced() && cursor.assignment() == checkpoint.assignment)
    }

    /// Takes the first batch whose partition is not throttled.
    pub(crate) fn next_chunk(&mut self) -> Option<Chunk> {
        let place = self.chunks.iter().position(|chunk| !self.is_throttled(&chunk.partition))?;
        self.chunks.remove(place)
    }

    /// Puts back a batch whose partition is throttled, before its later ones; returns any other.
    pub(crate) fn put_back(&mut self, chunk: Chunk) -> Option<Chunk> {
        if !self.is_throttled(&chunk.partition) {
            return Some(chunk);
        }
        self.chunks.push_front(chunk);
        None
    }

    /// Whether there is a batch whose partition is not throttled.
    pub(crate) fn has_chunks(&self) -> bool {
        self.chunks.iter().any(|chunk| !self.is_throttled(&chunk.partition))
    }

    /// Positions that moved without a record to deliver: past transaction markers and compacted offsets. Only valid
    /// while no batch is waiting.
    pub(crate) fn skipped(&mut self) -> Vec<Position> {
        let passed = self.cursors.iter_mut().filter_map(|(partition, cursor)| {
            let next = Offset(cursor.skipped()?);
            Some(Position { partition: partition.clone(), next })
        });
        passed.collect()
    }

    /// Whether the records of a batch are still wanted.
    pub(crate) fn wants(&self, chunk: &Chunk) -> bool {
        let going = |cursor: &Cursor| matches!(cursor.phase(), Phase::Revoked | Phase::Stopped);
        let cursor = self.cursors.get(&chunk.partition);
        cursor.is_some_and(|cursor| cursor.assignment() == chunk.assignment && !going(cursor))
    }
}

fn asked(partition: &Partition, cursor: &Cursor, ask: Ask, broker: i32, now: Instant) -> Asked {
    Asked {
        partition: partition.clone(),
        topic: cursor.topic(),
        assignment: cursor.assignment(),
        ask,
        leader_epoch: cursor.leader().map_or(-1, |(_, epoch)| epoch),
        of_replica: cursor.leader().is_none_or(|(leader, _)| leader != broker),
        of_leader_alone: cursor.avoids_replicas(now),
    }
}
