//! A kind of work that a background thread does for the loop, one job at a time, retried after a backoff.

use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use std::time::{Duration, Instant};

/// The bounds of the wait before a failed commit or put is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A kind of work that others do, one job at a time.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) is_under_way: bool,
    pub(super) began: Instant,
    pub(super) due: Instant,
    pub(super) failures: u32,
    /// Since when it has failed.
    pub(super) failing_since: Option<Instant>,
}

impl Job {
    pub(super) fn new(now: Instant) -> Self {
        Self { is_under_way: false, began: now, due: now, failures: 0, failing_since: None }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && self.due <= now
    }

    /// Brings the next attempt forward: it waits no longer than this.
    pub(super) fn due_within(&mut self, most: Duration, now: Instant) {
        self.due = self.due.min(now + most);
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.is_under_way, self.began) = (true, now);
    }

    pub(super) fn succeeded(&mut self, next: Instant) {
        (self.is_under_way, self.due) = (false, next);
        (self.failures, self.failing_since) = (0, None);
    }

    /// It is tried again after a backoff, which is given.
    pub(super) fn failed(&mut self, now: Instant, jitter: &mut Jitter) -> Duration {
        self.is_under_way = false;
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        let (min, max) = RETRY;
        let delay = Backoff::new(min, max).unwrap_or_default().delay(self.failures, Some(min), jitter);
        self.due = now.checked_add(delay).unwrap_or(now);
        delay
    }
}
