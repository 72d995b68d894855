//! Where workers and the loop meet: one lock, and the conditions on which they wait.
//!
//! The lock is never held while a record is sent, an observer is told or a position is committed. Lock order: this
//! one, then the semaphore's. Workers wait for a permit first, then here, for a record that may go.

use super::control::{Control, TICK};
use super::dead_letter::DeadLetterError;
use super::dispatcher::{Answered, Next, Outcome, PendingDeadLetter, Ticket};
use super::event::{Event, Observer};
use super::group_limit::GroupPermits;
use super::lease::Lease;
use super::semaphore::{Permit, Semaphore};
use super::settings::OnRejection;
use super::source::CommitError;
use super::stop::Stop;
use super::transport::{Answer, SendError, Transport};
use crate::record::{Checkpoint, Record};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The longest wait of a worker before it looks again, so that a wake-up missed by a bug costs time, not the run.
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
    /// For workers: something may go that could not before.
    go: Condvar,
    /// For the loop: something to look at.
    news: Condvar,
}

/// What is behind the lock.
pub(super) struct PoolState {
    pub control: Control,
    /// Results of work in the background.
    pub done: Vec<Completion>,
    /// The numbers of the workers that are there: from 1 to the limit at most.
    workers: BTreeSet<usize>,
    /// What the semaphore was resized to.
    permits: usize,
    idle_workers: usize,
    /// The idle worker that keeps the time for all, and when it wakes. The others sleep until they are woken.
    timekeeper: Option<(usize, Instant)>,
    /// Records that came to their end since the loop looked.
    finished: usize,
    /// The loop has something to look at.
    loop_is_due: bool,
    /// A worker panicked: its record will never be answered.
    panicked: bool,
}

