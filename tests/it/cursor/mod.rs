//! A partition's cursor against a model of its log: thousands of random schedules, each from a seed.
//!
//! The log grows, is cut by retention and by unclean elections, is restored from a backup, and its topic is deleted and
//! made anew. Answers come late, requests fail, the process is killed and starts again from what is committed. Each
//! record has a number of its own, whatever its offset, so that a record of one log is never taken for one of another.
//!
//! Held at each step: what is known to be done of a log was done of that very log. Held at the end, once the faults
//! have stopped: each record of the log as it is then was sent, and the group's position is at its end.

mod divergence;
mod log;
mod trouble;

use crate::support::dice::Dice;
use log::Log;
use sluicegate::kafka::config::{Reset, Start};
use sluicegate::kafka::consumer::cursor::{
    Ask, Bounds, Committed, Cursor, Output, Phase, PositionChange, Question, Rules, Serials, Trouble,
};
use sluicegate::kafka::consumer::note::Note;
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use sluicegate::record::Offset;
use sluicegate::relay::partition_progress::{Admitted, PartitionProgress};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const CLUSTER: &str = "model";
const RULES: Rules = Rules { reset: Reset::Earliest, until_end: false, commits: true };

/// A commit on its way.
struct Commit {
    topic: Uuid,
    assignment: u64,
    next: i64,
    epoch: i32,
    text: String,
    note: String,
}

/// A question on its way, with the log as its leader had it, and what was committed.
struct Asked {
    question: Question,
    ask: Ask,
    is_known: bool,
    log: Log,
    committed: Option<(i64, i32, String)>,
}

/// A fetch on its way, with what the broker answered.
struct Fetch {
    ask: Ask,
    assignment: u64,
    answer: Result<Vec<(i64, i32, u64)>, ErrorCode>,
}

struct World {
    dice: Dice,
    seed: u64,
    is_traced: bool,
    now: Instant,
    /// The brokers know ids of topics.
    has_ids: bool,
    /// The cluster may be restored from a backup. Then no election is unclean: what it would cut off under epochs that
    /// come again, nobody could tell.
    restores: bool,
    log: Log,
    next_value: u64,
    committed: Option<(i64, i32, String)>,
    serials: Serials,
    cursor: Cursor,
    progress: Option<(u64, PartitionProgress)>,
    chunks: Vec<(u64, i64, u64)>,
    handed: i64,
    in_flight: Vec<(u64, i64, u64)>,
    fetches: Vec<Fetch>,
    asked: Vec<Asked>,
    commit: Option<Commit>,
    /// Of the values, not of offsets.
    done: HashSet<u64>,
    told: Vec<PositionChange>,
}

/// With a seed of its own, a schedule is printed.
macro_rules! trace {
    ($world:expr, $($word:tt)*) => {
        if $world.is_traced {
            println!("{} | log {} {:?} {}..{}", format!($($word)*), $world.log.id, $world.log.epochs, $world.log.start,
                $world.log.end());
        }
    };
}

fn id(of: u8) -> Uuid {
    Uuid([of; 16])
}

impl World {
    fn new(seed: u64, has_ids: bool, restores: bool) -> Self {
        let mut serials = Serials::default();
        Self {
            restores,
            dice: Dice::seeded(seed),
            seed,
            is_traced: std::env::var_os("SLUICEGATE_SEED").is_some(),
            now: Instant::now(),
            has_ids,
            log: Log::new(1),
            next_value: 0,
            committed: None,
            cursor: Cursor::new(&mut serials),
            serials,
            progress: None,
            chunks: Vec::new(),
            handed: 0,
            in_flight: Vec::new(),
            fetches: Vec::new(),
            asked: Vec::new(),
            commit: None,
            done: HashSet::new(),
            told: Vec::new(),
        }
    }

    fn topic(&self) -> Uuid {
        if self.has_ids { id(self.log.id) } else { Uuid::ZERO }
    }

    fn apply(&mut self, before: u64, out: Vec<Output>) {
        if self.cursor.assignment() != before {
            self.chunks.clear();
        }
        for output in out {
            trace!(self, "-> {output:?}");
            match output {
                Output::Begins { next, text, .. } => {
                    let mut progress = PartitionProgress::new(Offset(next), &text);
                    progress.begins_uncommitted();
                    self.progress = Some((self.cursor.assignment(), progress));
                    self.handed = next;
                }
                Output::Moved(shift, _) => self.told.push(shift),
                Output::ResetForbidden(_) | Output::Stopped(_) => panic!("seed {}: {output:?}", self.seed),
                Output::Recovered => {}
            }
        }
    }

