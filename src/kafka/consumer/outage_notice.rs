//! When a ongoing trouble is worth a word: not at the first failure, which is what any restart of a broker looks
//! like, and then not all the time.

use super::ConsumerError;
use super::state::Shared;
use crate::relay::notice::Severity;
use std::time::{Duration, Instant};

/// How often a ongoing trouble is told.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Counts failures in a row, and what was said of them.
#[derive(Debug)]
pub(super) struct OutageNotice {
    /// What is said once it is over.
    over: &'static str,
    failures: u32,
    told: Option<Instant>,
}

impl OutageNotice {
    /// Nothing has failed yet; `over` is said once what failed works again.
    pub(super) fn new(over: &'static str) -> Self {
        Self { over, failures: 0, told: None }
    }

    /// Another failure.
    pub(super) fn failed(&mut self, shared: &Shared, error: &ConsumerError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 && self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            self.told = Some(Instant::now());
            shared.notify_of(Severity::Warning, format!("{}; trying again", shared.explain(error)));
        }
    }

    /// It works.
    pub(super) fn recovered(&mut self, shared: &Shared) {
        self.failures = 0;
        if self.told.take().is_some() {
            shared.notify_of(Severity::Info, self.over.into());
        }
    }

    /// How many failures there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}
