//! A counting semaphore built from `Mutex` and `Condvar`: at most *n* at once, the others wait their turn.
//!
//! std has none. What it offers beyond a counter behind a lock:
//!
//! - **A permit is a guard.** It is given back when it is dropped, also by a panic, so none can be forgotten.
//! - **First come, first served.** Each waiter draws a number, and only the lowest number may enter. A newcomer
//!   never overtakes a waiter ([`Semaphore::try_acquire`] included), so no waiter starves as long as permits
//!   keep coming back. A waiter that times out leaves its place to the next.
//! - **It can be resized while in use.** Shrinking revokes nothing: nobody enters until enough have left. There are two
//!   bounds, the [limit](Semaphore::resize) and the [ceiling](Semaphore::set_ceiling); the lower one counts.
//! - **It can be closed.** All who wait, and all who come later, get [`Closed`]; permits that are out stay good. That is
//!   how a run drains.
//!
//! ```
//! use sluicegate::relay::semaphore::{Closed, Semaphore};
//!
//! let semaphore = Semaphore::new(2);
//! std::thread::scope(|scope| {
//!     for _ in 0..10 {
//!         scope.spawn(|| {
//!             let _permit = semaphore.acquire()?;
//!             // At most two of the ten are here at once.
//!             Ok::<(), Closed>(())
//!         });
//!     }
//! });
//! assert_eq!(semaphore.in_use(), 0);
//! assert!(semaphore.most_in_use() <= 2);
//!
//! // Resized while in use: the permits that are out stay good, and nobody enters until enough are back.
//! let (first, second) = (semaphore.acquire()?, semaphore.acquire()?);
//! semaphore.resize(1);
//! drop(first);
//! assert!(semaphore.try_acquire()?.is_none());
//! drop(second);
//! assert!(semaphore.try_acquire()?.is_some());
//!
//! // Closed: nobody enters any more.
//! semaphore.close();
//! assert_eq!(semaphore.acquire().map(drop), Err(Closed));
//! # Ok::<(), Closed>(())
//! ```

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The semaphore was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl std::error::Error for Closed {}

/// A counting semaphore. See the [module](self) for what it promises.
#[derive(Debug)]
pub struct Semaphore {
    state: Mutex<State>,
    /// Something changed for those who wait: a permit came back, a place in the queue fell free, the limit was
    /// changed, or it was closed. All are woken, and all but the first in the queue sleep on: which thread a
    /// single notification would wake is the system's choice, and it need not be the one whose turn it is.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    limit: usize,
    ceiling: usize,
    in_use: usize,
    most_in_use: usize,
    closed: bool,
    next_number: u64,
    /// The numbers that wait, lowest first. Bounded by the number of waiting threads.
    queue: VecDeque<u64>,
}

impl State {
    fn has_room(&self) -> bool {
        self.in_use < self.limit.min(self.ceiling)
    }

    fn enter(&mut self) {
        self.in_use += 1;
        self.most_in_use = self.most_in_use.max(self.in_use);
    }

    fn leave_queue(&mut self, number: u64) {
        self.queue.retain(|waiting| *waiting != number);
    }
}

/// The right to be one of the *n*. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "a permit that is not kept is given back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
}

impl Permit<'_> {
    /// Whether it may be used once more instead of being given back: nobody waits for it, the bounds allow it, and the
    /// semaphore is not closed.
    pub fn may_go_on(&self) -> bool {
        let state = self.semaphore.lock();
        !state.closed && state.queue.is_empty() && state.in_use <= state.limit.min(state.ceiling)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.semaphore.lock();
        state.in_use -= 1;
        let someone_waits = !state.queue.is_empty();
        drop(state);
        if someone_waits {
            self.semaphore.changed.notify_all();
        }
    }
}

impl Semaphore {
    /// At most `limit` permits are out at once. With 0 nobody enters until it is [resized](Self::resize).
    pub fn new(limit: usize) -> Self {
        let state = State {
            limit,
            ceiling: usize::MAX,
            in_use: 0,
            most_in_use: 0,
            closed: false,
            next_number: 0,
            queue: VecDeque::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A poisoned lock means that a thread panicked while it held it. Nothing in here panics half-way through a
    /// change (the counts move by one, under the lock, in one statement), so the state is whole and used as is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Closed`] if it is closed, before or while waiting.
    pub fn acquire(&self) -> Result<Permit<'_>, Closed> {
        // Without a deadline the wait ends with a permit or with an error, never with `None`.
        loop {
            if let Some(permit) = self.enter_until(None)? {
                return Ok(permit);
            }
        }
    }

    /// Takes a permit if one is free and nobody waits for it; `None` otherwise.
    ///
    /// # Errors
    /// [`Closed`] if it is closed.
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if !state.queue.is_empty() || !state.has_room() {
            return Ok(None);
        }
        state.enter();
        Ok(Some(Permit { semaphore: self }))
    }

