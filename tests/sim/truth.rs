//! What must be so at each step, whatever the relay thinks: the invariants, held against what really happened.

use crate::cluster::Cluster;
use crate::consumer::{Consumer, Entry};
use crate::log::number;
use crate::plan::Plan;
use crate::receiver::Reply;
use sluicegate::record::{Checkpoint, Partition, Record};
use sluicegate::relay::dead_letter::DeadLetter;
use sluicegate::relay::offset_runs;
use sluicegate::relay::settings::{OnRejection, Order};
use sluicegate::relay::source::Assigned;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

/// What the relay was told of a partition that it has, and what it has learned since.
#[derive(Debug)]
struct View {
    assignment: u64,
    log: usize,
    since: Duration,
    start: i64,
    /// What the commit said is done beyond its position.
    known: Vec<Range<i64>>,
    /// What was handed over under this assignment, by offset.
    handed: BTreeMap<i64, usize>,
    is_revoked: bool,
    committed: i64,
    done: HashSet<i64>,
    not_before: HashMap<i64, Duration>,
}

/// What was seen of one process.
#[derive(Debug, Default)]
pub struct Truth {
    views: BTreeMap<Partition, View>,
    /// Which log each assignment was of.
    logs: HashMap<u64, usize>,
    /// Requests in flight by lane.
    lanes: HashMap<(usize, Option<u8>), usize>,
    sent: VecDeque<Duration>,
    /// Answers other than acceptance, by record: all of them, and whether one was a rejection.
    failures: HashMap<usize, (u32, bool)>,
    pub last_accepted: Duration,
}

impl Truth {
    pub fn assigned(&mut self, assigned: &[Assigned], consumer: &Consumer, cluster: &Cluster, now: Duration) {
        for Assigned { checkpoint: Checkpoint { position, metadata, assignment, .. }, .. } in assigned {
            let at = cluster.at(&position.partition);
            // What was announced may be of a topic that is no more, or revoked by now.
            let topic = consumer.cursors.get(&at).map(|cursor| cursor.topic());
            let mut of_it = cluster.logs.logs.iter().enumerate().filter(|(_, log)| log.partition == at);
            let log =
                of_it.find(|(_, log)| topic == Some(log.topic)).map_or(cluster.parts[at].log, |it| it.0);
            let view = View {
                assignment: *assignment,
                log,
                since: now,
                start: position.next.0,
                known: offset_runs::decode(position.next, metadata),
                handed: BTreeMap::new(),
                is_revoked: false,
                committed: position.next.0,
                done: HashSet::new(),
                not_before: HashMap::new(),
            };
            self.logs.insert(*assignment, log);
            self.views.insert(position.partition.clone(), view);
        }
    }

    /// The partitions that are held since before that time.
    pub fn held_since(&self, time: Duration) -> Vec<&Partition> {
        let held = self.views.iter().filter(|(_, view)| !view.is_revoked && view.since < time);
        held.map(|(partition, _)| partition).collect()
    }

    /// Records are handed over.
    pub fn handed(&mut self, records: &[Record], cluster: &Cluster) {
        for record in records {
            let view = self.views.get_mut(record.partition());
            let view = view.unwrap_or_else(|| panic!("{record:?} is handed over, which is not ours"));
            let (number, offset) = (number(record), record.offset().0);
            let entry = &cluster.logs.entries[number];
            assert_eq!(view.log, entry.log, "invariant 10: {record:?} is handed over, of another log");
            assert!(!view.is_revoked, "{record:?} is handed over, which is being given up");
            let is_known = view.known.iter().any(|run| run.contains(&offset));
            assert!(
                !is_known || entry.is_done,
                "invariant 10: {record:?} is believed to be done, and it is another that was"
            );
            view.handed.insert(offset, number);
        }
    }