    fn metadata(&mut self, is_led: bool) {
        let before = self.cursor.assignment();
        let leader = is_led.then_some((1, self.log.epoch()));
        let out = self.cursor.metadata_was(self.topic(), leader, self.now, &mut self.serials);
        self.apply(before, out);
    }

    /// Asks what the cursor wants to know; the answer is of the log as it is now, and comes when it comes.
    fn begin_question(&mut self) {
        let Some((question, ask)) = self.cursor.question(self.now) else { return };
        if question != Question::Committed && self.cursor.leader().is_none() || self.asked.len() > 2 {
            return;
        }
        trace!(self, "{question:?} {:?} {:?}", self.committed, self.cursor);
        // A leader that knows of another epoch than the one that asks refuses.
        let is_known = self.cursor.leader().map(|(_, epoch)| epoch) == Some(self.log.epoch());
        let (log, committed) = (self.log.clone(), self.committed.clone());
        self.asked.push(Asked { question, ask, is_known, log, committed });
    }

    fn end_question(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let at = self.dice.below(self.asked.len());
        let Asked { question, ask, is_known: knows, log, committed } = self.asked.swap_remove(at);
        let before = self.cursor.assignment();
        let out = match question {
            Question::Committed => {
                let found = committed.map(|(next, epoch, metadata)| Committed {
                    next,
                    epoch,
                    note: Note::decode(&metadata),
                });
                let found = found.ok_or(Start::Earliest);
                self.cursor.committed_was(ask, found, CLUSTER, &mut self.serials)
            }
            _ if !knows => {
                let trouble = Trouble::Refused(ErrorCode::FENCED_LEADER_EPOCH);
                self.cursor.failed(ask, trouble, self.now, &mut self.serials)
            }
            Question::Bounds { .. } => {
                let bounds = Bounds { first: log.start, end: log.end(), at: None };
                self.cursor.bounds_were(ask, bounds, &RULES, self.now, &mut self.serials)
            }
            Question::EpochEnd(epoch) => {
                self.cursor.epoch_end_was(ask, log.epoch_end(epoch), &RULES, self.now, &mut self.serials)
            }
        };
        self.apply(before, out);
    }

    fn begin_fetch(&mut self) {
        if !self.cursor.wants_records(self.now) || self.fetches.len() > 2 {
            return;
        }
        let (ask, log) = (self.cursor.ask(), &self.log);
        let answer = if self.has_ids && self.cursor.topic() != id(log.id) {
            Err(ErrorCode::UNKNOWN_TOPIC_ID)
        } else if self.cursor.leader().map(|(_, epoch)| epoch) != Some(log.epoch()) {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if !(log.start..=log.end()).contains(&ask.next) {
            Err(ErrorCode::OFFSET_OUT_OF_RANGE)
        } else {
            let from = (ask.next - log.start) as usize;
            let records = log.records[from..].iter().take(4).enumerate();
            Ok(records.map(|(at, (epoch, value))| (ask.next + at as i64, *epoch, *value)).collect())
        };
        self.fetches.push(Fetch { ask, assignment: self.cursor.assignment(), answer });
    }

    fn end_fetch(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let at = self.dice.below(self.fetches.len());
        let Fetch { ask, assignment, answer } = self.fetches.swap_remove(at);
        let before = self.cursor.assignment();
        let stands = self.cursor.is_current(ask) && *self.cursor.phase() == Phase::Reading;
        match answer {
            _ if !stands => {}
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) => self.cursor.out_of_range(ask, self.now, &mut self.serials),
            Err(code) => {
                let trouble = Trouble::Refused(code);
                let out = self.cursor.failed(ask, trouble, self.now, &mut self.serials);
                self.apply(before, out);
            }
            Ok(records) => {
                for (offset, epoch, value) in records {
                    self.cursor.fetched(offset + 1, Some((offset, epoch)));
                    self.chunks.push((assignment, offset, value));
                }
                let out = self.cursor.fetch_succeeded(None);
                self.apply(before, out);
            }
        }
    }

    /// The buffer is needed for others: what was fetched and not handed over is dropped.
    fn rewind(&mut self) {
        if !self.chunks.is_empty() {
            self.chunks.clear();
            self.cursor.rewind(self.handed, &mut self.serials);
        }
    }

