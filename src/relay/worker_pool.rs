//! The state that workers and the loop share: one lock, and the conditions on which they wait.
//!
//! The lock is never held while a record is sent, an observer is called or a position is committed. Lock order: this
//! one, then the semaphore's. Workers wait for a permit first, then here, for a record.

use super::control::{Control, TICK};
use super::dead_letter::DeadLetterError;
use super::dispatcher::{Answered, Next, Outcome, PendingDeadLetter, Ticket};
use super::event::{Event, Observer};
use super::group_limit::GroupPermits;
use super::semaphore::{Permit, Semaphore};
use super::settings::OnRejection;
use super::source::CommitError;
use super::stop::Stop;
use super::transport::{Answer, SendError, Transport, cause};
use crate::record::{Checkpoint, Record};
use crate::timing::lease::Lease;
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The longest sleep of an idle worker, so that a wake-up missed by a bug costs time, not the run.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What workers, background threads and the loop share.
pub(super) struct WorkerPool {
    semaphore: Arc<Semaphore>,
    /// Never more requests in flight, nor workers, than this.
    max_concurrency: usize,
    lease: Lease,
    share: GroupPermits,
    stop: Stop,
    state: Mutex<PoolState>,
    /// Wakes workers: a record may be sent that could not before.
    go: Condvar,
    /// Wakes the loop.
    news: Condvar,
}

/// The state behind the lock.
pub(super) struct PoolState {
    pub control: Control,
    /// Results of work in the background.
    pub done: Vec<Completion>,
    /// The numbers of the running workers, from 1 to the limit.
    workers: BTreeSet<usize>,
    /// The size of the semaphore.
    permits: usize,
    /// Workers that sleep and were not woken.
    idle_workers: usize,
    /// Workers that were woken and are not awake yet.
    woken_workers: usize,
    /// The idle worker that keeps the time for all, and when it wakes. The others sleep until they are woken.
    timekeeper: Option<(usize, Instant)>,
    /// Records answered since the loop last looked.
    finished: usize,
    /// The loop has something to do.
    loop_is_due: bool,
    /// A worker panicked: its record will never be answered.
    panicked: bool,
}

/// A result of a background thread.
pub(super) enum Completion {
    Committed(Vec<Checkpoint>, Result<(), CommitError>),
    PutDeadLetters(Vec<PendingDeadLetter>, Result<(), DeadLetterError>),
    /// The thread panicked.
    Panicked(&'static str),
}

impl PoolState {
    /// Whether another idle worker is to be woken: for another ready record, or for a due time that no timekeeper
    /// covers. It counts as woken from now on.
    fn wakes_another(&mut self) -> bool {
        let dispatcher = &self.control.dispatcher;
        let is_kept = |due: Instant| self.timekeeper.is_some_and(|(_, at)| at <= due);
        self.idle_workers > 0
            && (dispatcher.has_ready() || dispatcher.next_due_at().is_some_and(|due| !is_kept(due)))
            && self.wakes(1) == 1
    }

    /// How many idle workers are to be woken, at most this many.
    fn wakes(&mut self, most: usize) -> usize {
        let count = most.min(self.idle_workers);
        self.idle_workers -= count;
        self.woken_workers += count;
        count
    }

    /// A worker is awake, woken or not. Where one woke by itself in place of one that was woken, that one will count for
    /// it: only their numbers matter.
    fn is_awake(&mut self) {
        match self.woken_workers.checked_sub(1) {
            Some(woken) => self.woken_workers = woken,
            None => self.idle_workers -= 1,
        }
    }
}

impl WorkerPool {
    pub(super) fn new(control: Control, lease: Lease, share: GroupPermits, stop: Stop) -> Self {
        let semaphore = Arc::clone(share.semaphore());
        let max_concurrency = control.dispatcher.max_concurrency();
        let permits = control.dispatcher.limit();
        semaphore.resize(permits);
        let state = PoolState {
            control,
            done: Vec::new(),
            workers: BTreeSet::new(),
            permits,
            idle_workers: 0,
            woken_workers: 0,
            timekeeper: None,
            finished: 0,
            loop_is_due: false,
            panicked: false,
        };
        Self {
            semaphore,
            max_concurrency,
            lease,
            share,
            stop,
            state: Mutex::new(state),
            go: Condvar::new(),
            news: Condvar::new(),
        }
    }

    /// The state. Not to be held across I/O.
    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        // After a panic the run drains and ends without sending more, so only what was done before is read from it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one count of requests in flight.
    pub(super) fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Wakes all workers: something changed for them.
    pub(super) fn wake_workers(&self) {
        self.go.notify_all();
    }

    /// Sends nothing new: workers leave, also those that wait for a permit.
    pub(super) fn drain(&self) {
        self.semaphore.close();
        self.go.notify_all();
    }

