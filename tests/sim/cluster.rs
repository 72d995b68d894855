//! The brokers: topics with their ids, who leads which partition, which brokers hang, what is committed; and what they
//! answer. Not all of them know of every change at once.

use crate::dice::Dice;
use crate::log::{Entry, Log, Logs};
use crate::trace::trace;
use sluicegate::kafka::consumer::cursor::{Bounds, Committed, EpochEnd};
use sluicegate::kafka::consumer::note::Note;
use sluicegate::kafka::protocol::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use sluicegate::record::{Offset, Partition};
use sluicegate::relay::offset_runs;
use std::collections::VecDeque;
use std::time::Duration;

pub const BROKERS: i32 = 3;
/// What the cluster is called in notes.
pub const CLUSTER: &str = "sim";
/// For so long a broker may not know of a change.
const LAGS: Duration = Duration::from_secs(3);
/// So many records a batch.
const BATCH: usize = 4;
/// So many batches of a partition an answer.
const MOST_BATCHES: usize = 4;

/// What the coordinator keeps of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub next: i64,
    pub epoch: i32,
    pub metadata: String,
}

#[derive(Debug)]
pub struct Part {
    pub name: Partition,
    pub topic: usize,
    pub log: usize,
    /// Who leads it; between two leaders there may be none for a while.
    pub leader: Option<i32>,
    pub committed: Option<Stored>,
    pub committed_at: Duration,
}

/// A batch as a broker sends it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The numbers of its records; none for a transaction's marker.
    pub records: Vec<usize>,
    pub first: i64,
    pub next: i64,
    pub epoch: i32,
}

/// What a fetch brings of a partition: batches, and where the log ends; or why there are none.
pub type Found = Result<(Vec<Batch>, i64), ErrorCode>;

/// What a broker knows of a topic: its id, and of each partition the leader and its epoch.
pub type Known = (Uuid, Vec<(Option<i32>, i32)>);

#[derive(Debug)]
pub struct Cluster {
    pub parts: Vec<Part>,
    pub logs: Logs,
    pub has_ids: bool,
    /// Until when each broker answers nothing.
    pub hangs: [Duration; BROKERS as usize],
    /// The broker that coordinates the group.
    pub coordinator: i32,
    /// Nothing more is appended, and polls say so.
    pub is_ending: bool,
    topics: usize,
    /// What there was to know, since when; the newest last.
    known: VecDeque<(Duration, Vec<Known>)>,
}

fn topic_name(topic: usize) -> String {
    format!("t{topic}")
}

impl Cluster {
    pub fn new(partitions: usize, topics: usize, has_ids: bool, dice: &mut Dice) -> Self {
        let mut cluster = Self {
            parts: Vec::new(),
            logs: Logs::default(),
            has_ids,
            hangs: [Duration::ZERO; BROKERS as usize],
            coordinator: 0,
            is_ending: false,
            topics: topics.min(partitions),
            known: VecDeque::new(),
        };
        for at in 0..partitions {
            cluster.add_partition(at % cluster.topics, dice);
        }
        cluster.changed(Duration::ZERO);
        cluster
    }

    fn add_partition(&mut self, topic: usize, dice: &mut Dice) {
        let at = self.parts.len();
        let number = self.parts.iter().filter(|part| part.topic == topic).count() as i32;
        // All partitions of a topic have its id.
        let sibling = self.parts.iter().find(|part| part.topic == topic).map(|part| part.log);
        let log = self.logs.add(at, self.has_ids);
        if let Some(sibling) = sibling {
            self.logs.logs[log].topic = self.logs.logs[sibling].topic;
        }
        self.parts.push(Part {
            name: Partition::new(topic_name(topic), number),
            topic,
            log,
            leader: Some(dice.below(BROKERS as usize) as i32),
            committed: None,
            committed_at: Duration::ZERO,
        });
    }

    pub fn at(&self, name: &Partition) -> usize {
        let at = self.parts.iter().position(|part| part.name == *name);
        at.unwrap_or_else(|| panic!("{name} is no partition of the model"))
    }