    fn poll(&mut self) {
        if self.chunks.is_empty() {
            return;
        }
        let (assignment, offset, value) = self.chunks.remove(0);
        if assignment != self.cursor.assignment() {
            return;
        }
        trace!(self, "hand {offset} = {value}");
        self.handed = offset + 1;
        self.cursor.handed_to(offset + 1);
        let (_, progress) = self.progress.as_mut().expect("nothing is handed over before it is announced");
        match progress.admit(Offset(offset)) {
            Admitted::Open => self.in_flight.push((assignment, offset, value)),
            Admitted::Done => {
                assert!(self.done.contains(&value), "seed {}: {value} at {offset} was never sent", self.seed);
            }
            Admitted::Not => panic!("seed {}: {offset} came twice", self.seed),
        }
    }

    fn deliver(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = self.dice.below(self.in_flight.len());
        let (assignment, offset, value) = self.in_flight.swap_remove(at);
        trace!(self, "done {offset} = {value}");
        self.done.insert(value);
        if let Some((current, progress)) = &mut self.progress
            && *current == assignment
        {
            progress.done(Offset(offset));
        }
    }

    fn begin_commit(&mut self) {
        let Some((assignment, progress)) = &self.progress else { return };
        let Some((next, text)) = progress.to_commit().filter(|_| self.commit.is_none()) else { return };
        if *assignment != self.cursor.assignment() || !self.cursor.is_announced() {
            return;
        }
        let reach = progress.reach().0.max(next.0);
        let note = Note {
            topic: self.cursor.topic(),
            cluster: CLUSTER.into(),
            position: next.0,
            reach,
            epoch: self.cursor.epoch_before(reach),
            text: text.clone(),
        };
        self.commit = Some(Commit {
            topic: self.cursor.topic(),
            assignment: *assignment,
            next: next.0,
            epoch: self.cursor.epoch_before(next.0),
            text,
            note: note.encode(),
        });
    }

    /// A broker that goes by names takes a commit of a topic that is no more for the one that has its name.
    fn end_commit(&mut self, by_id: bool) {
        let Some(commit) = self.commit.take() else { return };
        if by_id && self.has_ids && commit.topic != id(self.log.id) {
            return;
        }
        trace!(self, "commit {} {} {}", commit.next, commit.epoch, commit.note);
        self.committed = Some((commit.next, commit.epoch, commit.note));
        if commit.assignment == self.cursor.assignment() && self.cursor.is_announced() {
            self.cursor.committed_to(commit.next);
        }
        if let Some((assignment, progress)) = &mut self.progress
            && *assignment == commit.assignment
        {
            progress.committed(Offset(commit.next), &commit.text);
        }
    }

    fn grow(&mut self) {
        for _ in 0..=self.dice.below(4) {
            self.append();
        }
    }

    fn append(&mut self) {
        if self.log.is_mistakable(self.log.end()) {
            self.done.insert(self.next_value);
        }
        self.log.records.push((self.log.epoch(), self.next_value));
        self.next_value += 1;
    }

    /// Another replica leads, which has no more than what lies before `cut`.
    fn elect(&mut self, cut: i64) {
        if !self.restores {
            return self.log.elect(cut);
        }
        // An epoch that was given twice ends elsewhere than the first time, or nobody could tell.
        while self.log.former.as_ref().is_some_and(|(epochs, ..)| epochs.begins_near(self.log.end())) {
            self.append();
        }
        self.log.elect(self.log.end());
        for (at, (_, value)) in self.log.records.iter().enumerate() {
            if self.log.is_mistakable(self.log.start + at as i64) {
                self.done.insert(*value);
            }
        }
    }

    fn restore(&mut self) {
        let (newest, from) = self.log.epochs.newest();
        let cut = self.log.start + self.dice.below((from - self.log.start) as usize + 1) as i64;
        let backed_up = self.log.epochs.at(cut - 1).max(0);
        if self.log.former.is_some() || backed_up >= newest {
            return;
        }
        let lost = self.log.end() - cut;
        self.log.restore(cut, self.dice.between(backed_up as usize, newest as usize - 1) as i32);
        for _ in 0..if self.dice.chance(70) { lost + 2 } else { 0 } {
            self.append();
        }
    }

    fn restart(&mut self) {
        self.cursor = Cursor::new(&mut self.serials);
        (self.progress, self.handed) = (None, 0);
        self.chunks.clear();
        self.in_flight.clear();
        self.fetches.clear();
        self.asked.clear();
    }

    fn fault(&mut self) {
        let span = (self.log.end() - self.log.start) as usize;
        let kind = self.dice.below(7);
        trace!(self, "fault {kind}");
        match kind {
            0 => self.restart(),
            1 => {
                let cut = self.log.start + self.dice.below(span + 1) as i64;
                self.elect(cut);
            }
            2 => self.elect(self.log.end()),
            3 => {
                let start = self.log.start + self.dice.below(span / 2 + 1) as i64;
                self.log.delete_up_to(start);
            }
            4 if self.has_ids => {
                self.log = Log::new(self.log.id + 1);
                if self.dice.below(2) == 0 {
                    // As Kafka does, a while after the topic is gone.
                    self.committed = None;
                }
                for _ in 0..self.dice.below(3) {
                    self.log.elect(0);
                }
            }
            5.. if self.restores => self.restore(),
            _ => {}
        }
    }