/// What was done in the background.
pub(super) enum Completion {
    Committed(Vec<Checkpoint>, Result<(), CommitError>),
    PutDeadLetters(Vec<PendingDeadLetter>, Result<(), DeadLetterError>),
    /// It panicked: it does nothing any more.
    Panicked(&'static str),
}

impl PoolState {
    /// Whether an idle worker has something to do beside the one that has just taken a record: another record that
    /// may go, or a time to keep that nobody keeps.
    fn wants_another(&self) -> bool {
        let dispatcher = &self.control.dispatcher;
        let is_kept = |due: Instant| self.timekeeper.is_some_and(|(_, at)| at <= due);
        self.idle_workers > 0
            && (dispatcher.has_ready() || dispatcher.next_due_at().is_some_and(|due| !is_kept(due)))
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
        // The machines behind it leave themselves whole or panic on a broken invariant; after a panic the run drains
        // and ends without sending more, so what is read from it then is only what was done before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one count of requests in flight.
    pub(super) fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Something changed for workers that they can't know.
    pub(super) fn wake_workers(&self) {
        self.go.notify_all();
    }

    /// Nothing new is sent: workers leave, also those that wait for a permit.
    pub(super) fn drain(&self) {
        self.semaphore.close();
        self.go.notify_all();
    }

    /// Records were taken in: as many workers wake.
    pub(super) fn wake_for(&self, records: usize) {
        let idle = self.lock().idle_workers;
        (0..records.min(idle)).for_each(|_| self.go.notify_one());
    }

    /// Work in the background is done.
    pub(super) fn done(&self, done: Completion) {
        let mut state = self.lock();
        state.done.push(done);
        state.loop_is_due = true;
        drop(state);
        self.news.notify_one();
    }

    /// Waits for news, at most until `until`.
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

    /// The numbers of the workers that should be there beside those that are: no more than may send, and none that
    /// has nothing to do. They count as there from now on, until they leave.
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

    /// These could not be started. Gives how many workers there are.
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

    /// One worker: permit first, then the next record that may go, until there is nothing more. The permit is
    /// held for the request alone.
    pub(super) fn work(&self, number: usize, transport: &dyn Transport, observer: &dyn Observer) {
        let _alarm = Alarm(self, number);
        loop {
            observer.on(&Event::WorkerWaiting(number));
            let Some(ticket) = self.next_ticket(number) else { return };
            observer.on(&Event::WorkerRunning(number));
            if ticket.is_probe() {
                observer.on(&Event::Probing { record: ticket.record() });
            }
            self.send(ticket, number, transport, observer);
        }
    }

    fn next_ticket(&self, number: usize) -> Option<Ticket<Permit<'_>>> {
        loop {
            if self.lock().control.dispatcher.limit() < number {
                // Fewer may send now. What this one was woken for is another's.
                self.go.notify_one();
                return None;
            }
            // The loop may be waiting to join this one, and nobody hands out permits to say so.
            let permit = match self.semaphore.acquire_timeout(TICK).ok()? {
                Some(permit) => permit,
                None if self.lock().control.dispatcher.is_finished() => return None,
                None => continue,
            };
            // A signal counts at once, whatever the loop is doing.
            if self.stop.requested() {
                return None;
            }
            let mut state = self.lock();
            match self.next(&mut state, permit) {
                Next::Send(ticket) => {
                    let wake = state.wants_another();
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

    fn next<'a>(&self, state: &mut PoolState, permit: Permit<'a>) -> Next<Permit<'a>> {
        let now = Instant::now();
        // Where there is nothing more to do the worker leaves: the loop may be waiting to join it.
        if !self.lease.holds(now) && !state.control.dispatcher.is_finished() {
            return Next::Wait(Some(now + TICK));
        }
        state.control.dispatcher.next(permit, now, SystemTime::now())
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
        state.idle_workers -= 1;
        state.timekeeper = state.timekeeper.filter(|(keeper, _)| *keeper != number);
    }

    fn send(
        &self,
        ticket: Ticket<Permit<'_>>,
        number: usize,
        transport: &dyn Transport,
        observer: &dyn Observer,
    ) {
        let attempt = ticket.attempt();
        let started = Instant::now();
        // Invariant 5: no lock is held here. `lock` is called after it.
        let outcome = transport.send(ticket.record(), attempt);
        let now = Instant::now();
        let mut state = self.lock();
        let in_flight = self.semaphore.in_use();
        // Invariant 1.
        assert!(
            (1..=self.max_concurrency).contains(&in_flight),
            "each request has a permit, and no more are in flight"
        );
        let answered = state.control.dispatcher.answered(ticket, &outcome, in_flight, now, SystemTime::now());
        self.after_answer(state);
        observer.on(&Event::WorkerReleased(number));
        tell(observer, &answered, &outcome, attempt.number, now.saturating_duration_since(started));
    }

    /// As many permits as are thought good; and the loop is woken where it has something to do.
    fn after_answer(&self, mut state: MutexGuard<'_, PoolState>) {
        let limit = state.control.dispatcher.limit();
        let resize = std::mem::replace(&mut state.permits, limit) != limit;
        state.finished += 1;
        let dispatcher = &state.control.dispatcher;
        let news = dispatcher.is_idle()
            || dispatcher.has_dead_letters()
            || dispatcher.has_changes()
            || (state.control.takes_more() && dispatcher.may_want_more(state.finished));
        // Told once: the loop looks at everything when it wakes.
        let had_news = state.loop_is_due;
        state.loop_is_due |= news;
        let news = news && !had_news;
        // What may go now because of the answer is this worker's next record; who takes one wakes another for the rest.
        drop(state);
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
    Answered { record, outcome: became }: &Answered,
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
        // Dead letters are told once they are kept, what stops the run at its end.
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

/// An outcome in words.
fn cause(outcome: &Result<Answer, SendError>) -> String {
    match outcome {
        Ok(answer) => super::dispatcher::cause(&(Some(answer.status), answer.excerpt.clone())),
        Err(error) => error.to_string(),
    }
}

/// Strikes a worker off when it leaves, and tells the loop when it unwinds, so that it does not wait for an answer
/// that will never come.
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

/// Drains when the loop itself unwinds: the scope then waits for the workers, and they would go on for ever.
pub(super) struct DrainOnPanic<'a>(pub(super) &'a WorkerPool);

impl Drop for DrainOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().control.dispatcher.drain();
            self.0.drain();
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