    /// Wakes as many workers as records were admitted.
    pub(super) fn wake_for(&self, records: usize) {
        let count = self.lock().wakes(records);
        (0..count).for_each(|_| self.go.notify_one());
    }

    /// Adds a result of a background thread.
    pub(super) fn done(&self, done: Completion) {
        let mut state = self.lock();
        state.done.push(done);
        state.loop_is_due = true;
        drop(state);
        self.news.notify_one();
    }

    /// Waits for something to do, until `until` at the latest.
    pub(super) fn wait(&self, until: Instant) {
        let mut state = self.lock();
        while !state.loop_is_due {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (state.loop_is_due, state.finished) = (false, 0);
    }

    // ---- workers -------------------------------------------------------------------------------------------

    /// Registers the workers that are missing and returns their numbers: as many as may send and have something to do.
    /// They count as running until they leave.
    pub(super) fn register_missing(&self) -> Vec<usize> {
        let mut state = self.lock();
        let granted = usize::try_from(self.share.granted()).unwrap_or(usize::MAX);
        let dispatcher = &state.control.dispatcher;
        let wanted = dispatcher.limit().min(granted).min(dispatcher.len());
        if state.workers.len() >= wanted || dispatcher.is_finished() {
            return Vec::new();
        }
        let hired: Vec<usize> = (1..=wanted).filter(|number| !state.workers.contains(number)).collect();
        state.workers.extend(&hired);
        // Invariant 1.
        assert!(state.workers.len() <= self.max_concurrency, "no more workers than max-concurrency");
        hired
    }

    /// These could not be started. Returns the number of running workers.
    pub(super) fn deregister(&self, numbers: &[usize]) -> usize {
        let mut state = self.lock();
        numbers.iter().for_each(|number| {
            state.workers.remove(number);
        });
        state.workers.len()
    }

    /// Whether a worker panicked.
    pub(super) fn has_panicked(&self) -> bool {
        self.lock().panicked
    }

    /// One worker: a permit first, then the next record, until nothing is left. The permit is held for the request
    /// alone, and for the next one if there is one to send right after it.
    pub(super) fn work(&self, number: usize, transport: &dyn Transport, observer: &dyn Observer) {
        let _alarm = Alarm(self, number);
        let mut passed_on = None;
        loop {
            observer.on(&Event::WorkerWaiting(number));
            let Some(ticket) = passed_on.or_else(|| self.next_ticket(number)) else { return };
            observer.on(&Event::WorkerRunning(number));
            if ticket.is_probe() {
                observer.on(&Event::Probing { record: ticket.record() });
            }
            passed_on = self.send(ticket, number, transport, observer);
        }
    }

    fn next_ticket(&self, number: usize) -> Option<Ticket<Permit<'_>>> {
        loop {
            if self.lock().control.dispatcher.limit() < number {
                // The limit was lowered: another worker takes the record that this one was woken for.
                self.go.notify_one();
                return None;
            }
            // The loop may be waiting to join this worker.
            let permit = match self.semaphore.acquire_timeout(TICK).ok()? {
                Some(permit) => permit,
                None if self.lock().control.dispatcher.is_finished() => return None,
                None => continue,
            };
            // Invariant 6: a stop counts at once, whatever the loop is doing.
            if self.stop.requested() {
                return None;
            }
            let mut state = self.lock();
            match self.next(&mut state, permit, SystemTime::now()) {
                Next::Send(ticket) => {
                    let wake = state.wakes_another();
                    drop(state);
                    if wake {
                        self.go.notify_one();
                    }
                    return Some(ticket);
                }
                Next::Finished => {
                    drop(state);
                    self.go.notify_all();
                    return None;
                }
                Next::Wait(until) => self.idle(number, state, until),
            }
        }
    }

