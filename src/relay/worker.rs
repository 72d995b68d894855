//! The floor on which workers pull records, and where the loop waits for their news.
//!
//! One mutex holds the window; it is never held while a record is sent, an observer is told or a position is
//! committed. Workers wait on one condition, the loop on another.

use super::TICK;
use super::event::{Event, Fate, Observer};
use super::pace::Shift;
use super::record::Record;
use super::semaphore::Semaphore;
use super::share::Share;
use super::source::Lease;
use super::transport::{Answer, Attempt, SendError, Transport};
use super::window::{Answered, Condemned, Fortune, Next, Ticket, Window};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The longest wait of a worker before it looks again, so that a wake-up missed by a bug costs time, not the run.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What workers and the loop share.
pub(super) struct Floor {
    semaphore: Semaphore,
    lease: Lease,
    share: Share,
    state: Mutex<State>,
    /// Something may go that could not before.
    go: Condvar,
    /// Something for the loop: a refused record, or nothing in flight any more.
    news: Condvar,
}

struct State {
    window: Window,
    /// The numbers of the workers that are there: from 1 to the limit at most.
    workers: BTreeSet<usize>,
    /// What the semaphore was resized to.
    permits: usize,
    idle_workers: usize,
    /// The idle worker that keeps the time for all, and when it wakes. The others sleep until they are woken.
    sentry: Option<(usize, Instant)>,
    /// The loop waits, and wants to know when more can be taken in.
    loop_awaits_room: bool,
    drained: bool,
    panicked: bool,
}

/// The window behind its lock.
pub(super) struct WindowGuard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for WindowGuard<'_> {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.0.window
    }
}

impl std::ops::DerefMut for WindowGuard<'_> {
    fn deref_mut(&mut self) -> &mut Window {
        &mut self.0.window
    }
}

impl State {
    /// Whether an idle worker has something to do beside the one that has just taken a record: another record that
    /// may go, or a time to keep that nobody keeps.
    fn wants_another(&self) -> bool {
        self.idle_workers > 0
            && (self.window.has_ready()
                || self.window.next_due().is_some_and(|due| self.sentry.is_none_or(|(_, at)| due < at)))
    }
}

