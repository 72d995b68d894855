//! The consumer of one process, as its threads share it: a cursor for each partition that is ours, batches fetched
//! ahead, news for whoever polls. What `kafka::consumer` does with locks is done here step by step; the cursors, the
//! notes and the catalog of topics are the product's own.

use crate::cluster::{Batch, CLUSTER, Cluster, Known, Stored, answer, names};
use crate::log::Logs;
use crate::trace::trace;
use sluicegate::kafka::cluster::catalog::{Catalog, Place};
use sluicegate::kafka::config::Reset;
use sluicegate::kafka::consumer::cursor::{
    Ask, Cursor, Output, Phase, PositionChange, Question, Rules, Serials, Trouble,
};
use sluicegate::kafka::consumer::note::Note;
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use sluicegate::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::source::{Assigned, PollLimit, Polled};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

pub const RULES: Rules = Rules { reset: Reset::Earliest, until_end: false, commits: true };

/// A batch fetched ahead.
#[derive(Debug)]
pub struct Chunk {
    at: usize,
    assignment: u64,
    records: VecDeque<usize>,
    bytes: usize,
    /// Behind the last record that was handed over.
    handed: i64,
}

/// What was asked about a partition.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub at: usize,
    pub topic: Uuid,
    pub assignment: u64,
    pub ask: Ask,
    pub epoch: i32,
}

/// A position as it is committed.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: usize,
    pub topic: Uuid,
    pub assignment: u64,
    pub stored: Stored,
}

/// What a fetch brought of a partition, and where its log ends.
#[derive(Debug)]
pub struct Fetched {
    pub asked: Asked,
    pub batches: VecDeque<Batch>,
    pub end: i64,
}

/// What a fetcher waits for.
#[derive(Debug, Default)]
pub enum Fetcher {
    #[default]
    Idle,
    /// An answer to the call of this number.
    Asks(u64),
    /// Room for what was fetched.
    Takes(VecDeque<Fetched>),
}

#[derive(Debug, Default)]
pub struct Consumer {
    pub cursors: BTreeMap<usize, Cursor>,
    pub serials: Serials,
    pub catalog: Catalog,
    pub chunks: VecDeque<Chunk>,
    pub bytes: usize,
    /// How many bytes may be fetched ahead.
    pub buffer: usize,
    /// What polls will bring before records, and since when.
    pub news: VecDeque<(Duration, Polled)>,
    pub metadata_wanted: bool,
    pub refreshed: Option<Duration>,
    /// What the keeper waits for an answer of.
    pub keeper_asks: Option<u64>,
    /// It pauses after a failure until then.
    pub keeper_rests: Duration,
    pub keeper_failures: u32,
    pub unsettled: u32,
    pub outage_since: Option<Instant>,
    pub fetchers: BTreeMap<i32, Fetcher>,
    /// When it is looked at next because of the time alone, and the event that counts.
    pub looks_at: Option<(Duration, u64)>,
    /// Counts fetches, so that another partition goes first each time.
    pub fetches: usize,
    /// Partitions whose positions were not taken, and when they are tried again.
    pub refused: BTreeMap<usize, Duration>,
    pub one_partition_a_poll: bool,
    /// Polls bring records again that they brought before.
    pub repeats: bool,
    /// What moved positions.
    pub shifts: Vec<PositionChange>,
    pub turn: usize,
    /// What was handed over last.
    pub recent: HashMap<usize, (u64, VecDeque<usize>)>,
}

impl Consumer {
    // ---- partitions ----------------------------------------------------------------------------------------

    pub fn add(&mut self, at: usize) {
        self.drop_chunks(at);
        self.cursors.insert(at, Cursor::new(&mut self.serials));
    }

    /// Says whether whoever polls has to finish it first.
    pub fn revoke(&mut self, at: usize, cluster: &Cluster, now: Duration) -> bool {
        self.drop_chunks(at);
        let Some(cursor) = self.cursors.get_mut(&at) else { return false };
        if !cursor.is_announced() {
            self.cursors.remove(&at);
            return false;
        }
        cursor.revoke(&mut self.serials);
        self.news.push_back((now, Polled::Revoked(vec![cluster.parts[at].name.clone()])));
        true
    }