    /// Waits for a permit, at most for `time`; `None` if it ran out.
    ///
    /// # Errors
    /// [`Closed`] if it is closed, before or while waiting.
    pub fn acquire_timeout(&self, time: Duration) -> Result<Option<Permit<'_>>, Closed> {
        // A time beyond what the clock can hold is as good as no deadline.
        self.enter_until(Instant::now().checked_add(time))
    }

    fn enter_until(&self, deadline: Option<Instant>) -> Result<Option<Permit<'_>>, Closed> {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.queue.push_back(number);
        // A wait may end without a notification (a spurious wake-up), and a notification may be for another
        // waiter: what counts is the state, looked at again each time.
        let outcome = loop {
            if state.closed {
                break Err(Closed);
            }
            if state.queue.front() == Some(&number) && state.has_room() {
                state.enter();
                break Ok(Some(Permit { semaphore: self }));
            }
            match self.wait(state, deadline) {
                (woken, true) => state = woken,
                (woken, false) => {
                    state = woken;
                    break Ok(None);
                }
            }
        };
        state.leave_queue(number);
        // Whoever leaves the queue may have stood before one who can enter now: after a timeout, or when
        // several permits came back together.
        let next_may_enter = !state.queue.is_empty() && state.has_room();
        drop(state);
        if next_may_enter {
            self.changed.notify_all();
        }
        outcome
    }

    /// Changes how many may be in use at once. Growing lets waiters in at once; shrinking recalls nothing.
    pub fn resize(&self, limit: usize) {
        self.lock().limit = limit;
        self.changed.notify_all();
    }

    /// The second bound beside the limit, for whoever shares permits out over several processes. There is none at
    /// first.
    pub fn set_ceiling(&self, ceiling: usize) {
        self.lock().ceiling = ceiling;
        self.changed.notify_all();
    }

    /// The ceiling, and how many permits are out: read together, so that the two fit.
    pub fn ceiling_and_use(&self) -> (usize, usize) {
        let state = self.lock();
        (state.ceiling, state.in_use)
    }

    /// Lets nobody in any more: who waits, and who comes later, leaves with [`Closed`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, State>, bool) {
        let Some(deadline) = deadline else {
            return (self.changed.wait(state).unwrap_or_else(PoisonError::into_inner), true);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (state, false);
        }
        (self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0, true)
    }

    /// How many permits are out.
    pub fn in_use(&self) -> usize {
        self.lock().in_use
    }

    /// How many may be out at once: the lower one of limit and ceiling.
    pub fn limit(&self) -> usize {
        let state = self.lock();
        state.limit.min(state.ceiling)
    }

    /// The most permits that ever were out at once.
    pub fn most_in_use(&self) -> usize {
        self.lock().most_in_use
    }

    /// How many wait for a permit.
    #[cfg(all(test, not(loom)))]
    fn waiting(&self) -> usize {
        self.lock().queue.len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);

    /// Waits until `n` threads queue: they have drawn their numbers, so their order is settled.
    fn await_waiting(semaphore: &Semaphore, n: usize) {
        let deadline = Instant::now() + LONG;
        while semaphore.waiting() != n {
            assert!(Instant::now() < deadline, "{n} threads never came to wait");
            thread::yield_now();
        }
    }

    #[test]
    fn sixty_four_threads_never_pass_the_bound_and_all_get_through() {
        let semaphore = Semaphore::new(5);
        let inside = AtomicUsize::new(0);
        let entered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let permit = semaphore.acquire().unwrap();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 5);
                        entered.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 64 * 500);
        assert_eq!(semaphore.in_use(), 0);
        assert_eq!(semaphore.most_in_use(), 5);
    }

    #[test]
    fn a_permit_goes_on_only_while_nobody_waits_and_the_bounds_allow_it() {
        let semaphore = Semaphore::new(2);
        let (first, second) = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        assert!(first.may_go_on() && second.may_go_on());
        semaphore.set_ceiling(1);
        assert!(!first.may_go_on(), "one has to go");
        drop(second);
        assert!(first.may_go_on());
        thread::scope(|scope| {
            scope.spawn(|| semaphore.acquire().map(drop));
            await_waiting(&semaphore, 1);
            assert!(!first.may_go_on(), "another is before it");
            semaphore.close();
        });
        assert!(!first.may_go_on(), "it is closed");
    }

    #[test]
    fn waiters_enter_in_the_order_they_came() {
        let semaphore = Semaphore::new(1);
        let (entered, order) = mpsc::channel();
        thread::scope(|scope| {
            let first = semaphore.acquire().unwrap();
            for number in 0..10 {
                let (semaphore, entered) = (&semaphore, entered.clone());
                scope.spawn(move || {
                    let _permit = semaphore.acquire().unwrap();
                    entered.send(number).unwrap();
                });
                await_waiting(semaphore, number + 1);
            }
            assert_eq!(semaphore.try_acquire().unwrap().map(drop), None, "no newcomer overtakes");
            drop(first);
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_waiter_that_runs_out_of_time_leaves_its_place_to_the_next() {
        let semaphore = Semaphore::new(1);
        thread::scope(|scope| {
            let first = semaphore.acquire().unwrap();
            let short =
                scope.spawn(|| semaphore.acquire_timeout(Duration::from_millis(20)).unwrap().is_none());
            await_waiting(&semaphore, 1);
            let patient = scope.spawn(|| semaphore.acquire_timeout(LONG).unwrap().is_some());
            assert!(short.join().unwrap());
            drop(first);
            assert!(patient.join().unwrap());
        });
    }

    #[test]
    fn shrinking_recalls_nothing_and_lets_nobody_in_until_enough_have_left() {
        let semaphore = Semaphore::new(3);
        let permits: Vec<_> = (0..3).map(|_| semaphore.acquire().unwrap()).collect();
        semaphore.resize(1);
        assert_eq!(semaphore.in_use(), 3);
        let mut permits = permits.into_iter();
        for _ in 0..2 {
            drop(permits.next());
            assert!(semaphore.try_acquire().unwrap().is_none());
        }
        drop(permits.next());
        assert!(semaphore.try_acquire().unwrap().is_some());
    }

    #[test]
    fn growing_lets_all_in_who_fit() {
        let semaphore = Semaphore::new(0);
        thread::scope(|scope| {
            let handles: Vec<_> = (0..4).map(|_| scope.spawn(|| semaphore.acquire().map(drop))).collect();
            await_waiting(&semaphore, 4);
            semaphore.resize(4);
            assert!(handles.into_iter().all(|handle| handle.join().unwrap().is_ok()));
        });
    }

    #[test]
    fn closing_sends_waiters_away_and_leaves_permits_good() {
        let semaphore = Semaphore::new(1);
        thread::scope(|scope| {
            let permit = semaphore.acquire().unwrap();
            let waiter = scope.spawn(|| semaphore.acquire().map(drop));
            await_waiting(&semaphore, 1);
            semaphore.close();
            assert_eq!(waiter.join().unwrap(), Err(Closed));
            assert_eq!(semaphore.try_acquire().map(|_| ()), Err(Closed));
            drop(permit);
        });
    }

    #[test]
    fn the_longest_time_there_is_is_no_fault() {
        let semaphore = Semaphore::new(1);
        assert!(semaphore.acquire_timeout(Duration::MAX).unwrap().is_some());
    }

    #[test]
    fn a_panic_gives_the_permit_back() {
        let semaphore = Semaphore::new(1);
        let panicked = thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _permit = semaphore.acquire().unwrap();
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            holder.join().is_err()
        });
        assert!(panicked);
        assert!(semaphore.try_acquire().unwrap().is_some());
    }
}