impl Floor {
    pub(super) fn new(window: Window, lease: Lease, share: Share) -> Self {
        let semaphore = Semaphore::new(window.limit());
        let state = State {
            window,
            workers: BTreeSet::new(),
            permits: semaphore.limit(),
            idle_workers: 0,
            sentry: None,
            loop_awaits_room: false,
            drained: false,
            panicked: false,
        };
        Self { semaphore, lease, share, state: Mutex::new(state), go: Condvar::new(), news: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The window's methods leave it whole or panic on a broken invariant; after a panic the run drains and
        // ends without sending more, so what is read from it then is only what was done before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn window(&self) -> WindowGuard<'_> {
        WindowGuard(self.lock())
    }

    /// Nothing more is sent. Says whether that is new.
    pub(super) fn drain(&self) -> bool {
        let mut state = self.lock();
        let new = !std::mem::replace(&mut state.drained, true);
        state.window.drain();
        drop(state);
        self.semaphore.close();
        self.go.notify_all();
        new
    }

    /// Takes records in and wakes as many workers. Says how many records are under way.
    pub(super) fn admit(&self, records: Vec<Record>) -> usize {
        let now = Instant::now();
        let count = records.len();
        let mut state = self.lock();
        records.into_iter().for_each(|record| state.window.admit(record, now));
        let (idle, under_way) = (state.idle_workers, state.window.len());
        drop(state);
        (0..count.min(idle)).for_each(|_| self.go.notify_one());
        under_way
    }

    /// The numbers of the workers that should be there beside those that are: no more than may send, and none that
    /// has nothing to do. They count as there from now on, until they leave.
    pub(super) fn hire(&self) -> impl Iterator<Item = usize> {
        let mut state = self.lock();
        let granted = usize::try_from(self.share.granted()).unwrap_or(usize::MAX);
        let wanted = state.window.limit().min(granted).min(state.window.len());
        let missing = if state.workers.len() < wanted { (1..=wanted).collect() } else { BTreeSet::new() };
        let hired: Vec<usize> = missing.difference(&state.workers).copied().collect();
        state.workers.extend(&hired);
        hired.into_iter()
    }

    /// There will be no more records: workers finish once all are done.
    pub(super) fn close(&self) {
        self.lock().window.close();
        self.go.notify_all();
    }

    /// These records are durably kept.
    pub(super) fn settled(&self, settled: &[Condemned]) {
        let mut state = self.lock();
        settled.iter().for_each(|condemned| state.window.settled(condemned));
        drop(state);
        // Their successors may go, or the batch is done.
        self.go.notify_all();
    }

    /// Waits for a refused record, for quiet, or where `for_room` says so until more can be taken in; at most until
    /// `deadline`.
    pub(super) fn await_news(&self, deadline: Instant, for_room: bool) -> (Vec<Condemned>, bool) {
        let mut state = self.lock();
        state.loop_awaits_room = for_room;
        loop {
            // A worker that panicked took its record with it: it will never be answered.
            let quiet = state.window.is_quiet() || state.panicked;
            let left = deadline.saturating_duration_since(Instant::now());
            let room = for_room && state.window.is_hungry();
            if quiet || room || state.window.has_condemned() || left.is_zero() {
                state.loop_awaits_room = false;
                let condemned = state.window.take_condemned();
                return (condemned, quiet);
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One worker: permit first, then the next record that may go, until there is nothing more. The permit is
    /// held for the request alone.
    pub(super) fn work(&self, number: usize, transport: &dyn Transport, observer: &dyn Observer) {
        let _alarm = Alarm(self, number);
        loop {
            observer.on(&Event::WorkerWaiting(number));
            let Some(worked) = self.work_once(number, transport, observer) else { return };
            self.tell(observer, &worked);
        }
    }

    fn work_once(&self, number: usize, transport: &dyn Transport, observer: &dyn Observer) -> Option<Worked> {
        loop {
            if self.lock().window.limit() < number {
                // Fewer may send now. What this one was woken for is another's.
                self.go.notify_one();
                return None;
            }
            let permit = match self.semaphore.acquire_timeout(LONGEST_WAIT).ok()? {
                Some(permit) => permit,
                None if self.lock().window.is_finished() => return None,
                None => continue,
            };
            let mut state = self.lock();
            let wait = match self.next(&mut state) {
                Next::Send(ticket) => {
                    let wake = state.wants_another();
                    drop(state);
                    if wake {
                        self.go.notify_one();
                    }
                    observer.on(&Event::WorkerRunning(number));
                    if ticket.is_probe() {
                        observer.on(&Event::Probing { record: ticket.record() });
                    }
                    let worked = self.send(ticket, transport);
                    drop(permit);
                    observer.on(&Event::WorkerReleased(number));
                    return Some(worked);
                }
                Next::Finished => {
                    drop(state);
                    self.go.notify_all();
                    return None;
                }
                Next::Wait(until) => until,
            };
            drop(permit);
            self.idle(number, state, wait);
        }
    }

    /// Sleeps until woken, or until `until` unless another worker wakes before that anyway.
    fn idle(&self, number: usize, mut state: MutexGuard<'_, State>, until: Option<Instant>) {
        let mine = until.filter(|until| state.sentry.is_none_or(|(_, other)| *until < other));
        if let Some(until) = mine {
            state.sentry = Some((number, until));
        }
        let longest = mine.map_or(LONGEST_WAIT, |until| until.saturating_duration_since(Instant::now()));
        state.idle_workers += 1;
        let (mut state, _) =
            self.go.wait_timeout(state, longest.min(LONGEST_WAIT)).unwrap_or_else(PoisonError::into_inner);
        state.idle_workers -= 1;
        state.sentry = state.sentry.filter(|(sentry, _)| *sentry != number);
    }

    fn next(&self, state: &mut State) -> Next {
        let now = Instant::now();
        if !self.lease.holds(now) && !state.drained {
            return Next::Wait(Some(now + TICK));
        }
        if state.window.is_finished() {
            return Next::Finished;
        }
        if !self.share.enter() {
            return Next::Wait(Some(now + TICK));
        }
        let next = state.window.next(now, SystemTime::now());
        if !matches!(next, Next::Send(_)) {
            self.share.leave();
        }
        next
    }

    /// As many permits as the window thinks good.
    fn resize(&self, state: &mut State) {
        let limit = state.window.limit();
        if std::mem::replace(&mut state.permits, limit) != limit {
            self.semaphore.resize(limit);
        }
    }

    fn send(&self, ticket: Ticket, transport: &dyn Transport) -> Worked {
        let started = Instant::now();
        let attempt = ticket.attempt();
        let outcome =
            transport.send(ticket.record(), Attempt { number: attempt, new_connection: ticket.is_probe() });
        self.share.leave();
        let now = Instant::now();
        let mut state = self.lock();
        let answered = state.window.answered(ticket, &outcome, now, SystemTime::now());
        self.resize(&mut state);
        let news = state.window.is_quiet()
            || state.window.has_condemned()
            || state.loop_awaits_room && state.window.is_hungry();
        // What may go now because of it is this worker's next record; who takes one wakes another for the rest.
        drop(state);
        if news {
            self.news.notify_one();
        }
        Worked { answered, outcome, attempt, took: now.saturating_duration_since(started) }
    }

    fn tell(&self, observer: &dyn Observer, worked: &Worked) {
        let Worked { answered: Answered { record, fortune, shift, mend }, outcome, attempt, took } = worked;
        let cause = Cause(outcome).to_string();
        match fortune {
            Fortune::Delivered => {
                observer.on(&Event::Delivered { record, attempt: *attempt, took: *took });
            }
            Fortune::Retrying(delay) => {
                observer.on(&Event::Retrying { record, attempt: *attempt, delay: *delay, cause: &cause });
            }
            Fortune::Dropped(refusal) => {
                observer.on(&Event::Refused { record, refusal, fate: Fate::Dropped });
            }
            // What is condemned is told once it is kept, what halts the run at its end.
            Fortune::Condemned(_) | Fortune::Held | Fortune::Halted | Fortune::Forgotten => {}
        }
        match shift {
            Some(Shift::Closed(delay)) => {
                observer.on(&Event::Paused { delay: *delay, cause: &cause, mend: *mend });
            }
            Some(Shift::Reopened(after)) => observer.on(&Event::Reopened { after: *after }),
            None => {}
        }
    }
}

/// A finished attempt, to be told when no lock is held.
struct Worked {
    answered: Answered,
    outcome: Result<Answer, SendError>,
    attempt: u32,
    took: Duration,
}

/// An outcome in words.
struct Cause<'a>(&'a Result<Answer, SendError>);

impl std::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ok(Answer { status, excerpt, .. }) if excerpt.is_empty() => write!(f, "status {status}"),
            Ok(Answer { status, excerpt, .. }) => write!(f, "status {status} ({excerpt})"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

/// Strikes a worker off when it leaves, and tells the loop when it unwinds, so that it does not wait for an answer
/// that will never come.
struct Alarm<'a>(&'a Floor, usize);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.workers.remove(&self.1);
        if std::thread::panicking() {
            state.panicked = true;
            state.window.drain();
            self.0.go.notify_all();
        }
        drop(state);
        self.0.news.notify_one();
    }
}

/// Drains when the loop itself unwinds: the scope then waits for the workers, and they would go on for ever.
pub(super) struct DrainOnPanic<'a>(pub(super) &'a Floor);

impl Drop for DrainOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.drain();
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
