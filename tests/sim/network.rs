//! What the consumer asks of the brokers, and what comes of it: questions and fetches are late, get lost, or meet a
//! broker that hangs. The keeper asks one thing at a time, and so does one fetcher a broker.

use crate::cluster::{BROKERS, CLUSTER, Found, Known};
use crate::consumer::{Asked, Fetched, Fetcher, RULES};
use crate::group::OURS;
use crate::machine::{Event, Sim};
use crate::trace::trace;
use sluicegate::kafka::config::Start;
use sluicegate::kafka::consumer::cursor::{Ask, Bounds, Committed, EpochEnd, Question, Trouble};
use sluicegate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a broker holds a fetch back while it has nothing new.
const LONG_POLL: Duration = Duration::from_millis(500);
/// As the keeper does: metadata is asked for no more often than this.
const METADATA_MIN_AGE: Duration = Duration::from_millis(100);
const RETRY: (u64, u64) = (100, 2_000);
const UNSETTLED: (u64, u64) = (500, 4_000);

fn doubled((min, max): (u64, u64), failures: u32) -> Duration {
    Duration::from_millis((min << failures.min(6).saturating_sub(1)).min(max))
}

/// What is asked.
#[derive(Debug)]
pub enum Call {
    Metadata,
    Committed(Vec<(usize, Ask, Uuid)>),
    Questions(i32, Vec<(Asked, Question)>),
    Fetch(i32, Vec<Asked>),
}

#[derive(Debug)]
pub enum Reply {
    Bounds(Bounds),
    EpochEnd(EpochEnd),
}

/// What a broker answered.
#[derive(Debug)]
pub enum Answer {
    Metadata(Vec<Known>),
    Committed(Vec<(usize, Ask, Result<Option<Committed>, ErrorCode>)>),
    Questions(Vec<(Asked, Result<Reply, ErrorCode>)>),
    Fetch(Vec<(Asked, Found)>),
}

fn is_news(found: &Found) -> bool {
    found.as_ref().map_or(true, |(batches, _)| !batches.is_empty())
}

/// A call under way.
#[derive(Debug)]
pub struct Pending {
    pub process: u64,
    pub call: Call,
    pub answer: Option<Answer>,
    /// When the asker takes it for failed.
    pub deadline: Duration,
    /// The broker holds it back while it has nothing new.
    pub is_held: bool,
}

impl Sim {
    /// The clock of the consumer. No day passes on it in a moment.
    pub fn clock(&self) -> Instant {
        self.start + self.now
    }

    fn times(&self) -> (Duration, Instant) {
        (self.now, self.clock())
    }

    fn is_calm(&self) -> bool {
        self.now >= self.plan.calm_at
    }

    // ---- calls ---------------------------------------------------------------------------------------------

    fn call(&mut self, call: Call) -> u64 {
        let token = self.token();
        let brokers = &self.plan.brokers;
        let (low, high) = brokers.latency;
        let (timeout, lost) = (brokers.timeout, brokers.lost);
        let broker = match &call {
            Call::Questions(broker, _) | Call::Fetch(broker, _) => *broker,
            Call::Committed(_) => self.cluster.coordinator,
            Call::Metadata => self.dice.below(BROKERS as usize) as i32,
        };
        let is_long = matches!(call, Call::Fetch(..));
        let deadline = self.now + timeout + if is_long { LONG_POLL } else { Duration::ZERO };
        let arrives = (self.now + self.dice.millis(low, high)).max(self.cluster.hangs[broker as usize]);
        let is_lost = !self.is_calm() && self.dice.chance(lost);
        let fails = if is_lost && self.dice.chance(50) { arrives.min(deadline) } else { deadline };
        match is_lost || arrives >= deadline {
            true => self.push(fails, Event::CallFails(token)),
            false => self.push(arrives, Event::CallArrives(token)),
        }
        let (process, answer, is_held) = (self.number, None, false);
        self.calls.insert(token, Pending { process, call, answer, deadline, is_held });
        token
    }

    /// A call reaches its broker.
    pub fn call_arrives(&mut self, token: u64) {
        let Some(pending) = self.calls.get(&token) else { return };
        let answer = match &pending.call {
            Call::Metadata => {
                let lags = self.now < self.plan.calm_at && self.dice.chance(30);
                Answer::Metadata(self.cluster.metadata(lags))
            }
            Call::Committed(asked) => {
                let asked = asked.clone();
                Answer::Committed(asked.into_iter().map(|one| self.committed(one)).collect())
            }
            Call::Questions(broker, asked) => {
                Answer::Questions(asked.iter().map(|one| self.reply(*broker, one)).collect())
            }
            Call::Fetch(broker, asked) => {
                let found = self.fetch(*broker, asked);
                if !pending.is_held && !found.iter().any(|(_, found)| is_news(found)) {
                    self.holds(token);
                    return;
                }
                Answer::Fetch(found)
            }
        };
        self.answers(token, answer);
    }