    pub fn lose(&mut self, at: usize, cluster: &Cluster, now: Duration) {
        self.drop_chunks(at);
        if self.cursors.remove(&at).is_some_and(|cursor| cursor.is_announced()) {
            self.news.push_back((now, Polled::Lost(vec![cluster.parts[at].name.clone()])));
        }
    }

    /// Whoever polls gives it up. Says whether that is what was asked for.
    pub fn release(&mut self, at: usize) -> bool {
        // One that was lost meanwhile, and perhaps given to us anew, is not what was to be released.
        let is_revoked = self.cursors.get(&at).is_some_and(|cursor| *cursor.phase() == Phase::Revoked);
        if is_revoked {
            self.drop_chunks(at);
            self.cursors.remove(&at);
        }
        is_revoked
    }

    fn drop_chunks(&mut self, at: usize) {
        let bytes = &mut self.bytes;
        self.chunks.retain(|chunk| {
            *bytes -= if chunk.at == at { chunk.bytes } else { 0 };
            chunk.at != at
        });
    }

    pub fn hold(&mut self, partitions: &[Partition], cluster: &Cluster) {
        for (at, cursor) in &mut self.cursors {
            cursor.throttle(partitions.contains(&cluster.parts[*at].name));
        }
    }

    /// Lets something happen to a cursor; what it puts out goes to whoever polls.
    pub fn change(
        &mut self,
        at: usize,
        cluster: &Cluster,
        now: Duration,
        what: impl FnOnce(&mut Cursor, &mut Serials) -> Vec<Output>,
    ) {
        let Some(cursor) = self.cursors.get_mut(&at) else { return };
        let before = cursor.assignment();
        let out = what(cursor, &mut self.serials);
        if cursor.assignment() != before || *cursor.phase() == Phase::Stopped {
            self.drop_chunks(at);
        }
        for output in out {
            trace!(now, "cursor of {}: {output:?}", cluster.parts[at].name);
            match output {
                Output::Begins { next, text, uncommitted } => {
                    let position = Position { partition: cluster.parts[at].name.clone(), next: Offset(next) };
                    let assignment = self.cursors[&at].assignment();
                    let checkpoint = Checkpoint { metadata: text, assignment, ..Checkpoint::from(position) };
                    let assigned = Assigned { checkpoint, uncommitted };
                    match self.news.back_mut() {
                        // Partitions that begin together are told together.
                        Some((_, Polled::Assigned(list))) => list.push(assigned),
                        _ => self.news.push_back((now, Polled::Assigned(vec![assigned]))),
                    }
                }
                Output::Moved(shift, _) => self.shifts.push(shift),
                Output::Recovered => {}
                Output::ResetForbidden(_) | Output::Stopped(_) => {
                    panic!("{}: {output:?}", cluster.parts[at].name)
                }
            }
        }
    }

    pub fn failed(&mut self, asked: &Asked, trouble: Trouble, cluster: &Cluster, at: (Duration, Instant)) {
        let (now, instant) = at;
        self.change(asked.at, cluster, now, |cursor, serials| {
            cursor.failed(asked.ask, trouble, instant, serials)
        });
    }

    // ---- metadata and positions ----------------------------------------------------------------------------

    /// What a broker told of the topics. Says whether anything is missing.
    pub fn learn(&mut self, known: &[Known], cluster: &Cluster, now: (Duration, Instant)) -> bool {
        let names = names(known.len());
        self.catalog.learn(&answer(known, &names), true);
        let all: Vec<usize> = self.cursors.keys().copied().collect();
        let mut is_unsettled = false;
        for at in all {
            is_unsettled |= !self.tell_metadata(at, cluster, now);
        }
        is_unsettled
    }

    /// Says whether it has a leader.
    pub fn tell_metadata(
        &mut self,
        at: usize,
        cluster: &Cluster,
        (now, instant): (Duration, Instant),
    ) -> bool {
        let name = &cluster.parts[at].name;
        let Place { topic, leader } = self.catalog.place(name.topic(), name.number());
        let pair = leader.map(|leader| (leader.broker, leader.epoch));
        self.change(at, cluster, now, |cursor, serials| cursor.metadata_was(topic, pair, instant, serials));
        leader.is_some()
    }

