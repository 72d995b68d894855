//! What the threads of the consumer share: a cursor for each partition that is ours, the batches fetched ahead, and
//! the news for whoever polls.
//!
//! A cursor is changed by its own methods alone, and what it puts out goes where it belongs here, in one place.
//!
//! Invariants: what a fetch or a question brings counts only if the cursor still stands where it was asked; the
//! batches fetched ahead never exceed the buffer by more than one for each fetcher, however much they unpack to. No
//! lock is held across I/O.

use super::cursor::{Ask, Cursor, Output, Phase, Question, Rules, Serials, Trouble};
use super::report::Report;
use super::{ConsumerError, ConsumerNotice};
use crate::kafka::config::Explain;
use crate::kafka::group::assignor::TopicSizes;
use crate::kafka::group::exchange::Stamp;
use crate::kafka::protocol::{ErrorCode, Uuid};
use crate::kafka::record_batch::Records;
use crate::net::Canceller;
use crate::record::{Checkpoint, Offset, Partition, Position};
use crate::relay::notice::{Notice, Severity};
use crate::relay::source::{Assigned, Outage, Polled, SourceError};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A fetch asks for no more than this; a broker gives a larger batch whole all the same (KIP-74).
pub(crate) const MOST_FETCH: usize = 256 << 10;
/// The state behind its lock, and who is told of a change: most concern one kind of thread alone.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// For whoever polls: records or news.
    events: Condvar,
    /// For fetchers: room, or something to fetch.
    room: Condvar,
    /// For the metadata and the member: something to do.
    work: Condvar,
}

/// What is shared.
pub(crate) struct State {
    /// By partition; sorted, so that requests look alike.
    pub cursors: BTreeMap<Partition, Cursor>,
    /// Fetched and not handed over yet.
    pub chunks: VecDeque<Chunk>,
    /// The bytes of the chunks, with the one that is being handed over.
    pub bytes: usize,
    /// For whoever polls; goes before records.
    pub events: VecDeque<Polled>,
    /// Since when the brokers can't be reached.
    pub outage: Option<Outage>,
    /// Why the source can't go on.
    pub failure: Option<SourceError>,
    /// The partitions were shared out at least once, and nothing is known to be in motion.
    pub settled: bool,
    /// Somebody saw something that newer metadata would explain.
    pub metadata_wanted: bool,
    /// The topics that are wanted, and how large the known ones are; `None` before the first metadata.
    pub subscribed: Option<(BTreeSet<Arc<str>>, TopicSizes)>,
    /// The brokers that a thread fetches from.
    pub fetchers: BTreeSet<i32>,
    /// What ends the fetches under way, by broker.
    pub cancellers: HashMap<i32, Canceller>,
    /// What commits are stamped with, while we are a member.
    pub stamp: Option<Stamp>,
    /// Revoked partitions whose records have finished: news for the member.
    pub released: Vec<Partition>,
    /// What commits were refused for: news for the member.
    pub commit_errors: Vec<(Stamp, ErrorCode)>,
    /// The group has not been left yet.
    pub is_member: bool,
    /// Nothing more is wanted.
    pub closed: bool,
    rules: Rules,
    explain: Explain,
    serials: Serials,
    report: Report,
}

/// One batch, fetched and unpacked, its records not yet taken apart.
pub(crate) struct Chunk {
    /// Whose it is.
    pub partition: Partition,
    /// The assignment it was fetched for.
    pub assignment: u64,
    /// The records.
    pub records: Records,
    /// What it weighs.
    pub bytes: usize,
    /// The offset behind the last record that was handed over.
    pub handed: i64,
}

/// What is asked of a broker about one partition.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which.
    pub partition: Partition,
    /// The id of its topic; zero where there is none.
    pub topic: Uuid,
    /// The assignment that asks.
    pub assignment: u64,
    /// When it counts, and from where it is read.
    pub ask: Ask,
    /// The leader epoch we believe in.
    pub leader_epoch: i32,
    /// Whether it is asked of another replica than the leader.
    pub of_replica: bool,
    /// Whether the leader is to answer by itself, whatever replica may be nearer.
    pub of_leader_alone: bool,
}