    pub fn log(&self, at: usize) -> &Log {
        &self.logs.logs[self.parts[at].log]
    }

    pub fn append(&mut self, at: usize, entry: Entry, hole: i64) {
        self.logs.append(self.parts[at].log, entry, hole);
    }

    /// A hole behind the last record: a transaction's marker.
    pub fn marker(&mut self, at: usize) {
        self.logs.logs[self.parts[at].log].end += 1;
    }

    // ---- changes -------------------------------------------------------------------------------------------

    fn changed(&mut self, now: Duration) {
        let known = (0..self.topics).map(|topic| {
            let of_it = self.parts.iter().filter(|part| part.topic == topic);
            let leaders = of_it.clone().map(|part| (part.leader, self.logs.logs[part.log].epoch()));
            let id = of_it.clone().next().map_or(Uuid::ZERO, |part| self.logs.logs[part.log].topic);
            (id, leaders.collect())
        });
        self.known.push_back((now, known.collect()));
        while self.known.len() > 1 && self.known[1].0 + LAGS < now {
            self.known.pop_front();
        }
    }

    /// Another leader, with all of the log or without its end.
    pub fn elect(&mut self, at: usize, is_unclean: bool, now: Duration, dice: &mut Dice) {
        let log = self.parts[at].log;
        let of = &mut self.logs.logs[log];
        // An epoch that was given twice ends elsewhere than the first time, or nobody could tell.
        while of.former.as_ref().is_some_and(|former| former.epochs.begins_near(of.end)) {
            of.end += 1;
        }
        let (start, end) = (of.start, of.end);
        let cut = if is_unclean { end - dice.below((end - start).min(12) as usize + 1) as i64 } else { end };
        let epoch = self.logs.logs[log].epoch() + dice.between(1, 2) as i32;
        self.logs.elect(log, cut, epoch);
        self.parts[at].leader = Some(dice.below(BROKERS as usize) as i32);
        trace!(
            now,
            "{}: {:?} leads, epoch {epoch}, from {cut} of {end} on",
            self.parts[at].name,
            self.parts[at].leader
        );
        self.changed(now);
    }

    pub fn leaderless(&mut self, at: usize, now: Duration) {
        self.parts[at].leader = None;
        self.changed(now);
    }

    /// The epochs of the leaders go back, and mostly the log, too. Gives how many offsets were lost.
    pub fn restore(&mut self, at: usize, now: Duration, dice: &mut Dice) -> i64 {
        let number = self.parts[at].log;
        let log = &self.logs.logs[number];
        if log.former.is_some() {
            return 0;
        }
        let ((newest, from), end) = (log.epochs.newest(), log.end);
        let cut = log.start + dice.below((from - log.start) as usize + 1) as i64;
        let backed_up = log.epoch_at(cut - 1).max(0);
        let cuts = !log.is_restored && backed_up < newest && dice.chance(80);
        let epoch = if cuts {
            // What was backed up last goes on, or elections followed.
            let epoch = dice.between(backed_up as usize, newest as usize - 1) as i32;
            self.logs.restore(number, cut, epoch);
            epoch
        } else {
            let epoch = dice.below(newest as usize + 1) as i32;
            self.logs.forget_epochs(number, epoch);
            epoch
        };
        self.parts[at].leader = Some(dice.below(BROKERS as usize) as i32);
        let kept = self.logs.logs[number].end;
        trace!(now, "{}: restored up to {kept} of {end}, epoch {epoch}", self.parts[at].name);
        self.changed(now);
        end - kept
    }

    pub fn retention(&mut self, at: usize, now: Duration, dice: &mut Dice) {
        let log = self.parts[at].log;
        let (start, end) = (self.logs.logs[log].start, self.logs.logs[log].end);
        let start = start + dice.below((end - start) as usize + 1) as i64;
        self.logs.delete_up_to(log, start);
        trace!(now, "{}: begins at {start} of {end}", self.parts[at].name);
    }

