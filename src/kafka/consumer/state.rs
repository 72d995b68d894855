//! What the threads of the consumer share: a cursor for each partition that is ours, the batches fetched ahead, and
//! the news for whoever polls.
//!
//! Invariants: what a fetch brings counts only if the cursor still is the one it was asked for (its serial) and
//! still stands where it was asked for; the batches fetched ahead never exceed the buffer by more than one for each
//! fetcher, however much they unpack to. No lock is held across I/O.

use crate::kafka::group::assignor::TopicSizes;
use crate::kafka::group::exchange::Stamp;
use crate::kafka::protocol::ErrorCode;
use crate::kafka::record_batch::Records;
use crate::net::Canceller;
use crate::relay::record::{Checkpoint, Offset, Partition, Position};
use crate::relay::source::{Assigned, Notice, Outage, Polled, Severity, SourceError};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A fetch asks for no more than this; a broker gives a larger batch whole all the same (KIP-74).
pub(crate) const MOST_FETCH: usize = 256 << 10;
/// So many leader epochs of a partition are remembered.
const MOST_EPOCHS: usize = 16;

/// The state behind its lock, and who is told of a change: most concern one kind of thread alone.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// For whoever polls: records or news.
    news: Condvar,
    /// For fetchers: room, or something to fetch.
    room: Condvar,
    /// For the keeper and the member: something to do.
    chores: Condvar,
}

/// What is shared.
#[derive(Default)]
pub(crate) struct State {
    /// By partition; sorted, so that requests look alike.
    pub cursors: BTreeMap<Partition, Cursor>,
    /// Fetched and not handed over yet.
    pub chunks: VecDeque<Chunk>,
    /// The bytes of the chunks, with the one that is being handed over.
    pub bytes: usize,
    /// For whoever polls; goes before records.
    pub news: VecDeque<Polled>,
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
    /// A join waits for the other members, perhaps for long.
    pub is_joining: bool,
    /// What ends the member's request under way.
    pub coordinator: Option<Canceller>,
    /// Nothing more is wanted.
    pub closed: bool,
    next_serial: u64,
}

/// What a cursor waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A position to begin at.
    Unresolved,
    /// Nothing: it is fetched from.
    Ready,
    /// Its position is outside of the log: the reset policy.
    OutOfRange,
    /// Its log knows nothing of what was read before: the reset policy, whatever its offsets are.
    Foreign,
    /// The leader's epoch is a new one: whether the log was truncated below our position (KIP-320).
    Suspect,
    /// Its records to finish, then it goes.
    Revoked,
    /// A person: its log is corrupt.
    Stopped,
}

/// Where a partition is read.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Tells this assignment, and this position, from earlier ones of the same partition.
    pub serial: u64,
    /// The serial under which whoever polls was told of it: what commits are stamped with.
    pub assignment: u64,
    /// What it waits for.
    pub phase: Phase,
    /// The next offset to fetch.
    pub next: i64,
    /// Everything before it has been handed over to whoever polls.
    pub handed: i64,
    /// What is committed, as far as we know: before it nothing is ever wanted again.
    pub committed: i64,
    /// The leader epochs under which what was fetched was written, each with the offset from which on: the newest
    /// [`MOST_EPOCHS`].
    pub epochs: Vec<(i64, i32)>,
    /// The leader, by the metadata, and its epoch.
    pub leader: Option<(i32, i32)>,
    /// The epoch of the last leader there was.
    pub seen_epoch: Option<i32>,
    /// A replica to fetch from instead, and until when (KIP-392).
    pub replica: Option<(i32, Instant)>,
    /// With `--until-end`: where it ends.
    pub end: Option<i64>,
    /// Where its log ends, as far as known.
    pub log_end: Option<i64>,
    /// Not fetched from before then.
    pub not_before: Option<Instant>,
    /// Fetches in a row that failed.
    pub failures: u32,
    /// Whether whoever polls knows of it.
    pub announced: bool,
    /// Whoever polls has enough of it for now.
    pub held: bool,
}

impl Cursor {
    /// The broker to fetch from at `now`.
    pub fn broker(&self, now: Instant) -> Option<i32> {
        let replica = self.replica.filter(|(_, until)| now < *until).map(|(id, _)| id);
        replica.or(self.leader.map(|(id, _)| id))
    }