/// What a broker's fetcher does next.
pub(crate) enum Plan {
    /// Ask for records of these.
    Fetch(Vec<Asked>),
    /// Ask about the logs of these.
    Ask(Vec<(Asked, Question)>),
    /// It has nothing to do any more.
    End,
}

/// A batch as a fetch brought it.
pub(crate) struct Fetched {
    /// Its records, if there are any to deliver.
    pub chunk: Option<Chunk>,
    /// The next offset to fetch.
    pub next: i64,
    /// The leader epoch under which it was written, with its first offset.
    pub epoch: Option<(i64, i32)>,
}

impl Shared {
    /// Nothing yet.
    pub fn new(rules: Rules, explain: Explain) -> Self {
        let (events, room, work) = (Condvar::new(), Condvar::new(), Condvar::new());
        Self { state: Mutex::new(State::new(rules, explain)), events, room, work }
    }

    /// The state. Not to be held across I/O.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made of whole steps, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who wait for a change.
    pub fn wake(&self) {
        self.events.notify_all();
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Wakes the fetchers: there is room.
    pub fn wake_fetchers(&self) {
        self.room.notify_all();
    }

    /// Waits for records or news, at most until `deadline`.
    pub fn wait_for_events<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.events, state, deadline)
    }

    /// Waits for something to do beside fetching, at most until `deadline`.
    pub fn wait_for_work<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.work, state, deadline)
    }

    /// Waits, at most for `time`; `false` once closed.
    pub fn pause(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while !state.closed && Instant::now() < deadline {
            state = self.wait_for_work(state, deadline);
        }
        !state.closed
    }

    /// Tells whoever polls.
    pub fn notify(&self, notice: &ConsumerNotice) {
        self.lock().notify(notice);
        self.wake();
    }

    /// Tells whoever polls, in words of the caller's.
    pub fn notify_of(&self, severity: Severity, text: String) {
        self.lock().events.push_back(Polled::Notice(Notice { severity, text }));
        self.wake();
    }

    /// The source can't go on. The first error counts.
    pub fn fail(&self, error: impl Into<ConsumerError>) {
        self.lock().fail(&error.into());
        self.wake();
    }

    /// An error in words for people.
    pub fn explain(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let explain = self.lock().explain;
        explain(error)
    }

    /// Waits until `broker` has something to be asked for and there is room for it. Ends after `patience` without
    /// any partition of that broker.
    pub fn plan(&self, broker: i32, limit: usize, turn: usize, patience: Duration) -> Plan {
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
                // Another one goes first each time, since the first may fill the answer.
                let count = asked.len();
                asked.rotate_left(turn % count);
                return Plan::Fetch(asked);
            }
            let serves = |cursor: &Cursor| {
                cursor.broker(now) == Some(broker) || cursor.leader().is_some_and(|(id, _)| id == broker)
            };
            let serves = state.cursors.values().any(serves);
            if !serves && now.saturating_duration_since(began) >= patience {
                // Under this lock, so that whoever wants it again either finds it or starts another.
                state.fetchers.remove(&broker);
                return Plan::End;
            }
            let until = state.next_retry(broker, now).map_or(now + patience, |at| at.min(now + patience));
            let until = state.next_return_to_leader(now).map_or(until, |at| at.min(until));
            state = wait(&self.room, state, until);
        }
    }

    /// Takes a batch that a fetch brought, once there is room for it, and moves what was asked past it. `false` if
    /// nothing of it is wanted any more.
    pub fn fetched(&self, asked: &mut Asked, batch: Fetched, limit: usize) -> bool {
        /// How long it is waited at once; the wait is then taken up again.
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

    /// A fetch of this partition went well; its log ends here.
    pub fn fetch_succeeded(&self, asked: &Asked, log_end: Option<i64>) {
        let mut state = self.lock();
        if state.reading(asked).is_some() {
            state.change(&asked.partition, |cursor, _| cursor.fetch_succeeded(log_end));
        }
    }

    /// Lets something happen to a cursor, and wakes whoever waits for what comes of it.
    pub fn change(&self, partition: &Partition, what: impl FnOnce(&mut Cursor, &mut Serials) -> Vec<Output>) {
        self.lock().change(partition, what);
        self.wake();
    }

    /// Nothing came of what was asked.
    pub fn failed(&self, asked: &Asked, trouble: Trouble) {
        let now = Instant::now();
        self.change(&asked.partition, |cursor, serials| cursor.failed(asked.ask, trouble, now, serials));
    }

    /// A fetch failed as a whole, or an answer asked for newer metadata.
    pub fn want_metadata(&self) {
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
            outage: None,
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

    /// Tells whoever polls.
    pub fn notify(&mut self, notice: &ConsumerNotice) {
        let (severity, text) = (notice.severity(), (self.explain)(notice));
        self.events.push_back(Polled::Notice(Notice { severity, text }));
    }

    /// The source can't go on. The first error counts.
    fn fail(&mut self, error: &ConsumerError) {
        if self.failure.is_none() {
            self.failure = Some(SourceError((self.explain)(error)));
        }
    }

    /// The operator's rules.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The cursor that asked for records, if it is still there and still stands there.
    fn reading(&mut self, asked: &Asked) -> Option<&mut Cursor> {
        let cursor = self.cursors.get_mut(&asked.partition)?;
        (*cursor.phase() == Phase::Reading && cursor.is_current(asked.ask)).then_some(cursor)
    }

    fn due(&self, broker: i32, now: Instant) -> Vec<Asked> {
        let due = self.cursors.iter().filter(|(_, cursor)| cursor.wants_records(now));
        let due = due.filter(|(_, cursor)| cursor.broker(now) == Some(broker));
        due.map(|(partition, cursor)| asked(partition, cursor, cursor.ask(), broker, now)).collect()
    }

    /// What is to be asked of this broker as a leader.
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

    /// The partitions of which it is to be found out where the group left off.
    pub fn unresolved(&self, now: Instant) -> Vec<(Partition, Ask)> {
        let open = self.cursors.iter().filter_map(|(partition, cursor)| {
            let (_, ask) = cursor.question(now).filter(|(question, _)| *question == Question::Committed)?;
            Some((partition.clone(), ask))
        });
        open.collect()
    }

    /// When this broker is next asked about a partition that is in trouble.
    fn next_retry(&self, broker: i32, now: Instant) -> Option<Instant> {
        let of_it = |cursor: &&Cursor| {
            cursor.broker(now) == Some(broker) || cursor.leader().is_some_and(|(id, _)| id == broker)
        };
        let open = self.cursors.values().filter(of_it).filter(|cursor| cursor.is_tried_again());
        open.filter_map(Cursor::not_before).filter(|at| *at > now).min()
    }

    /// When the next partition returns from a replica to its leader.
    pub fn next_return_to_leader(&self, now: Instant) -> Option<Instant> {
        self.cursors.values().filter_map(Cursor::replica_until).filter(|until| *until > now).min()
    }

    /// The partition is ours; where it begins is still to be found out.
    pub fn add(&mut self, partition: Partition) {
        let cursor = Cursor::new(&mut self.serials);
        self.drop_chunks(&partition);
        self.cursors.insert(partition, cursor);
    }

    /// Lets something happen to a cursor; what it puts out goes to whoever polls.
    pub fn change(
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
                    // What moved it is told before what it is moved to.
                    for notice in self.report.of_partitions() {
                        self.notify(&notice);
                    }
                    self.begins(partition, next, text, uncommitted);
                }
                Output::ResetForbidden(change) => {
                    self.fail(&ConsumerError::PositionLost { partition: partition.clone(), change });
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
        let assigned = Assigned { checkpoint, uncommitted };
        match self.events.iter_mut().rev().find(|event| !matches!(event, Polled::Notice(_))) {
            // Partitions that begin together are told together.
            Some(Polled::Assigned(list)) => list.push(assigned),
            _ => self.events.push_back(Polled::Assigned(vec![assigned])),
        }
    }

    /// Looks for troubles that stand for long.
    pub fn look_at_troubles(&mut self, now: Instant) {
        self.report.look(&mut self.cursors, now);
    }

    /// What has come up of the cursors is news, before whatever comes of it.
    pub fn report_events(&mut self) {
        for notice in self.report.notices() {
            self.notify(&notice);
        }
    }

    /// How many partitions nothing has been read of for long, though they are wanted.
    pub fn stalled(&self, now: Instant) -> usize {
        self.cursors.values().filter(|cursor| super::report::is_stalled(cursor, now)).count()
    }

    /// The partition has to be given up. Says whether whoever polls has to finish it first.
    pub fn revoke(&mut self, partition: &Partition) -> bool {
        self.drop_chunks(partition);
        let Some(cursor) = self.cursors.get_mut(partition) else { return false };
        if !cursor.is_announced() {
            self.cursors.remove(partition);
            return false;
        }
        cursor.revoke(&mut self.serials);
        true
    }

    /// The partition is no longer ours. Says whether whoever polls knew of it.
    pub fn remove(&mut self, partition: &Partition) -> bool {
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

    /// Whether there is room for another batch. What was fetched of held partitions makes room for the others when
    /// nothing else is left in the buffer: it is fetched again once it is wanted.
    fn has_room(&mut self, limit: usize) -> bool {
        let all_throttled = || self.chunks.iter().all(|chunk| self.is_throttled(&chunk.partition));
        if self.bytes >= limit && !self.chunks.is_empty() && all_throttled() {
            // The first chunk of each partition comes last, and its place is where the partition goes on.
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

    /// Whether something is to be told before any further record: that a partition is ours comes before its
    /// records, and that it isn't before what comes of it later.
    pub fn has_partition_events(&self) -> bool {
        self.events.iter().any(|event| !matches!(event, Polled::Notice(_)))
    }

    /// Whether the partition has been ours since this checkpoint was made, and its log the same.
    pub fn is_current(&self, checkpoint: &Checkpoint) -> bool {
        let cursor = self.cursors.get(&checkpoint.position.partition);
        cursor.is_some_and(|cursor| cursor.is_announced() && cursor.assignment() == checkpoint.assignment)
    }

    /// The first chunk that is wanted now; of held partitions none.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        let place = self.chunks.iter().position(|chunk| !self.is_throttled(&chunk.partition))?;
        self.chunks.remove(place)
    }

    /// Puts back a chunk whose partition is held, before the later ones of it; gives back any other.
    pub fn put_back(&mut self, chunk: Chunk) -> Option<Chunk> {
        if !self.is_throttled(&chunk.partition) {
            return Some(chunk);
        }
        self.chunks.push_front(chunk);
        None
    }

    /// Whether a chunk waits that is wanted now.
    pub fn has_chunks(&self) -> bool {
        self.chunks.iter().any(|chunk| !self.is_throttled(&chunk.partition))
    }

    /// Positions up to which there is nothing more to hand over, though the last record lies before: markers of
    /// transactions, and what compaction took away. Only while no chunk waits.
    pub fn skipped(&mut self) -> Vec<Position> {
        let passed = self.cursors.iter_mut().filter_map(|(partition, cursor)| {
            let next = Offset(cursor.skipped()?);
            Some(Position { partition: partition.clone(), next })
        });
        passed.collect()
    }

    /// Whether a chunk's records are still wanted.
    pub fn wants(&self, chunk: &Chunk) -> bool {
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