    pub fn revoked(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(view) = self.views.get_mut(partition) {
                view.is_revoked = true;
            }
        }
    }

    pub fn lost(&mut self, partitions: &[Partition]) {
        partitions.iter().for_each(|partition| drop(self.views.remove(partition)));
    }

    fn lane(record: &Record, order: Order, cluster: &Cluster) -> Option<(usize, Option<u8>)> {
        let log = cluster.logs.entries[number(record)].log;
        match order {
            Order::None => None,
            Order::Partition => Some((log, None)),
            Order::Key => record.key().map(|key| (log, Some(key[0]))),
        }
    }

    /// A record is handed to a worker. Gives the assignment that it is sent under.
    pub fn sends(
        &mut self,
        record: &Record,
        attempt: u32,
        plan: &Plan,
        cluster: &Cluster,
        now: Duration,
    ) -> u64 {
        let (number, offset) = (number(record), record.offset().0);
        let log = cluster.logs.entries[number].log;
        assert!(record.value().is_some() || !plan.filters, "sent {record:?}, which the filter leaves out");
        let view = self.views.get(record.partition());
        let view =
            view.unwrap_or_else(|| panic!("invariant 6: sent {record:?} of a partition that is not ours"));
        assert_eq!(view.log, log, "invariant 10: sent {record:?} of another log");
        assert!(!view.is_revoked, "invariant 6: sent {record:?} of a partition that is being given up");
        assert!(offset >= view.start, "sent {record:?}, which lies before the committed position");
        let is_known = view.known.iter().any(|run| run.contains(&offset));
        assert!(!is_known, "sent {record:?}, of which the commit said that it is done");
        assert!(!view.done.contains(&offset), "sent {record:?} again, which was accepted");
        let not_before = view.not_before.get(&offset).copied().unwrap_or_default();
        assert!(not_before <= now, "sent {record:?} before the time that its Retry-After asked for");
        let order = match plan.settings.on_rejection {
            // What is dropped late is told after its successor was sent.
            OnRejection::Drop if !self.failures.is_empty() => Order::None,
            _ => plan.settings.order,
        };
        // What its log has lost has no place there any more.
        if let Some(at) = cluster.logs.place(number) {
            let log = &cluster.logs.logs[log];
            let first = match order {
                Order::None => None,
                Order::Partition => Some(log.first_open),
                Order::Key => {
                    let key = cluster.logs.entries[number].key;
                    let of_key = key.and_then(|key| log.keys.get(&key));
                    of_key.map(|(list, done)| list.get(*done).copied().unwrap_or(usize::MAX))
                }
            };
            let is_first = first.is_none_or(|first| at <= first);
            assert!(is_first, "invariant 3: sent {record:?} before its predecessor was done");
        }
        if let Some(lane) = Self::lane(record, plan.settings.order, cluster) {
            let beside = self.lanes.entry(lane).or_default();
            *beside += 1;
            assert_eq!(*beside, 1, "invariant 3: sent {record:?} beside another of its lane");
        }
        assert!(attempt >= 1, "attempts count from 1");
        let assignment = view.assignment;
        self.keeps_the_rate(plan, now);
        assignment
    }

    fn keeps_the_rate(&mut self, plan: &Plan, now: Duration) {
        let Some(rate) = plan.settings.max_rate else { return };
        self.sent.push_back(now);
        while self.sent.front().is_some_and(|at| now - *at > Duration::from_secs(1)) {
            self.sent.pop_front();
        }
        let a_second = Duration::from_secs(1).as_nanos() / rate.interval().as_nanos();
        let most = a_second + u128::from(rate.burst()) + 1;
        assert!(
            self.sent.len() as u128 <= most,
            "sent {} in a second at a rate of {rate:?}",
            self.sent.len()
        );
    }

    /// A request has come to its end, and the relay is told.
    pub fn answered(
        &mut self,
        (record, assignment): (&Record, u64),
        reply: Reply,
        (plan, cluster): (&Plan, &Cluster),
        now: Duration,
    ) {
        if let Some(lane) = Self::lane(record, plan.settings.order, cluster) {
            *self.lanes.get_mut(&lane).expect("it was sent") -= 1;
        }
        let offset = record.offset().0;
        let view = self.views.get_mut(record.partition()).filter(|view| view.assignment == assignment);
        match reply {
            Reply::Status(200..=299, _) => {
                self.last_accepted = now;
                if let Some(view) = view {
                    view.done.insert(offset);
                }
            }
            _ => {
                let (failures, is_refused) = self.failures.entry(number(record)).or_default();
                *failures += 1;
                if let Reply::Status(status, after) = reply {
                    *is_refused |= matches!(status, 400 | 422);
                    let after = after.filter(|_| status != 400 && status != 422);
                    if let (Some(view), Some(after)) = (view, after) {
                        view.not_before.insert(offset, now + after.min(plan.settings.max_retry_after));
                    }
                }
            }
        }
    }

    /// A commit begins.
    pub fn commits(&mut self, checkpoints: &[Checkpoint], cluster: &Cluster) {
        for checkpoint in checkpoints {
            let Checkpoint { position, metadata, assignment, .. } = checkpoint;
            let view = self.views.get_mut(&position.partition);
            let view = view.unwrap_or_else(|| panic!("invariant 6: commits {checkpoint}, which is not ours"));
            assert_eq!(view.assignment, *assignment, "invariant 10: {checkpoint} names another assignment");
            assert!(position.next.0 >= view.committed, "{checkpoint} goes back from {}", view.committed);
            view.committed = position.next.0;
            let (next, log) = (position.next.0, &cluster.logs.logs[view.log]);
            let is_done = |number: &usize| cluster.logs.entries[*number].is_done;
            let open =
                view.handed.range(..next).find(|(_, number)| !is_done(number)).map(|(offset, _)| *offset);
            assert_eq!(open, None, "invariant 2: commits {checkpoint} past what is unfinished");
            let runs = offset_runs::decode(position.next, metadata);
            let said = runs.iter().flat_map(|run| view.handed.range(run.clone()));
            let open = said.into_iter().find(|(_, number)| !is_done(number)).map(|(offset, _)| *offset);
            assert_eq!(open, None, "invariant 2: {checkpoint} says done of an unfinished record");
            // What an election cut off, and what was written in its place since, is learned of later.
            if log.cuts == 0 {
                let done_before = cluster.logs.done_before(view.log);
                assert!(
                    next <= done_before,
                    "invariant 2: commits {checkpoint} past the unfinished {done_before}"
                );
            }
        }
    }

    /// A commit says which log it is of.
    pub fn stamps(&self, entry: &Entry, cluster: &Cluster) {
        let read = self.logs.get(&entry.assignment).map(|log| cluster.logs.logs[*log].topic);
        assert_eq!(read, Some(entry.topic), "invariant 10: {entry:?} is of another log than it says");
    }

    /// Letters are put into the dead letters.
    pub fn puts<'a>(&self, letters: impl Iterator<Item = &'a DeadLetter>, plan: &Plan, cluster: &Cluster) {
        for DeadLetter { record, rejection } in letters {
            let view = self.views.get(record.partition());
            let log = cluster.logs.entries[number(record)].log;
            let is_ours = view.is_some_and(|view| !view.is_revoked && view.log == log);
            assert!(is_ours, "invariant 6: a letter of {record:?} is put, which is not ours");
            self.is_fair(record, rejection.attempts, plan);
        }
    }

    /// A record is refused only for a reason.
    pub fn is_fair(&self, record: &Record, attempts: u32, plan: &Plan) {
        let (failures, is_refused) = self.failures.get(&number(record)).copied().unwrap_or_default();
        let may_age = plan.settings.max_age.is_some();
        let used_up = plan.settings.max_attempts.is_some_and(|most| failures >= most.get());
        assert!(
            failures > 0 && (is_refused || may_age || used_up),
            "{record:?} is refused after {failures} failures of {attempts} attempts"
        );
    }

    /// A partition is given up: what was done of it is committed, and nothing of it is on its way.
    pub fn releases(
        &mut self,
        partition: &Partition,
        watermark: Option<i64>,
        cluster: &Cluster,
        consumer: &Consumer,
    ) {
        let view = self.views.remove(partition);
        let view = view.unwrap_or_else(|| panic!("{partition} is released, which is not ours"));
        assert!(view.is_revoked, "{partition} is released, and nobody asked for it");
        let at = cluster.at(partition);
        let part = &cluster.parts[at];
        let is_its = consumer.cursors.get(&at).is_some_and(|cursor| cursor.assignment() == view.assignment);
        if is_its && part.log == view.log {
            let committed = part.committed.as_ref().map(|stored| stored.next);
            let is_committed = watermark.is_none_or(|mark| committed.is_some_and(|next| next >= mark));
            assert!(is_committed, "{partition} is released at {committed:?}, and {watermark:?} is done");
        }
    }
}
