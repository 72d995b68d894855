//! The topic, the group and its coordinator, as a source sees them: logs, who owns which partition, what is committed.

use crate::dice::Dice;
use crate::receiver::Reply;
use crate::trace::trace;
use sluicegate::record::{Checkpoint, Offset, Partition, Position, Record};
use sluicegate::relay::lease::Lease;
use sluicegate::relay::offset_runs;
use sluicegate::relay::source::{Assigned, PollLimit, Polled};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// One record as it lies in a log, and whether it is done: accepted, kept as a dead letter, or dropped.
#[derive(Debug)]
pub struct Entry {
    pub offset: i64,
    pub key: Option<u8>,
    pub size: usize,
    pub poison: Option<Reply>,
    /// It has no value.
    pub is_tombstone: bool,
    pub appended: Duration,
    pub is_done: bool,
    pub done_at: Duration,
}

/// The log of a partition. A topic that is made anew has another one.
#[derive(Debug, Default)]
pub struct Log {
    pub partition: usize,
    pub entries: Vec<Entry>,
    pub end: i64,
    /// The first entry that is not done.
    pub first_open: usize,
    /// Of each key its entries, and how many of the first are done.
    pub keys: HashMap<u8, (Vec<usize>, usize)>,
}

impl Log {
    pub fn at(&self, offset: i64) -> Option<usize> {
        self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()
    }

    pub fn done(&mut self, at: usize, now: Duration) {
        let entry = &mut self.entries[at];
        if std::mem::replace(&mut entry.is_done, true) {
            return;
        }
        entry.done_at = now;
        while self.entries.get(self.first_open).is_some_and(|entry| entry.is_done) {
            self.first_open += 1;
        }
        if let Some((list, done)) = self.entries[at].key.and_then(|key| self.keys.get_mut(&key)) {
            while list.get(*done).is_some_and(|at| self.entries[*at].is_done) {
                *done += 1;
            }
        }
    }

    /// The offset before which everything is done.
    pub fn done_before(&self) -> i64 {
        self.entries.get(self.first_open).map_or(self.end, |entry| entry.offset)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody; ours after a rebalance.
    Nobody,
    Us,
    /// Ours until it is released, or until then.
    Revoking(Duration),
    /// Another member of the group.
    Other,
}

#[derive(Debug)]
pub struct Part {
    pub name: Partition,
    pub log: usize,
    pub owner: Owner,
    pub assignment: u64,
    pub committed: Option<(i64, String)>,
    pub committed_at: Duration,
    cursor: i64,
    passed: i64,
    start: i64,
}

#[derive(Debug)]
pub struct Cluster {
    pub parts: Vec<Part>,
    pub logs: Vec<Log>,
    /// What polls will bring before records, and since when.
    pub news: VecDeque<(Duration, Polled)>,
    pub throttled: Vec<Partition>,
    pub outage_since: Option<Instant>,
    pub lease: Lease,
    pub next_assignment: u64,
    /// Nothing more is appended, and polls say so.
    pub is_ending: bool,
    pub one_partition_a_poll: bool,
    /// Polls bring records again that they brought before.
    pub repeats: bool,
    turn: usize,
}

impl Cluster {
    pub fn new(partitions: usize, one_partition_a_poll: bool) -> Self {
        let part = |number: usize| Part {
            name: Partition::new("t", number as i32),
            log: number,
            owner: Owner::Nobody,
            assignment: 0,
            committed: None,
            committed_at: Duration::ZERO,
            cursor: 0,
            passed: 0,
            start: 0,
        };
        Self {
            parts: (0..partitions).map(part).collect(),
            logs: (0..partitions).map(|partition| Log { partition, ..Log::default() }).collect(),
            news: VecDeque::new(),
            throttled: Vec::new(),
            outage_since: None,
            lease: Lease::unlimited(),
            next_assignment: 1,
            is_ending: false,
            one_partition_a_poll,
            repeats: false,
            turn: 0,
        }
    }