    fn holds(&mut self, token: u64) {
        if let Some(pending) = self.calls.get_mut(&token) {
            pending.is_held = true;
            self.push(self.now + LONG_POLL, Event::CallArrives(token));
        }
    }

    fn answers(&mut self, token: u64, answer: Answer) {
        let (low, high) = self.plan.brokers.latency;
        let at = self.now + self.dice.millis(low, high);
        let Some(pending) = self.calls.get_mut(&token) else { return };
        if pending.answer.is_some() {
            return;
        }
        pending.answer = Some(answer);
        match at < pending.deadline {
            true => self.push(at, Event::CallAnswered(token)),
            false => {
                let deadline = pending.deadline;
                self.push(deadline, Event::CallFails(token));
            }
        }
    }

    /// Logs or their leaders have changed: fetches that are held back may have something to tell.
    pub fn logs_changed(&mut self) {
        let held: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, pending)| pending.is_held && pending.answer.is_none())
            .map(|(token, _)| *token)
            .collect();
        for token in held {
            let Some(Pending { call: Call::Fetch(broker, asked), .. }) = self.calls.get(&token) else {
                continue;
            };
            let found = self.fetch(*broker, asked);
            if found.iter().any(|(_, found)| is_news(found))
                && self.cluster.hangs[*broker as usize] <= self.now
            {
                self.answers(token, Answer::Fetch(found));
            }
        }
    }

    fn committed(
        &mut self,
        (at, ask, topic): (usize, Ask, Uuid),
    ) -> (usize, Ask, Result<Option<Committed>, ErrorCode>) {
        let brokers = &self.plan.brokers;
        let is_calm = self.now >= self.plan.calm_at;
        let fails = !is_calm && self.dice.chance(brokers.offsets_fail);
        let is_another = brokers.by_id && self.cluster.has_ids && topic != self.cluster.log(at).topic;
        let found = match () {
            () if is_another => Err(ErrorCode::UNKNOWN_TOPIC_ID),
            () if fails => Err(self
                .dice
                .one(&[ErrorCode::UNSTABLE_OFFSET_COMMIT, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS])),
            () => Ok(self.cluster.committed(at)),
        };
        (at, ask, found)
    }

    fn reply(&self, broker: i32, (asked, question): &(Asked, Question)) -> (Asked, Result<Reply, ErrorCode>) {
        // These questions name topics, not ids.
        let found = match self.cluster.refusal(asked.at, broker, None, asked.epoch) {
            Some(code) => Err(code),
            None => Ok(match question {
                Question::EpochEnd(epoch) => Reply::EpochEnd(self.cluster.epoch_end(asked.at, *epoch)),
                _ => Reply::Bounds(self.cluster.bounds(asked.at)),
            }),
        };
        (*asked, found)
    }

    fn fetch(&self, broker: i32, asked: &[Asked]) -> Vec<(Asked, Found)> {
        let found =
            |asked: &Asked| match self.cluster.refusal(asked.at, broker, Some(asked.topic), asked.epoch) {
                Some(code) => Err(code),
                None => {
                    let end = self.cluster.log(asked.at).end;
                    self.cluster.batches(asked.at, asked.ask.next).map(|batches| (batches, end))
                }
            };
        asked.iter().map(|asked| (*asked, found(asked))).collect()
    }

    // ---- answers -------------------------------------------------------------------------------------------

    pub fn call_answered(&mut self, token: u64) {
        let Some(Pending { process, answer: Some(answer), .. }) = self.calls.remove(&token) else { return };
        if process != self.number || self.process.is_none() {
            return;
        }
        match answer {
            Answer::Metadata(known) => self.metadata_came(&known),
            Answer::Committed(found) => self.committed_came(found),
            Answer::Questions(found) => self.replies_came(token, found),
            Answer::Fetch(found) => self.records_came(token, found),
        }
        self.consumer_looks();
    }

    pub fn call_fails(&mut self, token: u64) {
        let Some(Pending { process, call, .. }) = self.calls.remove(&token) else { return };
        if process != self.number || self.process.is_none() {
            return;
        }
        trace!(self.now, "no answer to {call:?}");
        let times = self.times();
        let consumer = &mut self.consumer;
        let asked = match call {
            Call::Metadata => {
                self.keeper_fails();
                self.resolve();
                return self.consumer_looks();
            }
            Call::Committed(asked) => {
                for (at, ask, _) in asked {
                    consumer.change(at, &self.cluster, times.0, |cursor, serials| {
                        cursor.failed(ask, Trouble::Connection, times.1, serials)
                    });
                }
                self.keeper_fails();
                return self.consumer_looks();
            }
            Call::Questions(broker, asked) => {
                consumer.fetchers.insert(broker, Fetcher::Idle);
                asked.into_iter().map(|(asked, _)| asked).collect()
            }
            Call::Fetch(broker, asked) => {
                consumer.fetchers.insert(broker, Fetcher::Idle);
                asked
            }
        };
        consumer.metadata_wanted = true;
        for asked in asked {
            consumer.failed(&asked, Trouble::Connection, &self.cluster, times);
        }
        self.consumer_looks();
    }

    fn keeper_fails(&mut self) {
        let clock = self.clock();
        let consumer = &mut self.consumer;
        consumer.outage_since.get_or_insert(clock);
        consumer.metadata_wanted = true;
        consumer.keeper_failures += 1;
        consumer.keeper_asks = None;
        consumer.keeper_rests = self.now + doubled(RETRY, consumer.keeper_failures);
    }

    fn keeper_is_well(&mut self) {
        let consumer = &mut self.consumer;
        (consumer.keeper_asks, consumer.keeper_failures, consumer.outage_since) = (None, 0, None);
    }

    fn metadata_came(&mut self, known: &[Known]) {
        let times = self.times();
        let is_unsettled = self.consumer.learn(known, &self.cluster, times);
        trace!(self.now, "metadata: {known:?}");
        let consumer = &mut self.consumer;
        consumer.metadata_wanted |= is_unsettled;
        consumer.unsettled = if is_unsettled { consumer.unsettled + 1 } else { 0 };
        let pause = match is_unsettled {
            true => doubled(UNSETTLED, consumer.unsettled).saturating_sub(METADATA_MIN_AGE),
            false => Duration::ZERO,
        };
        consumer.refreshed = Some(self.now + pause);
        self.keeper_is_well();
        self.resolve();
        let is_closed = self.process.as_ref().is_none_or(|process| process.is_closed);
        match self.group.members[OURS] {
            Some(_) => self.learn_sizes(OURS, self.consumer.catalog.sizes()),
            None if !is_closed => self.joins(OURS),
            None => {}
        }
        self.source_has_something();
    }

    fn committed_came(&mut self, found: Vec<(usize, Ask, Result<Option<Committed>, ErrorCode>)>) {
        let (now, instant) = self.times();
        for (at, ask, found) in found {
            trace!(now, "committed of {}: {found:?}", self.cluster.parts[at].name);
            self.consumer.metadata_wanted |= found.is_err();
            if let (Err(code), Some(cursor)) = (&found, self.consumer.cursors.get(&at)) {
                let (name, topic) = (&self.cluster.parts[at].name, cursor.topic());
                self.consumer.catalog.topic_refused(name.topic(), topic, *code);
            }
            self.consumer.change(at, &self.cluster, now, |cursor, serials| match found {
                Ok(committed) => {
                    cursor.committed_was(ask, committed.ok_or(Start::Earliest), CLUSTER, serials)
                }
                Err(code) => cursor.failed(ask, Trouble::Refused(code), instant, serials),
            });
        }
        self.keeper_is_well();
    }

    fn replies_came(&mut self, token: u64, found: Vec<(Asked, Result<Reply, ErrorCode>)>) {
        let (now, instant) = self.times();
        let consumer = &mut self.consumer;
        consumer.no_longer_asks(token);
        for (asked, found) in found {
            trace!(now, "{}: {found:?}", self.cluster.parts[asked.at].name);
            if let Err(code) = found {
                consumer.doubt(&asked, code, &self.cluster);
            }
            consumer.change(asked.at, &self.cluster, now, |cursor, serials| match found {
                Ok(Reply::Bounds(bounds)) => cursor.bounds_were(asked.ask, bounds, &RULES, instant, serials),
                Ok(Reply::EpochEnd(end)) => cursor.epoch_end_was(asked.ask, end, &RULES, instant, serials),
                Err(code) => cursor.failed(asked.ask, Trouble::Refused(code), instant, serials),
            });
            let is_open = consumer.cursors.get(&asked.at).is_some_and(|cursor| cursor.trouble().is_some());
            consumer.metadata_wanted |= is_open;
        }
        self.source_has_something();
    }

    fn records_came(&mut self, token: u64, found: Vec<(Asked, Found)>) {
        let (now, instant) = self.times();
        let consumer = &mut self.consumer;
        let broker = consumer.no_longer_asks(token);
        let mut queue = VecDeque::new();
        for (asked, found) in found {
            match found {
                Ok((batches, end)) => {
                    let batches = batches.into();
                    queue.push_back(Fetched { asked, batches, end });
                }
                Err(code) => {
                    trace!(now, "fetch of {}: {code:?}", self.cluster.parts[asked.at].name);
                    consumer.doubt(&asked, code, &self.cluster);
                    if code == ErrorCode::OFFSET_OUT_OF_RANGE {
                        consumer.change(asked.at, &self.cluster, now, |cursor, serials| {
                            cursor.out_of_range(asked.ask, instant, serials);
                            Vec::new()
                        });
                    } else {
                        consumer.failed(&asked, Trouble::Refused(code), &self.cluster, (now, instant));
                        consumer.metadata_wanted = true;
                    }
                }
            }
        }
        if let Some(broker) = broker {
            consumer.fetchers.insert(broker, Fetcher::Takes(queue));
        }
    }

    // ---- what is to be asked -------------------------------------------------------------------------------

    /// Lets the keeper and the fetchers do what is due, and looks again when time alone makes something due.
    pub fn consumer_looks(&mut self) {
        if self.process.is_none() {
            return;
        }
        let mut due = self.keeper_looks();
        let brokers: Vec<i32> = self.consumer.brokers().into_iter().collect();
        let takers: Vec<i32> = self.consumer.fetchers.keys().copied().collect();
        for broker in takers.into_iter().filter(|broker| !brokers.contains(broker)).chain(brokers.clone()) {
            self.fetcher_looks(broker);
        }
        let retry = self.consumer.next_retry(self.clock()).map(|at| at.duration_since(self.start));
        due = due.min(retry.unwrap_or(Duration::MAX));
        if due == Duration::MAX {
            return;
        }
        if self.consumer.looks_at.is_none_or(|(at, _)| at != due) {
            let token = self.token();
            self.consumer.looks_at = Some((due, token));
            self.push(due, Event::ConsumerLooks(token));
        }
    }

    pub fn looks_again(&mut self, token: u64) {
        if self.consumer.looks_at.take_if(|(_, of)| *of == token).is_some() {
            self.consumer_looks();
        }
    }

    /// Gives when it has something to do next.
    fn keeper_looks(&mut self) -> Duration {
        let clock = self.clock();
        let consumer = &self.consumer;
        if consumer.keeper_asks.is_some() {
            return Duration::MAX;
        }
        let age = if consumer.metadata_wanted { METADATA_MIN_AGE } else { self.plan.brokers.metadata_age };
        let refresh = consumer.refreshed.map_or(Duration::ZERO, |at| at + age);
        if consumer.keeper_rests > self.now {
            return consumer.keeper_rests;
        }
        if refresh <= self.now {
            self.consumer.metadata_wanted = false;
            let token = self.call(Call::Metadata);
            self.consumer.keeper_asks = Some(token);
            return Duration::MAX;
        }
        if !consumer.unresolved(clock).is_empty() {
            self.resolve();
        }
        if self.consumer.keeper_asks.is_some() { Duration::MAX } else { refresh }
    }

    /// Asks where the group left off in new partitions.
    fn resolve(&mut self) {
        let times = self.times();
        let mut asked = Vec::new();
        for (at, ask) in self.consumer.unresolved(times.1) {
            // One without a leader can't be read anyway.
            if self.consumer.tell_metadata(at, &self.cluster, times) {
                let name = &self.cluster.parts[at].name;
                asked.push((at, ask, self.consumer.catalog.topic_id(name.topic())));
            }
        }
        if !asked.is_empty() && self.consumer.keeper_asks.is_none() {
            let token = self.call(Call::Committed(asked));
            self.consumer.keeper_asks = Some(token);
        }
    }

    fn fetcher_looks(&mut self, broker: i32) {
        let clock = self.clock();
        let consumer = &mut self.consumer;
        if let Some(Fetcher::Takes(_)) = consumer.fetchers.get(&broker) {
            let before = consumer.chunks.len();
            let is_through = consumer.takes_in(broker, &self.cluster, self.now);
            if consumer.chunks.len() > before {
                self.busy += 1;
                self.source_has_something();
            }
            if !is_through {
                return;
            }
        }
        let consumer = &mut self.consumer;
        if matches!(consumer.fetchers.get(&broker), Some(Fetcher::Asks(_))) {
            return;
        }
        let questions = consumer.questions(broker, clock);
        if !questions.is_empty() {
            let token = self.call(Call::Questions(broker, questions));
            self.consumer.fetchers.insert(broker, Fetcher::Asks(token));
            return;
        }
        let mut asked = consumer.due(broker, clock);
        if !asked.is_empty() && consumer.has_room() {
            let count = asked.len();
            asked.rotate_left(consumer.fetches % count);
            consumer.fetches += 1;
            let token = self.call(Call::Fetch(broker, asked));
            self.consumer.fetchers.insert(broker, Fetcher::Asks(token));
        }
    }
}
