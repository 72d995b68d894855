//! When another attempt may start, the latest time of rate, retry budget and destinations, and how many may be in
//! flight. Pure: takes `now`.

use super::adaptive_limit::AdaptiveLimit;
use super::destinations::Destinations;
use super::rate::TokenBucket;
use super::retry_budget::RetryBudget;
use super::settings::RelaySettings;
use super::transport::{Answer, SendError, SendErrorKind};
use super::verdict::{PauseCause, Verdict};
use std::time::Instant;

/// Everything that holds attempts back beside the semaphore.
#[derive(Debug)]
pub(super) struct Brakes {
    pub(crate) destinations: Destinations,
    most: usize,
    limit: Option<AdaptiveLimit>,
    rate: Option<TokenBucket>,
    budget: Option<RetryBudget>,
}

impl Brakes {
    pub(super) fn new(settings: &RelaySettings) -> Self {
        Self {
            destinations: Destinations::new(
                settings.backoff,
                settings.pause_after,
                settings.auto_concurrency.is_some(),
            ),
            most: settings.max_concurrency.get(),
            limit: settings.auto_concurrency.map(AdaptiveLimit::new),
            rate: settings.max_rate.map(TokenBucket::new),
            budget: settings.retry_budget.map(RetryBudget::new),
        }
    }

    /// The most requests in flight at the moment.
    pub(super) fn limit(&self) -> usize {
        self.limit.as_ref().map_or(self.most, |limit| limit.current().min(self.most))
    }

    /// When the rate allows another attempt; `None`: now.
    pub(super) fn rate_free_at(&self, now: Instant) -> Option<Instant> {
        self.rate.as_ref().and_then(|rate| rate.free_at(now))
    }

    /// When the budget allows another retry; `None`: now.
    pub(super) fn retry_free_at(&mut self, now: Instant) -> Option<Instant> {
        self.budget.as_mut().and_then(|budget| budget.free_at(now))
    }

    /// An attempt starts. A probe counts as a retry, whatever record it is.
    pub(super) fn started(&mut self, is_retry: bool, now: Instant) {
        if let Some(rate) = &mut self.rate {
            rate.take(now);
        }
        if let Some(budget) = &mut self.budget {
            budget.attempted(is_retry, now);
        }
    }

    /// An attempt has ended, with `in_flight` under way until then.
    pub(super) fn ended(
        &mut self,
        verdict: Verdict,
        outcome: &Result<Answer, SendError>,
        (sent, now): (Instant, Instant),
        in_flight: usize,
    ) {
        let Some(limit) = &mut self.limit else { return };
        match (verdict, outcome) {
            (Verdict::Accepted, _)
            | (Verdict::Retry { .. }, Err(SendError { kind: SendErrorKind::Timeout, .. })) => {
                limit.took(now, sent, in_flight);
            }
            (Verdict::Pause { cause: PauseCause::Load | PauseCause::Rate, .. }, Ok(_)) => {
                limit.turned_away(now, sent, in_flight);
            }
            // The duration of other failures says nothing about load.
            _ => {}
        }
    }
}