    pub fn append(&mut self, partition: usize, entry: Entry, hole: i64) {
        let log = &mut self.logs[self.parts[partition].log];
        let at = log.entries.len();
        log.end += hole;
        if let Some(key) = entry.key {
            log.keys.entry(key).or_default().0.push(at);
        }
        let is_done = entry.is_done;
        log.entries.push(Entry { offset: log.end, is_done: false, ..entry });
        log.end += 1;
        if is_done {
            log.done(at, Duration::ZERO);
        }
    }

    /// A hole behind the last record: a transaction's marker.
    pub fn marker(&mut self, partition: usize) {
        self.logs[self.parts[partition].log].end += 1;
    }

    // ---- the group -----------------------------------------------------------------------------------------

    pub fn assign(&mut self, partitions: &[usize], now: Duration) {
        let mut assigned = Vec::new();
        for at in partitions {
            let part = &mut self.parts[*at];
            part.owner = Owner::Us;
            part.assignment = self.next_assignment;
            self.next_assignment += 1;
            let uncommitted = part.committed.is_none();
            let (next, metadata) = part.committed.clone().unwrap_or_default();
            (part.cursor, part.passed, part.start) = (next, next, next);
            let position = Position { partition: part.name.clone(), next: Offset(next) };
            let checkpoint =
                Checkpoint { metadata, assignment: part.assignment, ..Checkpoint::from(position) };
            assigned.push(Assigned { checkpoint, uncommitted });
        }
        if !assigned.is_empty() {
            trace!(now, "group: assigned {assigned:?}");
            self.news.push_back((now, Polled::Assigned(assigned)));
        }
    }

    pub fn revoke(&mut self, at: usize, until: Duration, now: Duration) -> bool {
        if self.parts[at].owner != Owner::Us {
            return false;
        }
        trace!(now, "group: revokes {} until {until:?}", self.parts[at].name);
        self.parts[at].owner = Owner::Revoking(until);
        self.news.push_back((now, Polled::Revoked(vec![self.parts[at].name.clone()])));
        true
    }

    pub fn lose(&mut self, at: usize, now: Duration) -> bool {
        if !matches!(self.parts[at].owner, Owner::Us | Owner::Revoking(_)) {
            return false;
        }
        trace!(now, "group: {} is lost", self.parts[at].name);
        self.parts[at].owner = Owner::Other;
        self.news.push_back((now, Polled::Lost(vec![self.parts[at].name.clone()])));
        true
    }

    /// The relay gives it up.
    pub fn release(&mut self, name: &Partition) -> Option<usize> {
        let at = self.parts.iter().position(|part| part.name == *name)?;
        let part = &mut self.parts[at];
        let is_ours = matches!(part.owner, Owner::Revoking(_));
        if is_ours {
            part.owner = Owner::Other;
        }
        is_ours.then_some(at)
    }

    /// Another member delivers some records, and commits.
    pub fn other_works(&mut self, at: usize, now: Duration, dice: &mut Dice) {
        let part = &mut self.parts[at];
        let (next, metadata) = part.committed.clone().unwrap_or_default();
        let log = &mut self.logs[part.log];
        let known = offset_runs::decode(Offset(next), &metadata);
        let from = log.entries.partition_point(|entry| entry.offset < next);
        let until = (from + dice.below(4)).min(log.entries.len());
        let mut next = next;
        for index in from..until {
            if log.entries[index].poison.is_some() {
                break;
            }
            log.done(index, now);
            next = log.entries[index].offset + 1;
        }
        for run in &known {
            if run.contains(&next) {
                next = run.end;
            }
        }
        let runs = known.into_iter().filter(|run| run.start >= next);
        part.committed = Some((next, offset_runs::encode(Offset(next), runs)));
        trace!(now, "group: another member commits {}@{next}", part.name);
    }

    /// The topic is made anew: the partition is lost, and comes back with another log.
    pub fn recreate(&mut self, at: usize, now: Duration) {
        self.lose(at, now);
        let partition = at;
        self.parts[at].log = self.logs.len();
        self.parts[at].committed = None;
        self.logs.push(Log { partition, ..Log::default() });
        trace!(now, "group: {} is made anew", self.parts[at].name);
    }