    /// Everything up to its end has been fetched.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ready && self.end.is_some_and(|end| self.next >= end)
    }

    /// Keeps an epoch that is new.
    fn note(&mut self, epoch: Option<(i64, i32)>) {
        let last = self.epochs.last().map(|(_, last)| *last);
        self.epochs.extend(epoch.filter(|(_, epoch)| Some(*epoch) != last));
        let surplus = self.epochs.len().saturating_sub(MOST_EPOCHS);
        self.epochs.drain(..surplus);
    }

    /// The leader epoch of the last record before `next`; -1 where it is not known any more.
    pub fn epoch_before(&self, next: i64) -> i32 {
        self.epochs.iter().rev().find(|(from, _)| *from < next).map_or(-1, |(_, epoch)| *epoch)
    }

    fn is_due(&self, broker: i32, now: Instant) -> bool {
        self.phase == Phase::Ready
            && !self.held
            && !self.has_ended()
            && self.broker(now) == Some(broker)
            && self.not_before.is_none_or(|at| at <= now)
    }
}

/// One batch, fetched and unpacked, its records not yet taken apart.
pub(crate) struct Chunk {
    /// Whose it is.
    pub partition: Partition,
    /// The cursor it was fetched for.
    pub serial: u64,
    /// The records.
    pub records: Records,
    /// What it weighs.
    pub bytes: usize,
    /// The offset behind the last record that was handed over.
    pub handed: i64,
}

/// What a fetch asks of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which.
    pub partition: Partition,
    /// The cursor that asks.
    pub serial: u64,
    /// From where.
    pub next: i64,
    /// The leader epoch we believe in.
    pub leader_epoch: i32,
    /// Whether it is asked of another replica than the leader.
    pub of_replica: bool,
}

/// What a broker's fetcher does next.
pub(crate) enum Plan {
    /// Ask for these.
    Fetch(Vec<Asked>),
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
    /// The state. Not to be held across I/O.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made of whole steps, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who wait for a change.
    pub fn wake(&self) {
        self.news.notify_all();
        self.room.notify_all();
        self.chores.notify_all();
    }

    /// Wakes the fetchers: there is room.
    pub fn wake_fetchers(&self) {
        self.room.notify_all();
    }