    /// The topic is deleted and made anew. Gives its partitions.
    pub fn recreate(&mut self, topic: usize, now: Duration, dice: &mut Dice) -> Vec<usize> {
        let of_it: Vec<usize> =
            (0..self.parts.len()).filter(|at| self.parts[*at].topic == topic % self.topics).collect();
        // Kafka deletes the positions with the topic, if a while later, and only where the coordinator is there.
        let forgets = dice.chance(50);
        let mut id = None;
        for at in &of_it {
            let part = &mut self.parts[*at];
            self.logs.logs[part.log].is_deleted = true;
            part.log = self.logs.add(*at, self.has_ids);
            part.leader = Some(dice.below(BROKERS as usize) as i32);
            let log = &mut self.logs.logs[part.log];
            log.topic = *id.get_or_insert(log.topic);
            if forgets {
                part.committed = None;
            }
            for _ in 0..dice.below(3) {
                let epoch = self.logs.logs[part.log].epoch() + 1;
                self.logs.elect(part.log, 0, epoch);
            }
        }
        trace!(now, "topic {topic} is made anew, positions forgotten: {forgets}");
        self.changed(now);
        of_it
    }

    /// The topic gets one more partition; gives its place.
    pub fn grow(&mut self, topic: usize, now: Duration, dice: &mut Dice) -> usize {
        self.add_partition(topic % self.topics, dice);
        self.changed(now);
        self.parts.len() - 1
    }

    // ---- answers -------------------------------------------------------------------------------------------

    /// What a broker knows of the brokers and topics, perhaps as it was a while ago.
    pub fn metadata(&self, lags: bool) -> Vec<Known> {
        let newest = &self.known[self.known.len() - 1].1;
        let before = self.known.len().checked_sub(2).filter(|_| lags).map(|at| &self.known[at].1);
        before.unwrap_or(newest).clone()
    }

