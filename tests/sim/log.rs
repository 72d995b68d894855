//! The logs of partitions as their leaders have them: records with the epochs that they were written under, holes,
//! cuts, retention. Each record has a number of its own, whatever its offset, so that one of a log is never taken for
//! one of another.

use crate::leader_epochs::LeaderEpochs;
use crate::receiver::Reply;
use sluicegate::kafka::consumer::cursor::EpochEnd;
use sluicegate::kafka::protocol::Uuid;
use sluicegate::record::{Offset, Partition, Record};
use std::collections::HashMap;
use std::time::Duration;

/// One record as it was written, and whether it is done: accepted, kept as a dead letter, or dropped.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which log it was written to.
    pub log: usize,
    pub offset: i64,
    pub epoch: i32,
    pub key: Option<u8>,
    pub size: usize,
    pub poison: Option<Reply>,
    /// It has no value.
    pub is_tombstone: bool,
    pub appended: Duration,
    pub is_done: bool,
    pub done_at: Duration,
    /// Its log has lost it: cut off by an election, or deleted by retention.
    pub is_gone: bool,
}

impl Entry {
    /// The number travels as the timestamp, so that a record tells which one it is.
    pub fn record(&self, name: &Partition, number: usize) -> Record {
        let key = self.key.map(|key| [key]);
        let value = vec![b'v'; self.size];
        let key = key.as_ref().map(<[u8; 1]>::as_slice);
        let value = Some(value.as_slice()).filter(|_| !self.is_tombstone);
        Record::new(name.clone(), Offset(self.offset), number as i64, key, value)
    }
}

/// Which entry a record is.
pub fn number(record: &Record) -> usize {
    record.timestamp() as usize
}

/// A log before it was restored from a backup.
#[derive(Clone, Debug)]
pub struct Former {
    pub epochs: LeaderEpochs,
    pub end: i64,
    /// Where the backup ended.
    pub cut: i64,
}

/// The log of a partition. A topic that is made anew has another one.
#[derive(Debug)]
pub struct Log {
    /// The id of its topic.
    pub topic: Uuid,
    /// Which partition it is, or was, the log of.
    pub partition: usize,
    pub start: i64,
    pub end: i64,
    pub epochs: LeaderEpochs,
    /// The numbers of its records, by offset.
    pub records: Vec<usize>,
    /// It was restored from a backup.
    pub is_restored: bool,
    /// What it was before it was restored without its end.
    pub former: Option<Former>,
    /// How often it lost its end.
    pub cuts: u32,
    /// Its topic was deleted.
    pub is_deleted: bool,
    /// The first of its records that is not done.
    pub first_open: usize,
    /// Of each key its records, and how many of the first are done.
    pub keys: HashMap<u8, (Vec<usize>, usize)>,
}

impl Log {
    pub fn new(topic: Uuid, partition: usize) -> Self {
        Self {
            topic,
            partition,
            start: 0,
            end: 0,
            epochs: LeaderEpochs::beginning(0, 0),
            records: Vec::new(),
            is_restored: false,
            former: None,
            cuts: 0,
            is_deleted: false,
            first_open: 0,
            keys: HashMap::new(),
        }
    }

    pub fn epoch(&self) -> i32 {
        self.epochs.last()
    }

    /// Under which epoch what lies at this offset was written.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        self.epochs.at(offset)
    }

    /// Whether nobody can tell that what lies here is not what was there before the log was restored: the same epochs
    /// were given to both.
    pub fn is_mistakable(&self, offset: i64) -> bool {
        self.former.as_ref().is_some_and(|former| {
            (former.cut..former.epochs.written_up_to(self.epoch(), former.end)).contains(&offset)
        })
    }

    /// As a broker's cache of leader epochs answers.
    pub fn epoch_end(&self, asked: i32) -> EpochEnd {
        self.epochs.end_of(asked, self.end)
    }
}

/// All logs there are and were, and all records that were ever written.
#[derive(Debug, Default)]
pub struct Logs {
    pub entries: Vec<Entry>,
    pub logs: Vec<Log>,
}

impl Logs {
    /// A new log without a record; gives its number.
    pub fn add(&mut self, partition: usize, has_ids: bool) -> usize {
        let number = self.logs.len();
        let topic = if has_ids { Uuid([number as u8 + 1; 16]) } else { Uuid::ZERO };
        self.logs.push(Log::new(topic, partition));
        number
    }

    /// Where in its log a record lies; `None` once it is gone.
    pub fn place(&self, number: usize) -> Option<usize> {
        let entry = &self.entries[number];
        let log = &self.logs[entry.log];
        let entries = &self.entries;
        let place = log.records.binary_search_by_key(&entry.offset, |number| entries[*number].offset).ok()?;
        (log.records[place] == number).then_some(place)
    }