    fn next<'a>(&self, state: &mut PoolState, permit: Permit<'a>, wall: SystemTime) -> Next<Permit<'a>> {
        // Read under the lock, so that no record seems to be sent before one that was sent earlier.
        let now = Instant::now();
        // Where there is nothing more to do the worker leaves: the loop may be waiting to join it.
        if !self.lease.holds(now) && !state.control.dispatcher.is_finished() {
            return Next::Wait(Some(now + TICK));
        }
        state.control.dispatcher.next(permit, now, wall)
    }

    /// Sleeps until woken, or until `until` unless another worker wakes before that anyway.
    fn idle(&self, number: usize, mut state: MutexGuard<'_, PoolState>, until: Option<Instant>) {
        let mine = until.filter(|until| state.timekeeper.is_none_or(|(_, other)| *until < other));
        if let Some(until) = mine {
            state.timekeeper = Some((number, until));
        }
        let longest = mine.map_or(LONGEST_WAIT, |until| until.saturating_duration_since(Instant::now()));
        state.idle_workers += 1;
        let (mut state, _) =
            self.go.wait_timeout(state, longest.min(LONGEST_WAIT)).unwrap_or_else(PoisonError::into_inner);
        state.is_awake();
        state.timekeeper = state.timekeeper.filter(|(keeper, _)| *keeper != number);
    }

    /// Sends, and returns what to send next with the same permit, if there is anything.
    fn send<'a>(
        &'a self,
        ticket: Ticket<Permit<'a>>,
        number: usize,
        transport: &dyn Transport,
        observer: &dyn Observer,
    ) -> Option<Ticket<Permit<'a>>> {
        let attempt = ticket.attempt();
        let started = Instant::now();
        // Invariant 5: no lock is held here. `lock` is called after it.
        let outcome = transport.send(ticket.record(), attempt);
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut state = self.lock();
        let in_flight = self.semaphore.in_use();
        // Invariant 1.
        assert!(
            (1..=self.max_concurrency).contains(&in_flight),
            "each request has a permit, and no more are in flight"
        );
        let Answered { record, outcome: became, permit } =
            state.control.dispatcher.answered(ticket, &outcome, in_flight, now, wall);
        let next = self.pass_on(&mut state, permit, number, wall);
        self.after_answer(state, next.is_some());
        observer.on(&Event::WorkerReleased(number));
        let took = now.saturating_duration_since(started);
        tell(observer, (&record, &became), &outcome, attempt.number, took);
        next
    }

    /// The next record, with the permit of the last one: what a worker does nearly always, so it is done under the same
    /// lock. In all other cases the permit is given back, and the worker asks for another like any other.
    fn pass_on<'a>(
        &'a self,
        state: &mut PoolState,
        permit: Permit<'a>,
        number: usize,
        wall: SystemTime,
    ) -> Option<Ticket<Permit<'a>>> {
        let limit = state.control.dispatcher.limit();
        if limit < number || limit != state.permits || self.stop.requested() || !permit.may_go_on() {
            return None;
        }
        match self.next(state, permit, wall) {
            Next::Send(ticket) => Some(ticket),
            Next::Wait(_) | Next::Finished => None,
        }
    }

    /// Resizes the semaphore to the limit, and wakes the loop and another worker if they have something to do.
    fn after_answer(&self, mut state: MutexGuard<'_, PoolState>, goes_on: bool) {
        let limit = state.control.dispatcher.limit();
        let resize = std::mem::replace(&mut state.permits, limit) != limit;
        state.finished += 1;
        let dispatcher = &state.control.dispatcher;
        let news = dispatcher.is_idle()
            || dispatcher.has_dead_letters()
            || dispatcher.has_changes()
            || (state.control.takes_more() && dispatcher.may_want_more(state.finished));
        // Once is enough: the loop looks at everything when it wakes.
        let had_news = state.loop_is_due;
        state.loop_is_due |= news;
        let news = news && !had_news;
        // Whoever takes a record wakes another worker for the rest; one that has none yet is about to.
        let wake = goes_on && state.wakes_another();
        drop(state);
        if wake {
            self.go.notify_one();
        }
        if resize {
            self.semaphore.resize(limit);
        }
        if news {
            self.news.notify_one();
        }
    }
}

fn tell(
    observer: &dyn Observer,
    (record, became): (&Record, &Outcome),
    outcome: &Result<Answer, SendError>,
    attempt: u32,
    took: Duration,
) {
    match became {
        Outcome::Delivered => observer.on(&Event::Delivered { record, attempt, took }),
        Outcome::Retrying(delay) => {
            let cause = cause(outcome);
            observer.on(&Event::Retrying { record, attempt, delay: *delay, cause: &cause });
        }
        Outcome::Dropped(rejection) => rejected(observer, record, rejection, OnRejection::Drop),
        // Dead letters are reported once they are kept, errors at the end of the run.
        Outcome::PendingDeadLetter | Outcome::Ready | Outcome::Stopped | Outcome::Forgotten => {}
    }
}

fn rejected(
    observer: &dyn Observer,
    record: &Record,
    rejection: &super::dead_letter::Rejection,
    action: OnRejection,
) {
    observer.on(&Event::Rejected { record, rejection, action });
}

/// Removes a worker when it leaves, and reports a panic to the loop, which would wait for an answer that never comes.
struct Alarm<'a>(&'a WorkerPool, usize);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.workers.remove(&self.1);
        if std::thread::panicking() {
            state.panicked = true;
            state.control.dispatcher.drain();
            self.0.go.notify_all();
        }
        let is_idle = state.control.dispatcher.is_idle();
        state.loop_is_due |= state.panicked || is_idle;
        drop(state);
        self.0.news.notify_one();
    }
}

/// Drains when the loop itself panics: the thread scope then waits for the workers, which would never end.
pub(super) struct DrainOnPanic<'a>(pub(super) &'a WorkerPool);

impl Drop for DrainOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().control.dispatcher.drain();
            self.0.drain();
        }
    }
}

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