    /// The partitions of which it is to be found out where the group left off.
    pub fn unresolved(&self, instant: Instant) -> Vec<(usize, Ask)> {
        let open = self.cursors.iter().filter_map(|(at, cursor)| {
            let (_, ask) =
                cursor.question(instant).filter(|(question, _)| *question == Question::Committed)?;
            Some((*at, ask))
        });
        open.collect()
    }

    // ---- fetching ------------------------------------------------------------------------------------------

    /// The brokers that lead what is ours.
    pub fn brokers(&self) -> BTreeSet<i32> {
        let is_asked =
            |cursor: &&Cursor| !matches!(cursor.phase(), Phase::Unresolved | Phase::Revoked | Phase::Stopped);
        self.cursors.values().filter(is_asked).filter_map(Cursor::leader).map(|(id, _)| id).collect()
    }

    fn led_by(&self, broker: i32) -> impl Iterator<Item = (&usize, &Cursor)> {
        self.cursors.iter().filter(move |(_, cursor)| cursor.leader().is_some_and(|(id, _)| id == broker))
    }

    fn asked(at: usize, cursor: &Cursor, ask: Ask) -> Asked {
        let epoch = cursor.leader().map_or(-1, |(_, epoch)| epoch);
        Asked { at, topic: cursor.topic(), assignment: cursor.assignment(), ask, epoch }
    }

    /// What is to be asked of this broker as a leader.
    pub fn questions(&self, broker: i32, instant: Instant) -> Vec<(Asked, Question)> {
        let open = self.led_by(broker).filter_map(|(at, cursor)| {
            let (question, ask) =
                cursor.question(instant).filter(|(question, _)| *question != Question::Committed)?;
            Some((Self::asked(*at, cursor, ask), question))
        });
        open.collect()
    }

    pub fn due(&self, broker: i32, instant: Instant) -> Vec<Asked> {
        let due = self.led_by(broker).filter(|(_, cursor)| cursor.wants_records(instant));
        due.map(|(at, cursor)| Self::asked(*at, cursor, cursor.ask())).collect()
    }

    /// When something is next to be asked for that waits for the time alone.
    pub fn next_retry(&self, instant: Instant) -> Option<Instant> {
        let waits = self
            .cursors
            .values()
            .filter(|cursor| cursor.is_tried_again() || *cursor.phase() == Phase::Unresolved);
        waits.filter_map(Cursor::not_before).filter(|at| *at > instant).min()
    }

    /// Whether there is room for another batch. What was fetched of held partitions makes room for the others.
    pub fn has_room(&mut self) -> bool {
        let is_held = |chunk: &Chunk| self.cursors.get(&chunk.at).is_some_and(Cursor::is_throttled);
        if self.bytes >= self.buffer && !self.chunks.is_empty() && self.chunks.iter().all(is_held) {
            while let Some(chunk) = self.chunks.pop_back() {
                self.bytes -= chunk.bytes;
                let cursor = self.cursors.get_mut(&chunk.at);
                if let Some(cursor) = cursor.filter(|cursor| cursor.assignment() == chunk.assignment) {
                    cursor.rewind(chunk.handed, &mut self.serials);
                }
            }
        }
        self.bytes < self.buffer
    }

    fn stands(&self, asked: &Asked) -> bool {
        let cursor = self.cursors.get(&asked.at);
        cursor.is_some_and(|cursor| *cursor.phase() == Phase::Reading && cursor.is_current(asked.ask))
    }

    /// Takes a batch in; `None` while there is no room for it, `Some(false)` if it is not wanted any more.
    pub fn take_in(&mut self, asked: &mut Asked, batch: &Batch, logs: &Logs) -> Option<bool> {
        let has_room = batch.records.is_empty() || self.has_room();
        if !self.stands(asked) {
            return Some(false);
        }
        let cursor = self.cursors.get_mut(&asked.at)?;
        if !has_room {
            return if cursor.is_throttled() { Some(false) } else { None };
        }
        let from = asked.ask.next;
        cursor.fetched(batch.next, Some((batch.first, batch.epoch)));
        asked.ask = cursor.ask();
        if !batch.records.is_empty() {
            let bytes = batch.records.iter().map(|number| logs.entries[*number].size + 256).sum();
            let records = batch.records.iter().copied().collect();
            self.bytes += bytes;
            let (at, assignment) = (asked.at, asked.assignment);
            self.chunks.push_back(Chunk { at, assignment, records, bytes, handed: from });
        }
        Some(true)
    }