    pub fn append(&mut self, log: usize, entry: Entry, hole: i64) {
        let of = &mut self.logs[log];
        let (number, place) = (self.entries.len(), of.records.len());
        of.end += hole;
        if let Some(key) = entry.key {
            of.keys.entry(key).or_default().0.push(place);
        }
        let (offset, epoch) = (of.end, of.epoch());
        let (is_done, now) = (entry.is_done || of.is_mistakable(offset), entry.appended);
        of.end += 1;
        of.records.push(number);
        self.entries.push(Entry { log, offset, epoch, is_done: false, ..entry });
        if is_done {
            self.done(number, now);
        }
    }

    pub fn done(&mut self, number: usize, now: Duration) {
        let entry = &mut self.entries[number];
        if std::mem::replace(&mut entry.is_done, true) {
            return;
        }
        entry.done_at = now;
        let (key, log) = (entry.key, entry.log);
        let Self { entries, logs } = self;
        logs[log].look_on(entries, key);
    }

    /// The offset before which everything is done.
    pub fn done_before(&self, log: usize) -> i64 {
        let log = &self.logs[log];
        log.records.get(log.first_open).map_or(log.end, |number| self.entries[*number].offset)
    }

    /// The records of a log from this offset on.
    pub fn from(&self, log: usize, offset: i64) -> &[usize] {
        let records = &self.logs[log].records;
        &records[records.partition_point(|number| self.entries[*number].offset < offset)..]
    }

    /// Another replica leads, which has no more than what lies before `cut`.
    pub fn elect(&mut self, log: usize, cut: i64, epoch: i32) {
        self.cut(log, cut);
        self.logs[log].epochs.elect(epoch, cut);
        let is_mistakable = |number: &usize| self.logs[log].is_mistakable(self.entries[*number].offset);
        let mistakable: Vec<usize> = self.logs[log].records.iter().copied().filter(is_mistakable).collect();
        for number in mistakable {
            let appended = self.entries[number].appended;
            self.done(number, appended);
        }
    }

    fn cut(&mut self, log: usize, cut: i64) {
        let kept = self.logs[log].records.len() - self.from(log, cut).len();
        let of = &mut self.logs[log];
        for number in of.records.drain(kept..) {
            self.entries[number].is_gone = true;
        }
        of.cuts += u32::from(cut < of.end);
        of.end = cut;
        self.index(log);
    }

    /// The cluster is restored from a backup that ends at `cut`; its leader goes on under this epoch.
    pub fn restore(&mut self, log: usize, cut: i64, epoch: i32) {
        let of = &mut self.logs[log];
        of.former = Some(Former { epochs: of.epochs.clone(), end: of.end, cut });
        of.is_restored = true;
        of.epochs.restore(epoch, cut);
        self.cut(log, cut);
    }

    /// The leaders' epochs begin anew, as where all but the logs was lost; its records are the same.
    pub fn forget_epochs(&mut self, log: usize, epoch: i32) {
        let of = &mut self.logs[log];
        of.is_restored = true;
        of.epochs = LeaderEpochs::beginning(epoch, of.start);
        for number in &of.records {
            self.entries[*number].epoch = epoch;
        }
    }

    pub fn delete_up_to(&mut self, log: usize, start: i64) {
        let gone = self.logs[log].records.len() - self.from(log, start).len();
        let of = &mut self.logs[log];
        for number in of.records.drain(..gone) {
            self.entries[number].is_gone = true;
        }
        of.start = start;
        of.epochs.delete_up_to(start);
        self.index(log);
    }

    /// Counts anew what is done, after records are gone.
    fn index(&mut self, log: usize) {
        let Self { entries, logs } = self;
        let log = &mut logs[log];
        (log.first_open, log.keys) = (0, HashMap::new());
        for (place, number) in log.records.iter().enumerate() {
            if let Some(key) = entries[*number].key {
                log.keys.entry(key).or_default().0.push(place);
            }
        }
        let keys: Vec<u8> = log.keys.keys().copied().collect();
        log.look_on(entries, None);
        keys.into_iter().for_each(|key| log.look_on(entries, Some(key)));
    }
}

impl Log {
    /// Moves behind what is done.
    fn look_on(&mut self, entries: &[Entry], key: Option<u8>) {
        let Self { records, first_open, keys, .. } = self;
        let is_done = |place: usize| records.get(place).is_some_and(|number| entries[*number].is_done);
        while is_done(*first_open) {
            *first_open += 1;
        }
        if let Some((list, done)) = key.and_then(|key| keys.get_mut(&key)) {
            while list.get(*done).is_some_and(|place| is_done(*place)) {
                *done += 1;
            }
        }
    }
}
