//! Workers, as `relay::pool` runs them: a permit first, then the next record that may go.

use crate::group::OURS;
use crate::log::number;
use crate::machine::{Event, Request, Sim, target};
use crate::process::Worker;
use crate::receiver::Arrival;
use crate::trace::trace;
use sluicegate::relay::control::TICK;
use sluicegate::relay::dispatcher::{Next, Outcome, Ticket};
use std::time::Duration;

/// The longest sleep of a worker, as in the pool.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Sim {
    pub fn register_missing(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| process.is_delivering) else { return };
        let dispatcher = &process.control.dispatcher;
        let wanted = dispatcher.limit().min(self.granted).min(dispatcher.len());
        // Where threads can't be started it goes on with fewer.
        let wanted = wanted.min(self.plan.most_threads);
        if process.workers.len() >= wanted || dispatcher.is_finished() {
            return;
        }
        let missing: Vec<usize> =
            (1..=wanted).filter(|number| !process.workers.contains_key(number)).collect();
        for number in missing {
            if let Some(process) = &mut self.process {
                process.workers.insert(number, (Worker::Looks, 0));
            }
            self.wake_worker_at(number, self.now);
        }
        let most = self.plan.settings.max_concurrency.get();
        let workers = self.process.as_ref().map_or(0, |process| process.workers.len());
        assert!(workers <= most, "invariant 1: {workers} workers");
    }

    pub fn worker_leaves(&mut self, number: usize) {
        let Some(process) = &mut self.process else { return };
        process.workers.remove(&number);
        if process.control.dispatcher.is_idle() {
            self.news();
        }
        self.join_if_all_left();
    }

    /// As `WorkerPool::next_ticket`.
    pub fn worker_runs(&mut self, number: usize, token: u64) {
        let granted = self.granted;
        let Some(process) = &mut self.process else { return };
        let Some((state, _)) = process.workers.get(&number).copied().filter(|worker| worker.1 == token)
        else {
            return;
        };
        self.idle_turns += 1;
        process.sleepers.retain(|sleeper| *sleeper != number);
        process.timekeeper = process.timekeeper.filter(|(keeper, _)| *keeper != number);
        let is_first = process.queue.front().is_none_or(|first| *first == number);
        if state == Worker::Queues {
            process.queue.retain(|waiting| *waiting != number);
        }
        if process.control.dispatcher.limit() < number {
            self.notify_workers(1);
            return self.worker_leaves(number);
        }
        if process.is_closed || (state == Worker::Queues && process.control.dispatcher.is_finished()) {
            return self.worker_leaves(number);
        }
        let has_room = process.in_use < process.permits.min(granted);
        // First come, first served.
        if !has_room || !is_first {
            if is_first {
                process.queue.push_front(number);
            } else {
                process.queue.push_back(number);
            }
            process.workers.insert(number, (Worker::Queues, token));
            return self.wake_worker_at(number, self.now + TICK);
        }
        process.in_use += 1;
        let stopped = process.stop_at.is_some();
        self.permits_changed();
        if stopped {
            self.permit_comes_back();
            return self.worker_leaves(number);
        }
        self.worker_has_permit(number);
    }

    pub fn worker_has_permit(&mut self, number: usize) {
        let (now, wall, base) = (self.instant(), self.wall(), self.base);
        let holds = self.lease_holds();
        let Some(process) = &mut self.process else { return };
        let next = if !holds && !process.control.dispatcher.is_finished() {
            Next::Wait(Some(now + TICK))
        } else {
            process.control.dispatcher.next((), now, wall)
        };
        match next {
            Next::Send(ticket) => {
                let due = process.control.dispatcher.next_due_at();
                let due = due.map(|due| due.saturating_duration_since(base));
                let wakes = process.wants_another(due);
                self.send(number, ticket);
                self.notify_workers(usize::from(wakes));
            }
            Next::Finished => {
                self.permit_comes_back();
                self.notify_workers(usize::MAX);
                self.worker_leaves(number);
            }
            Next::Wait(until) => {
                let until = until.map(|until| self.since_base(until));
                self.permit_comes_back();
                self.rest(number, until);
            }
        }
    }

    /// As `WorkerPool::idle`.
    pub fn rest(&mut self, number: usize, until: Option<Duration>) {
        let Some(process) = &mut self.process else { return };
        let mine = until.filter(|until| process.timekeeper.is_none_or(|(_, other)| *until < other));
        if let Some(until) = mine {
            process.timekeeper = Some((number, until));
        }
        process.sleepers.push(number);
        process.workers.insert(number, (Worker::Sleeps, 0));
        let latest = self.now + LONGEST_WAIT;
        self.wake_worker_at(number, mine.map_or(latest, |until| until.min(latest)));
    }

    /// A permit is free: whoever waits longest goes on.
    pub fn permit_comes_back(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.in_use -= 1;
        self.permits_changed();
    }

    pub fn permits_changed(&mut self) {
        let Some(process) = &mut self.process else { return };
        if process.in_use < process.permits.min(self.granted)
            && let Some(number) = process.queue.front().copied()
        {
            self.wake_worker_at(number, self.now);
        }
    }

    pub fn send(&mut self, worker: usize, ticket: Ticket<()>) {
        let record = ticket.record().clone();
        let attempt = ticket.attempt();
        let poison = self.cluster.logs.entries[number(&record)].poison;
        let arrival = Arrival {
            target: target(&record, self.plan.targets).0,
            partition: self.cluster.at(record.partition()),
            poison,
            new_connection: attempt.new_connection,
        };
        let (reply, took) = self.receiver.arrives(&arrival, self.now, &mut self.dice);
        trace!(
            self.now,
            "worker {worker}: {} {record:?} attempt {} to {}: {reply:?} after {took:?}",
            if ticket.is_probe() { "probes" } else { "sends" },
            attempt.number,
            arrival.target
        );
        self.is_exclusive(record.partition(), OURS);
        let assignment = self.truth.sends(&record, attempt.number, &self.plan, &self.cluster, self.now);
        let request = self.token();
        let Some(process) = &mut self.process else { return };
        let most = self.plan.settings.max_concurrency.get().min(self.granted);
        assert!(process.in_use <= most, "invariant 1: {} of {most} in flight", process.in_use);
        process.workers.insert(worker, (Worker::Sends, 0));
        process.tickets.insert(request, ticket);
        self.requests.insert(request, Request { worker, process: self.number, record, assignment, reply });
        self.busy += 1;
        self.tally.sent += 1;
        self.push(self.now + took, Event::Answer(request));
    }

    pub fn answer(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else { return };
        self.receiver.leaves();
        let Request { worker, process: of, record, assignment, reply } = request;
        if reply.is_accepted() {
            self.cluster.logs.done(number(&record), self.now);
        }
        if of != self.number || self.process.is_none() {
            return;
        }
        self.truth.answered((&record, assignment), reply, (&self.plan, &self.cluster), self.now);
        let (now, wall) = (self.instant(), self.wall());
        let Some(process) = &mut self.process else { return };
        let Some(ticket) = process.tickets.remove(&id) else { return };
        let in_use = process.in_use;
        let answered = process.control.dispatcher.answered(ticket, &reply.outcome(), in_use, now, wall);
        let limit = process.control.dispatcher.limit();
        assert!(limit <= self.plan.settings.max_concurrency.get(), "invariant 1: a limit of {limit}");
        process.permits = limit;
        process.in_use -= 1;
        process.workers.insert(worker, (Worker::Looks, 0));
        let is_news = process.answer_is_news();
        trace!(self.now, "worker {worker}: {record:?} is {:?}", answered.outcome);
        match answered.outcome {
            Outcome::Delivered => assert!(reply.is_accepted(), "it counts as delivered after {reply:?}"),
            Outcome::Dropped(rejection) => {
                self.truth.is_fair(&record, rejection.attempts, &self.plan);
                self.rejected(&record);
            }
            _ => {}
        }
        self.permits_changed();
        if is_news {
            self.news();
        }
        self.wake_worker_at(worker, self.now);
    }
}