    /// The process has left, or was given up.
    pub fn leave(&mut self) {
        for part in &mut self.parts {
            part.owner = Owner::Nobody;
        }
        self.news.clear();
        self.throttled.clear();
    }

    /// A commit arrives: of assignments that are over nothing is applied. Says whether any was left out.
    pub fn commit(&mut self, checkpoints: &[Checkpoint], now: Duration) -> bool {
        let mut left_out = false;
        for Checkpoint { position, metadata, assignment, .. } in checkpoints {
            let part = self.parts.iter_mut().find(|part| part.name == position.partition);
            let part = part.filter(|part| {
                part.assignment == *assignment && matches!(part.owner, Owner::Us | Owner::Revoking(_))
            });
            match part {
                Some(part) => {
                    part.committed = Some((position.next.0, metadata.clone()));
                    part.committed_at = now;
                }
                None => left_out = true,
            }
        }
        left_out
    }

    // ---- polls ---------------------------------------------------------------------------------------------

    pub fn poll(&mut self, want: PollLimit) -> Option<Polled> {
        if let Some((_, news)) = self.news.pop_front() {
            return Some(news);
        }
        if self.outage_since.is_some() || want.records == 0 {
            return None;
        }
        let records = self.records(want);
        if !records.is_empty() {
            return Some(Polled::Records(records));
        }
        let passed: Vec<Position> = self.parts.iter_mut().filter_map(|part| part.pass(&self.logs)).collect();
        if !passed.is_empty() {
            return Some(Polled::Skipped(passed));
        }
        let is_through = |part: &Part| part.owner == Owner::Us && part.cursor >= self.logs[part.log].end;
        (self.is_ending && self.parts.iter().all(is_through)).then_some(Polled::End)
    }

    fn records(&mut self, want: PollLimit) -> Vec<Record> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        self.turn += 1;
        for n in 0..self.parts.len() {
            let at = (self.turn + n) % self.parts.len();
            let part = &mut self.parts[at];
            if part.owner != Owner::Us || self.throttled.contains(&part.name) {
                continue;
            }
            let log = &self.logs[part.log];
            let mut from = log.entries.partition_point(|entry| entry.offset < part.cursor);
            let is_first = from.checked_sub(2).is_none_or(|at| log.entries[at].offset < part.start);
            if self.repeats && !is_first && self.turn.is_multiple_of(5) && from < log.entries.len() {
                from -= 2;
            }
            for entry in &log.entries[from..] {
                let record = entry.record(&part.name, part.log);
                let fits = records.len() < want.records
                    && (records.is_empty() || bytes + record.weight() <= want.bytes);
                if !fits {
                    return records;
                }
                bytes += record.weight();
                part.cursor = part.cursor.max(entry.offset + 1);
                records.push(record);
            }
            if self.one_partition_a_poll && !records.is_empty() {
                break;
            }
        }
        records
    }
}

impl Part {
    /// Behind the last record there may be a hole.
    fn pass(&mut self, logs: &[Log]) -> Option<Position> {
        let log = &logs[self.log];
        let is_behind_all = log.entries.last().is_none_or(|last| last.offset < self.cursor);
        if self.owner != Owner::Us || !is_behind_all || self.cursor >= log.end || self.passed >= log.end {
            return None;
        }
        (self.cursor, self.passed) = (log.end, log.end);
        Some(Position { partition: self.name.clone(), next: Offset(log.end) })
    }
}

impl Entry {
    /// The log's number travels as the timestamp, so that a record tells which log it is of.
    fn record(&self, name: &Partition, log: usize) -> Record {
        let key = self.key.map(|key| [key]);
        let value = vec![b'v'; self.size];
        let key = key.as_ref().map(<[u8; 1]>::as_slice);
        let value = Some(value.as_slice()).filter(|_| !self.is_tombstone);
        Record::new(name.clone(), Offset(self.offset), log as i64, key, value)
    }
}
