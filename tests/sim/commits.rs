//! What becomes of commits and of dead letters: they hang, fail, arrive although the answer says otherwise, or are
//! refused by the coordinator.

use crate::consumer::Entry;
use crate::group::OURS;
use crate::machine::{Event, Sim};
use crate::plan::Jobs;
use crate::process::{CommitJob, Done};
use crate::trace::trace;
use sluicegate::kafka::group::error::GroupError;
use sluicegate::kafka::group::exchange::Stamp;
use sluicegate::kafka::protocol::ErrorCode;
use sluicegate::record::{Checkpoint, Partition, Record};
use sluicegate::relay::dead_letter::DeadLetterError;
use sluicegate::relay::dispatcher::PendingDeadLetter;
use sluicegate::relay::source::CommitError;
use std::time::Duration;

/// A position that the coordinator did not take by itself is tried again after this: the product's longest rest.
const REFUSED_AGAIN: Duration = Duration::from_secs(3);

/// A commit or letters on their way.
struct Fares {
    /// From now until it is applied, and until the answer comes.
    times: (Duration, Duration),
    applies: bool,
    outcome: Result<(), ()>,
    is_fatal: bool,
}

impl Sim {
    fn fares(&mut self, jobs: Jobs) -> Fares {
        let is_calm = self.now >= self.plan.calm_at;
        let mut time = self.dice.millis(1, 20);
        if is_calm {
            return Fares { times: (time, time * 2), applies: true, outcome: Ok(()), is_fatal: false };
        }
        if self.dice.chance(jobs.hangs) {
            time += self.dice.millis(0, jobs.hang_millis);
        }
        let fails = jobs.always || self.dice.chance(jobs.retriable);
        let is_fatal = self.dice.below(1_000) < jobs.fatal;
        let outcome = if fails || is_fatal { Err(()) } else { Ok(()) };
        // It may have arrived although the answer says otherwise.
        let applies = outcome.is_ok() || !is_fatal && self.dice.chance(30);
        let answered = time + Duration::from_micros(1) + self.dice.millis(0, 20);
        Fares { times: (time, answered), applies, outcome, is_fatal }
    }

    pub fn commit(&mut self, checkpoints: Vec<Checkpoint>) {
        self.truth.commits(&checkpoints, &self.cluster);
        let fares = self.fares(self.plan.commits);
        let (token, now) = (self.token(), self.now);
        let mut job = CommitJob { token, ..CommitJob::default() };
        self.consumer.refused.retain(|_, again| now < *again);
        for checkpoint in &checkpoints {
            let at = self.cluster.at(&checkpoint.position.partition);
            if self.consumer.refused.contains_key(&at) {
                job.left.push(checkpoint.position.partition.clone());
            } else if let Some(entry) = self.consumer.entry(at, checkpoint) {
                self.truth.stamps(&entry, &self.cluster);
                job.entries.push(entry);
            }
        }
        job.outcome = match (fares.outcome, fares.is_fatal) {
            (Ok(()), _) => Ok(()),
            (Err(()), false) => Err(CommitError::Retriable("later".into())),
            (Err(()), true) => Err(CommitError::Fatal("never".into())),
        };
        job.stamp = self.stamp();
        let is_member = job.stamp.is_some();
        if !is_member {
            job.outcome = Err(CommitError::Retriable("not a member of the group at the moment".into()));
        }
        let Some(process) = &mut self.process else { return };
        assert!(process.commit.is_none(), "one commit at a time");
        process.commit = Some(checkpoints);
        process.commit_job = job;
        // A coordinator that hangs takes it later, and the answer is not waited for so long.
        let hangs = self.cluster.hangs[self.cluster.coordinator as usize].saturating_sub(self.now);
        let (arrives, answered) = (fares.times.0 + hangs, fares.times.1 + hangs);
        let timeout = self.plan.brokers.timeout;
        if answered > timeout && hangs > Duration::ZERO {
            process.commit_job.outcome = Err(CommitError::Retriable("no answer".into()));
        }
        let answered = if hangs > Duration::ZERO { answered.min(timeout) } else { answered };
        if fares.applies && is_member {
            self.push(self.now + arrives, Event::CommitArrives(token));
        }
        self.push(self.now + answered, Event::CommitAnswered(token));
    }

    /// The coordinator takes positions of a member; gives those that it doesn't take.
    pub fn store(&mut self, job: &CommitJob) -> Result<Vec<(usize, ErrorCode)>, GroupError> {
        let Some((stamp, incarnation)) = &job.stamp else { return Ok(Vec::new()) };
        self.group.coordinator.commit(stamp, self.now.as_millis() as u64)?;
        let mut refused = Vec::new();
        let is_calm = self.now >= self.plan.calm_at;
        for Entry { at, topic, stored, .. } in &job.entries {
            let current = self.cluster.log(*at).topic;
            let part = &mut self.cluster.parts[*at];
            let owner = self.group.givings.get(&part.name);
            let is_ours = owner == Some(&(OURS, *incarnation));
            assert!(is_ours, "invariant 6: {} is committed at {stored:?}, and {owner:?} has it", part.name);
            if self.plan.brokers.by_id && *topic != current {
                refused.push((*at, ErrorCode::UNKNOWN_TOPIC_ID));
            } else if !is_calm && self.dice.chance(self.plan.brokers.commits_refused) {
                refused.push((*at, ErrorCode::KAFKA_STORAGE_ERROR));
            } else {
                trace!(self.now, "stored: {}@{stored:?}", part.name);
                part.committed = Some(stored.clone());
                part.committed_at = self.now;
            }
        }
        Ok(refused)
    }