    /// Whether this broker leads the partition in this epoch, of this topic if it is asked for by its id.
    pub fn refusal(&self, at: usize, broker: i32, topic: Option<Uuid>, epoch: i32) -> Option<ErrorCode> {
        let (part, log) = (&self.parts[at], self.log(at));
        if self.has_ids && topic.is_some_and(|topic| topic != log.topic) {
            return Some(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        match log.epoch() {
            _ if part.leader != Some(broker) => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            current if epoch < current => Some(ErrorCode::FENCED_LEADER_EPOCH),
            current if epoch > current => Some(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ => None,
        }
    }

    pub fn bounds(&self, at: usize) -> Bounds {
        let log = self.log(at);
        Bounds { first: log.start, end: log.end, at: None }
    }

    pub fn epoch_end(&self, at: usize, asked: i32) -> EpochEnd {
        self.log(at).epoch_end(asked)
    }

    /// The next batches from this offset on, or why there are none.
    pub fn batches(&self, at: usize, from: i64) -> Result<Vec<Batch>, ErrorCode> {
        let log = self.log(at);
        if !(log.start..=log.end).contains(&from) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let entries = &self.logs.entries;
        let mut batches: Vec<Batch> = Vec::new();
        let mut next = from;
        for number in self.logs.from(self.parts[at].log, from) {
            let Entry { offset, epoch, .. } = entries[*number];
            let count = batches.len();
            let is_of = |batch: &&mut Batch| batch.epoch == epoch && batch.records.len() < BATCH;
            match batches.last_mut().filter(is_of) {
                Some(batch) => {
                    batch.records.push(*number);
                    batch.next = offset + 1;
                }
                None if count >= MOST_BATCHES => return Ok(batches),
                None => {
                    let (records, next) = (vec![*number], offset + 1);
                    batches.push(Batch { records, first: offset, next, epoch });
                }
            }
            next = offset + 1;
        }
        if next < log.end {
            let epoch = log.epoch_at(next);
            batches.push(Batch { records: Vec::new(), first: next, next: log.end, epoch });
        }
        Ok(batches)
    }

    pub fn committed(&self, at: usize) -> Option<Committed> {
        let Stored { next, epoch, metadata } = self.parts[at].committed.clone()?;
        Some(Committed { next, epoch, note: Note::decode(&metadata) })
    }

    // ---- other members of the group ------------------------------------------------------------------------

    /// Another member delivers some records, and commits; with a note where it writes any.
    pub fn other_works(&mut self, at: usize, writes_notes: bool, now: Duration, dice: &mut Dice) {
        let (next, known) = self.other_begins(at);
        let number = self.parts[at].log;
        let most = dice.below(4);
        let mut after = next;
        let pending: Vec<usize> = self.logs.from(number, next).iter().copied().take(most).collect();
        for record in pending {
            if self.logs.entries[record].poison.is_some() {
                break;
            }
            self.logs.done(record, now);
            after = self.logs.entries[record].offset + 1;
        }
        let known: Vec<_> = known.into_iter().filter(|run| run.end > after).collect();
        for run in &known {
            if run.contains(&after) {
                after = run.end;
            }
        }
        let runs: Vec<_> = known.into_iter().filter(|run| run.start >= after).collect();
        let reach = runs.last().map_or(after, |run| run.end);
        let log = &self.logs.logs[number];
        let note = Note {
            topic: log.topic,
            cluster: CLUSTER.into(),
            position: after,
            reach,
            epoch: log.epoch_at(reach - 1),
            text: offset_runs::encode(Offset(after), runs),
        };
        let epoch = log.epoch_at(after - 1);
        let metadata = if writes_notes { note.encode() } else { String::new() };
        trace!(now, "another member commits {}@{after} {metadata:?}", self.parts[at].name);
        self.parts[at].committed = Some(Stored { next: after, epoch, metadata });
        self.parts[at].committed_at = now;
    }

    /// Where another member, which makes no mistakes, begins, and what it knows to be done beyond.
    fn other_begins(&self, at: usize) -> (i64, Vec<std::ops::Range<i64>>) {
        let log = self.log(at);
        let Some(Stored { next, epoch, metadata }) = self.parts[at].committed.clone() else {
            return (log.start, Vec::new());
        };
        let note = Note::decode(&metadata).unwrap_or_default();
        if note.topic != Uuid::ZERO && note.topic != log.topic {
            return (log.start, Vec::new());
        }
        if epoch > log.epoch() || note.epoch > log.epoch() {
            // The epochs went backwards.
            return (log.start, Vec::new());
        }
        let end_of = |epoch: i32| match log.epoch_end(epoch) {
            EpochEnd::At { end, .. } if epoch >= 0 => end,
            _ => log.end,
        };
        let next = next.min(end_of(epoch)).clamp(log.start, log.end);
        let is_whole = note.position == next && note.reach <= end_of(note.epoch);
        let known = if is_whole { offset_runs::decode(Offset(next), &note.text) } else { Vec::new() };
        (next, known)
    }
}

/// What a broker knows, as a metadata answer.
pub fn answer<'a>(known: &[Known], names: &'a [String]) -> MetadataResponse<'a> {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: "broker",
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    let topic = |((topic_id, leaders), name): (&Known, &'a String)| MetadataResponseTopic {
        name: Some(name),
        topic_id: *topic_id,
        partitions: (0..)
            .zip(leaders)
            .map(|(partition_index, (leader, leader_epoch))| MetadataResponsePartition {
                partition_index,
                leader_id: leader.unwrap_or(-1),
                leader_epoch: *leader_epoch,
                ..MetadataResponsePartition::default()
            })
            .collect(),
        ..MetadataResponseTopic::default()
    };
    MetadataResponse {
        brokers: (0..BROKERS).map(broker).collect(),
        cluster_id: Some(CLUSTER),
        topics: known.iter().zip(names).map(topic).collect(),
        ..MetadataResponse::default()
    }
}

pub fn names(topics: usize) -> Vec<String> {
    (0..topics).map(topic_name).collect()
}
