//! A request to stop, from a signal or a caller: sending drains, nothing new is taken.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A flag that can be raised once, from any thread, and waited for.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Not yet requested.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to drain and end.
    pub fn request(&self) {
        let (requested, changed) = &*self.inner;
        // A bool is valid even after a panic of the holder.
        *requested.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was asked for.
    pub(crate) fn requested(&self) -> bool {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the request, at most `time`; says whether it came.
    pub fn wait(&self, time: Duration) -> bool {
        let (requested, changed) = &*self.inner;
        let deadline = Instant::now().checked_add(time);
        let mut guard = requested.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            // Wake-ups may be spurious, so the remaining time is computed each time.
            let left = deadline.map_or(time, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_leaves_as_soon_as_it_is_requested() {
        let stop = Stop::new();
        assert!(!stop.wait(Duration::ZERO));
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait(Duration::from_secs(60))
        });
        stop.request();
        assert!(waiter.join().expect("no panic") && stop.requested());
    }
}