    fn step(&mut self) {
        match self.dice.below(30) {
            24..26 => self.begin_commit(),
            26..28 => self.end_commit(true),
            0..4 => self.begin_fetch(),
            4..8 => self.end_fetch(),
            8..11 => self.poll(),
            11..14 => self.deliver(),
            14 => self.begin_commit(),
            15 => {
                let by_id = self.dice.below(2) == 0;
                self.end_commit(by_id);
            }
            16..19 => self.grow(),
            19 => {
                let is_led = self.dice.below(4) > 0;
                self.metadata(is_led);
            }
            20 => self.begin_question(),
            28..30 => self.end_question(),
            21 => self.rewind(),
            22 => self.fault(),
            _ => self.now += Duration::from_millis(200),
        }
    }

    /// Without faults all that is there is delivered, and the position comes to its end.
    fn settle(&mut self) {
        for _ in 0..5_000 {
            self.now += Duration::from_secs(3);
            self.metadata(true);
            self.begin_question();
            while !self.asked.is_empty() {
                self.end_question();
            }
            self.begin_fetch();
            while !self.fetches.is_empty() {
                self.end_fetch();
            }
            while !self.chunks.is_empty() {
                self.poll();
            }
            while !self.in_flight.is_empty() {
                self.deliver();
            }
            if let (Some((_, progress)), Some(next)) = (&mut self.progress, self.cursor.skipped()) {
                progress.pass(Offset(next));
            }
            self.begin_commit();
            self.end_commit(true);
            let at_end = self.cursor.next() == self.log.end();
            let idle = self.progress.as_ref().is_some_and(|(_, progress)| !progress.has_to_commit());
            if at_end && idle && *self.cursor.phase() == Phase::Reading {
                return;
            }
        }
        panic!("seed {}: it does not come to rest: {:?}", self.seed, self.cursor);
    }

    fn check(&self) {
        let seed = self.seed;
        for (at, (_, value)) in self.log.records.iter().enumerate() {
            let offset = self.log.start + at as i64;
            assert!(self.done.contains(value), "seed {seed}: the record at {offset} was never sent");
        }
        let position = self.committed.as_ref().map(|(next, ..)| *next);
        assert_eq!(position, Some(self.log.end()), "seed {seed}");
    }
}

fn run(seed: u64, has_ids: bool, restores: bool) -> World {
    let mut world = World::new(seed, has_ids, restores);
    let steps = 100 + world.dice.below(400);
    for _ in 0..steps {
        world.step();
    }
    world.settle();
    world.check();
    world
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("SLUICEGATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..30_000,
    }
}

#[test]
fn no_record_is_lost_whatever_becomes_of_the_log() {
    let (mut anew, mut cut, mut dropped, mut deleted) = (0, 0, 0, 0);
    for seed in seeds() {
        for shift in run(seed, true, false).told {
            match shift {
                PositionChange::TopicRecreated { .. } => anew += 1,
                PositionChange::Truncated { .. } => cut += 1,
                PositionChange::ProgressDropped { .. } => dropped += 1,
                PositionChange::Deleted { .. } => deleted += 1,
                _ => {}
            }
        }
    }
    println!("made anew {anew}, cut {cut}, notes dropped {dropped}, deleted {deleted}");
    // A schedule that never gets to what it is about shows nothing.
    assert!(
        seeds().end - seeds().start == 1 || [anew, cut, dropped, deleted].iter().all(|times| *times > 10)
    );
}

#[test]
fn without_ids_of_topics_no_record_of_one_log_is_lost() {
    for seed in seeds() {
        run(seed, false, false);
    }
}

#[test]
fn no_record_of_a_restored_log_is_lost() {
    let (mut cut, mut diverged) = (0, 0);
    for seed in seeds() {
        for has_ids in [true, false] {
            for shift in run(seed, has_ids, true).told {
                cut += u32::from(matches!(shift, PositionChange::Truncated { .. }));
                diverged += u32::from(matches!(shift, PositionChange::Diverged { .. }));
            }
        }
    }
    println!("cut {cut}, diverged {diverged}");
    assert!(seeds().end - seeds().start == 1 || [cut, diverged].iter().all(|times| *times > 10));
}
