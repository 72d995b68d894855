//! The wait before a retry: exponential, with full jitter, between two bounds.

use super::jitter::Jitter;
use std::time::Duration;

/// The bounds of the wait before another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits drawn between nothing and a ceiling that starts at `min` and doubles with each failure up to `max`.
    /// `None` if `min` is zero or above `max`.
    pub fn new(min: Duration, max: Duration) -> Option<Self> {
        (!min.is_zero() && min <= max).then_some(Self { min, max })
    }

    /// The longest wait after `failures` consecutive failures, counted from 1.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// The wait after `failures` consecutive failures: anything up to the [ceiling](Self::ceiling), so that what failed
    /// together is not retried together. With `at_least` (the destination's own `Retry-After`) the
    /// wait is never shorter than that, and the jitter only adds to it.
    pub fn delay(&self, failures: u32, at_least: Option<Duration>, jitter: &mut Jitter) -> Duration {
        let drawn = jitter.up_to(self.ceiling(failures));
        match at_least {
            None => drawn,
            // A tenth is enough to spread the herd without making a long wait much longer.
            Some(least) => least.max(drawn).saturating_add(jitter.up_to(least.min(self.max) / 10)),
        }
    }

    /// The time until the next probe of a destination that turned `failures` in a row away: like
    /// [`delay`](Self::delay), but never less than half of the ceiling, so that a pause is one.
    pub fn pause(&self, failures: u32, at_least: Option<Duration>, jitter: &mut Jitter) -> Duration {
        let half = self.ceiling(failures) / 2;
        match at_least {
            None => half + jitter.up_to(half),
            Some(_) => self.delay(failures, at_least, jitter).max(half),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(200), max: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff::default();
        let ceilings: Vec<_> = (0..5).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [200, 200, 400, 800, 1600]);
        assert_eq!(backoff.ceiling(u32::MAX), MAX);
    }

    #[test]
    fn the_jitter_fills_the_whole_range_and_never_leaves_it() {
        let mut jitter = Jitter::seeded(1);
        let drawn: Vec<_> = (0..10_000).map(|_| Backoff::default().delay(1, None, &mut jitter)).collect();
        assert!(drawn.iter().all(|d| *d <= MIN));
        assert!(drawn.iter().any(|d| *d < MIN / 20) && drawn.iter().any(|d| *d > MIN * 19 / 20));
    }

    #[test]
    fn a_retry_after_is_a_floor() {
        let mut jitter = Jitter::seeded(2);
        for seconds in [0, 1, 5, 600] {
            let floor = Duration::from_secs(seconds);
            for failures in [1, 5, 40] {
                assert!(Backoff::default().delay(failures, Some(floor), &mut jitter) >= floor);
            }
        }
    }

    #[test]
    fn refuses_bounds_that_make_no_sense() {
        assert_eq!(Backoff::new(Duration::ZERO, MAX), None);
        assert_eq!(Backoff::new(MAX, MIN), None);
        assert!(Backoff::new(MAX, MAX).is_some());
    }
}