    /// Waits for records or news, at most until `deadline`.
    pub fn wait_for_news<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.news, state, deadline)
    }

    /// Waits for something to do beside fetching, at most until `deadline`.
    pub fn wait_for_chores<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        wait(&self.chores, state, deadline)
    }

    /// Waits, at most for `time`; `false` once closed.
    pub fn pause(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while !state.closed && Instant::now() < deadline {
            state = self.wait_for_chores(state, deadline);
        }
        !state.closed
    }

    /// Tells whoever polls.
    pub fn notice(&self, severity: Severity, text: String) {
        self.lock().news.push_back(Polled::Notice(Notice { severity, text }));
        self.wake();
    }

    /// The source can't go on.
    pub fn fail(&self, text: String) {
        self.lock().failure.get_or_insert(SourceError(text));
        self.wake();
    }

    /// Waits until `broker` has something to be asked for and there is room for it. Ends after `patience` without
    /// any partition of that broker.
    pub fn plan(&self, broker: i32, limit: usize, turn: usize, patience: Duration) -> Plan {
        /// How long a fetcher sleeps without being woken, for retries and replicas that run out.
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.closed {
                return Plan::End;
            }
            let mut asked = state.due(broker, now);
            if !asked.is_empty() && state.has_room(limit) {
                // Another one goes first each time, since the first may fill the answer.
                let count = asked.len();
                asked.rotate_left(turn % count);
                return Plan::Fetch(asked);
            }
            let serves = state.cursors.values().any(|cursor| cursor.broker(now) == Some(broker));
            if !serves && now.saturating_duration_since(began) >= patience {
                return Plan::End;
            }
            let waiting = state.cursors.values().any(|cursor| cursor.not_before.is_some());
            let nap = if waiting { LOOK_AGAIN } else { patience };
            let until = state.next_return_to_leader(now).map_or(now + nap, |at| at.min(now + nap));
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
            let wanted = |cursor: &&mut Cursor| !closed && (has_room || !cursor.held);
            let Some(cursor) = state.cursor(asked).filter(wanted) else { return false };
            if has_room {
                cursor.next = next;
                cursor.note(epoch);
                break;
            }
            state = wait(&self.room, state, Instant::now() + LOOK_AGAIN);
        }
        asked.next = next;
        if let Some(chunk) = chunk {
            state.bytes += chunk.bytes;
            state.chunks.push_back(chunk);
        }
        drop(state);
        self.news.notify_all();
        true
    }

    /// A fetch of this partition went well; its log ends here.
    pub fn went_well(&self, asked: &Asked, log_end: Option<i64>) {
        let mut state = self.lock();
        if let Some(cursor) = state.cursor(asked) {
            cursor.log_end = log_end.or(cursor.log_end);
            (cursor.failures, cursor.not_before) = (0, None);
        }
    }

    /// Changes the cursor that a fetch was asked for, if it is still there.
    pub fn amend(&self, asked: &Asked, change: impl FnOnce(&mut Cursor)) {
        let mut state = self.lock();
        if let Some(cursor) = state.cursor(asked) {
            change(cursor);
        }
        drop(state);
        self.wake();
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
    /// The cursor that asked, if it is still there and still stands there.
    fn cursor(&mut self, asked: &Asked) -> Option<&mut Cursor> {
        let cursor = self.cursors.get_mut(&asked.partition)?;
        // While a position is in question, so is what a former leader answers.
        let stands =
            cursor.phase == Phase::Ready && cursor.serial == asked.serial && cursor.next == asked.next;
        stands.then_some(cursor)
    }

    fn due(&self, broker: i32, now: Instant) -> Vec<Asked> {
        let due = self.cursors.iter().filter(|(_, cursor)| cursor.is_due(broker, now));
        due.map(|(partition, cursor)| Asked {
            partition: partition.clone(),
            serial: cursor.serial,
            next: cursor.next,
            leader_epoch: cursor.leader.map_or(-1, |(_, epoch)| epoch),
            of_replica: cursor.leader.is_none_or(|(leader, _)| leader != broker),
        })
        .collect()
    }

    /// When the next partition returns from a replica to its leader.
    pub fn next_return_to_leader(&self, now: Instant) -> Option<Instant> {
        let leases = self.cursors.values().filter_map(|cursor| cursor.replica.map(|(_, until)| until));
        leases.filter(|until| *until > now).min()
    }

    /// The partition is ours; where it begins is still to be found out.
    pub fn add(&mut self, partition: Partition) {
        let cursor = Cursor {
            serial: self.serial(),
            assignment: 0,
            phase: Phase::Unresolved,
            next: 0,
            handed: 0,
            committed: 0,
            epochs: Vec::new(),
            leader: None,
            seen_epoch: None,
            replica: None,
            end: None,
            log_end: None,
            not_before: None,
            failures: 0,
            announced: false,
            held: false,
        };
        self.drop_chunks(&partition);
        self.cursors.insert(partition, cursor);
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// The partition begins, or goes on, at this position: what was fetched before is dropped, and whoever polls
    /// is told. A new position is one that nobody has committed.
    pub fn begin(&mut self, partition: &Partition, next: i64, metadata: String, uncommitted: bool) {
        let serial = self.serial();
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        (cursor.serial, cursor.assignment) = (serial, serial);
        (cursor.phase, cursor.announced) = (Phase::Ready, true);
        (cursor.next, cursor.handed, cursor.committed, cursor.held) = (next, next, next, false);
        (cursor.failures, cursor.not_before) = (0, None);
        self.drop_chunks(partition);
        let position = Position { partition: partition.clone(), next: Offset(next) };
        let checkpoint = Checkpoint { position, metadata, assignment: serial };
        let assigned = Assigned { checkpoint, uncommitted };
        match self.news.iter_mut().rev().find(|news| !matches!(news, Polled::Notice(_))) {
            // Partitions that begin together are told together.
            Some(Polled::Assigned(list)) => list.push(assigned),
            _ => self.news.push_back(Polled::Assigned(vec![assigned])),
        }
    }

    /// Nothing more is read of the partition, and nothing that was read is handed over.
    pub fn stop(&mut self, partition: &Partition) {
        let serial = self.serial();
        self.drop_chunks(partition);
        if let Some(cursor) = self.cursors.get_mut(partition) {
            (cursor.serial, cursor.phase) = (serial, Phase::Stopped);
        }
    }

    /// The partition has to be given up. Says whether whoever polls has to finish it first.
    pub fn revoke(&mut self, partition: &Partition) -> bool {
        let serial = self.serial();
        self.drop_chunks(partition);
        let Some(cursor) = self.cursors.get_mut(partition) else { return false };
        if !cursor.announced {
            self.cursors.remove(partition);
            return false;
        }
        (cursor.serial, cursor.phase) = (serial, Phase::Revoked);
        true
    }

    /// The partition is no longer ours. Says whether whoever polls knew of it.
    pub fn remove(&mut self, partition: &Partition) -> bool {
        self.drop_chunks(partition);
        self.cursors.remove(partition).is_some_and(|cursor| cursor.announced)
    }

    fn drop_chunks(&mut self, partition: &Partition) {
        let bytes = |chunks: &VecDeque<Chunk>| chunks.iter().map(|chunk| chunk.bytes).sum::<usize>();
        let before = bytes(&self.chunks);
        self.chunks.retain(|chunk| chunk.partition != *partition);
        self.bytes = self.bytes.saturating_sub(before - bytes(&self.chunks));
    }

    /// Whether there is room for another batch. What was fetched of held partitions makes room for the others when
    /// nothing else is left in the buffer: it is fetched again once it is wanted.
    fn has_room(&mut self, limit: usize) -> bool {
        let all_held = || self.chunks.iter().all(|chunk| self.is_held(&chunk.partition));
        if self.bytes >= limit && !self.chunks.is_empty() && all_held() {
            // The first chunk of each partition comes last, and its place is where the partition goes on.
            while let Some(chunk) = self.chunks.pop_back() {
                self.bytes = self.bytes.saturating_sub(chunk.bytes);
                let cursor = self.cursors.get_mut(&chunk.partition);
                if let Some(cursor) = cursor.filter(|cursor| cursor.serial == chunk.serial) {
                    cursor.next = chunk.handed;
                }
            }
        }
        self.bytes < limit
    }

    fn is_held(&self, partition: &Partition) -> bool {
        self.cursors.get(partition).is_some_and(|cursor| cursor.held)
    }

    /// Whether something is to be told before any further record: that a partition is ours comes before its
    /// records, and that it isn't before what comes of it later.
    pub fn has_partition_news(&self) -> bool {
        self.news.iter().any(|news| !matches!(news, Polled::Notice(_)))
    }

    /// Whether the partition has been ours since this checkpoint was made, and its log the same.
    pub fn is_current(&self, checkpoint: &Checkpoint) -> bool {
        let cursor = self.cursors.get(&checkpoint.position.partition);
        cursor.is_some_and(|cursor| cursor.announced && cursor.assignment == checkpoint.assignment)
    }

    /// The first chunk that is wanted now; of held partitions none.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        let place = self.chunks.iter().position(|chunk| !self.is_held(&chunk.partition))?;
        self.chunks.remove(place)
    }

    /// Puts back a chunk whose partition is held, before the later ones of it; gives back any other.
    pub fn put_back(&mut self, chunk: Chunk) -> Option<Chunk> {
        if !self.is_held(&chunk.partition) {
            return Some(chunk);
        }
        self.chunks.push_front(chunk);
        None
    }

    /// Whether a chunk waits that is wanted now.
    pub fn has_chunks(&self) -> bool {
        self.chunks.iter().any(|chunk| !self.is_held(&chunk.partition))
    }

    /// Positions up to which there is nothing more to hand over, though the last record lies before: markers of
    /// transactions, and what compaction took away. Only while no chunk waits.
    pub fn passed(&mut self) -> Vec<Position> {
        let ready = self.cursors.iter_mut().filter(|(_, c)| c.phase == Phase::Ready && c.handed < c.next);
        ready
            .map(|(partition, cursor)| {
                cursor.handed = cursor.next;
                Position { partition: partition.clone(), next: Offset(cursor.next) }
            })
            .collect()
    }

    /// Whether a chunk's records are still wanted.
    pub fn wants(&self, chunk: &Chunk) -> bool {
        self.cursors.get(&chunk.partition).is_some_and(|cursor| cursor.serial == chunk.serial)
    }
}