    /// All that a fetch brought of a partition is taken in.
    pub fn went_well(&mut self, asked: &Asked, end: i64, cluster: &Cluster, now: Duration) {
        if cluster.has_ids {
            self.catalog.topic_served(cluster.parts[asked.at].name.topic(), asked.topic);
        }
        if self.stands(asked) {
            self.change(asked.at, cluster, now, |cursor, _| cursor.fetch_succeeded(Some(end)));
        }
    }

    /// What the answer says of the leader that is known.
    pub fn doubt(&mut self, asked: &Asked, code: ErrorCode, cluster: &Cluster) {
        let is_doubtful = matches!(
            code,
            ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::UNKNOWN_LEADER_EPOCH | ErrorCode::UNKNOWN_TOPIC_ID
        );
        if is_doubtful {
            let name = &cluster.parts[asked.at].name;
            self.catalog.leader_refused(name.topic(), name.number());
            self.catalog.topic_refused(name.topic(), asked.topic, code);
        }
    }

    // ---- polls ---------------------------------------------------------------------------------------------

    pub fn poll(&mut self, want: PollLimit, cluster: &Cluster) -> Option<Polled> {
        if let Some((_, news)) = self.news.pop_front() {
            return Some(news);
        }
        if want.records > 0 {
            let records = self.take(want, cluster);
            if !records.is_empty() {
                return Some(Polled::Records(records));
            }
        }
        if self.chunks.is_empty() {
            let passed: Vec<Position> = self
                .cursors
                .iter_mut()
                .filter_map(|(at, cursor)| {
                    let next = Offset(cursor.skipped()?);
                    Some(Position { partition: cluster.parts[*at].name.clone(), next })
                })
                .collect();
            if !passed.is_empty() {
                return Some(Polled::Skipped(passed));
            }
        }
        // A cursor that does not know yet what became of its log is not at its end.
        let is_through = |(at, cursor): (&usize, &Cursor)| {
            let (part, log) = (&cluster.parts[*at], cluster.log(*at));
            let leader = part.leader.map(|leader| (leader, log.epoch()));
            let is_same = cursor.topic() == log.topic && cursor.leader() == leader;
            is_same && *cursor.phase() == Phase::Reading && cursor.next() == log.end
        };
        let is_settled = self.chunks.is_empty() && self.cursors.len() == cluster.parts.len();
        let has_ended = cluster.is_ending && want.records > 0 && is_settled;
        (has_ended && self.cursors.iter().all(is_through)).then_some(Polled::End)
    }

    fn wants(&self, chunk: &Chunk) -> bool {
        let is_leaving = |cursor: &Cursor| matches!(cursor.phase(), Phase::Revoked | Phase::Stopped);
        let cursor = self.cursors.get(&chunk.at);
        cursor.is_some_and(|cursor| cursor.assignment() == chunk.assignment && !is_leaving(cursor))
    }