    pub fn commit_arrives(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.commit_job.token == token) else {
            return;
        };
        let mut job = std::mem::take(&mut process.commit_job);
        match self.store(&job) {
            Ok(refused) => job.refused = refused,
            Err(refusal) => job.refusal = Some(refusal),
        }
        if let Some(process) = &mut self.process {
            process.commit_job = job;
        }
    }

    /// As the committer does with an answer.
    pub fn commit_answered(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.commit_job.token == token) else {
            return;
        };
        let Some(checkpoints) = process.commit.take() else { return };
        let CommitJob { outcome, refused, left, refusal, stamp, .. } =
            std::mem::take(&mut process.commit_job);
        let outcome = match (outcome, refusal, stamp) {
            (Ok(()), Some(refusal), Some((stamp, _))) => {
                Err(self.commit_refused(&checkpoints, &stamp, refusal))
            }
            (outcome, ..) => outcome.and_then(|()| self.taken(&checkpoints, &refused, left)),
        };
        trace!(self.now, "commit: {outcome:?}");
        if let Some(process) = &mut self.process {
            process.done.push(Done::Committed(checkpoints, outcome));
        }
        // What waited for its first commit is fetched now.
        self.consumer_looks();
        self.news();
    }

    /// The coordinator took none of it.
    fn commit_refused(
        &mut self,
        checkpoints: &[Checkpoint],
        stamp: &Stamp,
        refusal: GroupError,
    ) -> CommitError {
        self.hears_refusal(stamp, refusal);
        let is_current = |one: &Checkpoint| {
            let at = self.cluster.at(&one.position.partition);
            self.consumer.is_current(at, one)
        };
        // A source may say so of what it has told to be lost.
        let is_lost = !checkpoints.iter().any(is_current);
        match is_lost && self.dice.chance(50) {
            true => CommitError::Fenced("another generation".into()),
            false => CommitError::Retriable(format!("the commit waits for the group: {refusal}")),
        }
    }

    fn taken(
        &mut self,
        checkpoints: &[Checkpoint],
        refused: &[(usize, ErrorCode)],
        mut left: Vec<Partition>,
    ) -> Result<(), CommitError> {
        let instant = self.clock();
        for checkpoint in checkpoints {
            let partition = &checkpoint.position.partition;
            let at = self.cluster.at(partition);
            let is_current = self.consumer.is_current(at, checkpoint);
            let known = self.consumer.catalog.topic_id(partition.topic());
            let code = refused.iter().find(|(of, _)| *of == at).map(|(_, code)| *code);
            self.consumer.metadata_wanted |= code == Some(ErrorCode::UNKNOWN_TOPIC_ID);
            let cursor = self.consumer.cursors.get_mut(&at);
            if let (Some(code), Some(cursor)) = (code, &cursor) {
                self.consumer.catalog.topic_refused(partition.topic(), cursor.topic(), code);
            }
            // What was done of a topic that is no more can't be committed, and need not be.
            let is_there = cursor.as_ref().is_some_and(|cursor| cursor.topic() == known);
            let code = code.filter(|code| *code != ErrorCode::UNKNOWN_TOPIC_ID || is_there);
            if let Some(cursor) = cursor.filter(|_| is_current && !left.contains(partition)) {
                match code {
                    None => cursor.committed_to(checkpoint.position.next.0),
                    Some(code) => cursor.commit_refused(code, instant),
                }
            }
            if code.is_some() {
                self.consumer.refused.insert(at, self.now + REFUSED_AGAIN);
                left.push(partition.clone());
            }
        }
        let cause = "some were refused".into();
        if left.is_empty() { Ok(()) } else { Err(CommitError::Partial { partitions: left, cause }) }
    }

    pub fn put_letters(&mut self, letters: Vec<PendingDeadLetter>) {
        self.truth.puts(letters.iter().map(|pending| &pending.letter), &self.plan, &self.cluster);
        let fares = self.fares(self.plan.letters);
        let token = self.token();
        let Some(process) = &mut self.process else { return };
        assert!(process.letters.is_none(), "one put at a time");
        process.letters = Some(letters);
        process.letters_job = (
            token,
            fares.applies,
            match (fares.outcome, fares.is_fatal) {
                (Ok(()), _) => Ok(()),
                (Err(()), false) => Err(DeadLetterError::Retriable("full".into())),
                (Err(()), true) => Err(DeadLetterError::Fatal("gone".into())),
            },
        );
        self.push(self.now + fares.times.1, Event::LettersPut(token));
    }

    pub fn letters_put(&mut self, token: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.letters_job.0 == token) else {
            return;
        };
        let Some(letters) = process.letters.take() else { return };
        let (_, applies, outcome) = std::mem::replace(&mut process.letters_job, (0, false, Ok(())));
        trace!(self.now, "letters: {outcome:?}");
        let kept: Vec<Record> = letters.iter().map(|pending| pending.letter.record.clone()).collect();
        process.done.push(Done::PutDeadLetters(letters, outcome));
        if applies {
            kept.iter().for_each(|record| self.rejected(record));
        }
        self.news();
    }

    /// As `Run::take_results`.
    pub fn take_results(&mut self) {
        let now = self.instant();
        let Some(process) = &mut self.process else { return };
        let mut wakes = false;
        for done in std::mem::take(&mut process.done) {
            match done {
                Done::Committed(checkpoints, outcome) => {
                    let lost = process.control.commit_done(checkpoints, &outcome, now);
                    wakes |= !lost.is_empty();
                    self.truth.lost(&lost);
                }
                Done::PutDeadLetters(letters, outcome) => {
                    wakes = true;
                    process.control.dead_letters_done(letters, &outcome, now);
                }
            }
        }
        if wakes {
            self.notify_workers(usize::MAX);
        }
    }
}
