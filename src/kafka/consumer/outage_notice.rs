//! When to log a persistent failure: not the first one, which any restart of a broker causes, and then only from time
//! to time.

use super::ConsumerError;
use super::state::Shared;
use crate::notice::Severity;
use std::time::{Duration, Instant};

/// The minimum time between two notices of the same outage.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Counts consecutive failures and decides when to log one.
#[derive(Debug)]
pub(super) struct OutageNotice {
    /// The message once the outage is over.
    over: &'static str,
    failures: u32,
    told: Option<Instant>,
}

impl OutageNotice {
    /// No failure yet. `over` is the message when a logged outage is over.
    pub(super) fn new(over: &'static str) -> Self {
        Self { over, failures: 0, told: None }
    }

    /// Counts a failure and logs it if that is due.
    pub(super) fn failed(&mut self, shared: &Shared, error: &ConsumerError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 && self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            self.told = Some(Instant::now());
            shared.notify_of(Severity::Warning, format!("{}; trying again", shared.explain(error)));
        }
    }

    /// Ends the outage; logs that if the outage was logged.
    pub(super) fn recovered(&mut self, shared: &Shared) {
        self.failures = 0;
        if self.told.take().is_some() {
            shared.notify_of(Severity::Info, self.over.into());
        }
    }

    /// The number of consecutive failures.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}