    fn take(&mut self, want: PollLimit, cluster: &Cluster) -> Vec<Record> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        self.turn += 1;
        while taken.len() < want.records && (bytes < want.bytes || taken.is_empty()) {
            let is_held = |chunk: &Chunk| self.cursors.get(&chunk.at).is_some_and(Cursor::is_throttled);
            let Some(place) = self.chunks.iter().position(|chunk| !is_held(chunk)) else { break };
            let Some(mut chunk) = self.chunks.remove(place) else { break };
            if !self.wants(&chunk) {
                self.bytes -= chunk.bytes;
                continue;
            }
            self.repeat(&chunk, want, cluster, &mut taken);
            while taken.len() < want.records && (bytes < want.bytes || taken.is_empty()) {
                let Some(number) = chunk.records.pop_front() else { break };
                let entry = &cluster.logs.entries[number];
                let record = entry.record(&cluster.parts[chunk.at].name, number);
                bytes += record.weight();
                chunk.handed = entry.offset + 1;
                taken.push(record);
                self.remember(&chunk, number);
            }
            if !chunk.records.is_empty() {
                self.chunks.push_front(chunk);
                break;
            }
            self.bytes -= chunk.bytes;
            if let Some(cursor) = self.cursors.get_mut(&chunk.at) {
                cursor.handed_to(chunk.handed);
            }
            if self.one_partition_a_poll {
                break;
            }
        }
        taken
    }

    /// A source may bring again what it has brought.
    fn repeat(&self, chunk: &Chunk, want: PollLimit, cluster: &Cluster, taken: &mut Vec<Record>) {
        let Some((_, recent)) = self.recent.get(&chunk.at).filter(|(of, _)| *of == chunk.assignment) else {
            return;
        };
        if self.repeats && self.turn.is_multiple_of(5) && taken.is_empty() {
            let name = &cluster.parts[chunk.at].name;
            let again = recent.iter().map(|number| cluster.logs.entries[*number].record(name, *number));
            taken.extend(again.take(want.records));
        }
    }

    fn remember(&mut self, chunk: &Chunk, number: usize) {
        if !self.repeats {
            return;
        }
        let (of, recent) = self.recent.entry(chunk.at).or_default();
        if *of != chunk.assignment {
            (*of, *recent) = (chunk.assignment, VecDeque::new());
        }
        recent.push_back(number);
        if recent.len() > 2 {
            recent.pop_front();
        }
    }

    // ---- commits -------------------------------------------------------------------------------------------

    /// Whether the partition has been ours since this checkpoint was made, and its log the same.
    pub fn is_current(&self, at: usize, checkpoint: &Checkpoint) -> bool {
        let cursor = self.cursors.get(&at);
        cursor.is_some_and(|cursor| cursor.is_announced() && cursor.assignment() == checkpoint.assignment)
    }

    /// A position as it is committed, if it still is ours to commit.
    pub fn entry(&self, at: usize, checkpoint: &Checkpoint) -> Option<Entry> {
        let cursor = self.cursors.get(&at).filter(|_| self.is_current(at, checkpoint))?;
        let Checkpoint { position, metadata, reach, assignment } = checkpoint;
        let next = position.next.0;
        let reach = reach.0.max(next);
        let note = Note {
            topic: cursor.topic(),
            cluster: CLUSTER.into(),
            position: next,
            reach,
            epoch: cursor.epoch_before(reach),
            text: metadata.clone(),
        };
        let stored = Stored { next, epoch: cursor.epoch_before(next), metadata: note.encode() };
        Some(Entry { at, topic: cursor.topic(), assignment: *assignment, stored })
    }
}

/// The fetchers, one a broker.
impl Consumer {
    /// The call of this number is over; gives the broker that it was made to.
    pub fn no_longer_asks(&mut self, token: u64) -> Option<i32> {
        let is_its =
            |(_, fetcher): &(&i32, &mut Fetcher)| matches!(fetcher, Fetcher::Asks(of) if *of == token);
        let (broker, fetcher) = self.fetchers.iter_mut().find(is_its)?;
        *fetcher = Fetcher::Idle;
        Some(*broker)
    }

    /// Takes in what a fetcher has brought, as far as there is room. Says whether that was all.
    pub fn takes_in(&mut self, broker: i32, cluster: &Cluster, now: Duration) -> bool {
        let Some(Fetcher::Takes(mut queue)) = self.fetchers.insert(broker, Fetcher::Idle) else {
            return true;
        };
        while let Some(mut fetched) = queue.pop_front() {
            let mut is_wanted = true;
            while let Some(batch) = fetched.batches.front().filter(|_| is_wanted) {
                match self.take_in(&mut fetched.asked, batch, &cluster.logs) {
                    Some(wanted) => {
                        is_wanted = wanted;
                        fetched.batches.pop_front();
                    }
                    None => {
                        queue.push_front(fetched);
                        self.fetchers.insert(broker, Fetcher::Takes(queue));
                        return false;
                    }
                }
            }
            if is_wanted {
                self.went_well(&fetched.asked, fetched.end, cluster, now);
            }
        }
        true
    }
}