/// Every interleaving of three threads, explored by loom: `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    /// Runs `body` in two threads beside the model's own.
    fn with_two(semaphore: &Arc<Semaphore>, body: fn(&Semaphore)) -> [thread::JoinHandle<()>; 2] {
        [(); 2].map(|()| {
            let semaphore = Arc::clone(semaphore);
            thread::spawn(move || body(&semaphore))
        })
    }

    #[test]
    fn the_bound_holds_and_no_wake_up_is_lost() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::new(1));
            let inside = Arc::new(AtomicUsize::new(0));
            let handles = [(); 2].map(|()| {
                let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
                thread::spawn(move || {
                    let permit = semaphore.acquire().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                })
            });
            drop(semaphore.acquire().unwrap());
            handles.map(|handle| handle.join().unwrap());
            assert_eq!(semaphore.in_use(), 0);
        });
    }

    #[test]
    fn growing_wakes_those_who_wait() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::new(0));
            let handles = with_two(&semaphore, |semaphore| drop(semaphore.acquire().unwrap()));
            semaphore.resize(1);
            handles.map(|handle| handle.join().unwrap());
        });
    }

    #[test]
    fn shrinking_while_others_come_and_go_keeps_the_lower_bound() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::new(2));
            let handles = with_two(&semaphore, |semaphore| drop(semaphore.acquire().unwrap()));
            semaphore.resize(1);
            handles.map(|handle| handle.join().unwrap());
            let _one = semaphore.try_acquire().unwrap().unwrap();
            assert!(semaphore.try_acquire().unwrap().is_none());
        });
    }

    #[test]
    fn closing_lets_nobody_wait_for_ever() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::new(1));
            let handles = with_two(&semaphore, |semaphore| drop(semaphore.acquire()));
            semaphore.close();
            handles.map(|handle| handle.join().unwrap());
            assert_eq!(semaphore.acquire().map(drop), Err(Closed));
        });
    }
}
