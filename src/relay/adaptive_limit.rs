//! The number of concurrent requests that a destination handles well, found while sending.
//!
//! Attempts are grouped into rounds of about as many as are in flight at once. While a round takes about as long as the
//! best ones, the limit grows; when it takes longer, requests queue at the destination, and the limit shrinks by as
//! much (as in Netflix's Gradient2). A round is judged by its median: a few slow requests say little, and jitter is no
//! queue.
//!
//! - A request that is turned away cuts the limit below the number in flight, and the limit stays below it for
//!   [`CEILING_HOLDS`].
//! - The best time is measured again every [`MEASURE_EVERY`] with half of the limit, since a destination can become
//!   slower for other reasons.
//! - A limit that was not reached does not grow.
//!
//! Pure: takes `now`, never sleeps. Its memory is the times of one round.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The limit shrinks once a round takes longer than the best one by this factor.
const TOLERANCE: f64 = 1.3;
/// The limit never shrinks below this share of itself by one round.
const STEEPEST: f64 = 0.5;
/// A request that is turned away cuts the limit to this part of the number in flight.
const CUT: f64 = 0.85;
/// The fewest and the most attempts of a round.
const ROUND: (usize, usize) = (16, 256);
/// How long the limit stays below what was turned away.
pub const CEILING_HOLDS: Duration = Duration::from_secs(60);
/// The shortest time between two measurements of the best time.
pub const MEASURE_EVERY: Duration = Duration::from_secs(30);
/// The fewest rounds between two measurements, so that they cost little where rounds take long.
const ROUNDS_BETWEEN: u32 = 20;

/// The bounds of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyBounds {
    min: NonZeroUsize,
    max: NonZeroUsize,
}

impl ConcurrencyBounds {
    /// `None` if `min` is above `max`.
    pub fn new(min: NonZeroUsize, max: NonZeroUsize) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// The fewest there may ever be at once.
    pub fn min(self) -> NonZeroUsize {
        self.min
    }

    /// The most there may ever be at once.
    pub fn max(self) -> NonZeroUsize {
        self.max
    }
}

/// The limit, and what was measured of the destination.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    bounds: ConcurrencyBounds,
    limit: f64,
    /// The time of an attempt when nothing waits at the destination, in seconds.
    best: Option<f64>,
    round: Round,
    /// Nothing has slowed it down yet: it doubles.
    doubling: bool,
    /// The number in flight when a request was last turned away, and when.
    ceiling: Option<(usize, Instant)>,
    cut_at: Option<Instant>,
    measuring: Option<Measuring>,
    measured_at: Option<Instant>,
    rounds: u32,
}

#[derive(Clone, Debug, Default)]
struct Round {
    /// Of each attempt, in seconds.
    times: Vec<f64>,
    /// The most under way at an answer.
    busiest: usize,
}

/// The best time is being measured.
#[derive(Clone, Copy, Debug)]
struct Measuring {
    since: Instant,
    /// Answers to pass over, until what waited at the destination before is gone.
    settling: usize,
}

impl AdaptiveLimit {
    /// Begins low, and grows fast at first.
    pub fn new(bounds: ConcurrencyBounds) -> Self {
        Self {
            bounds,
            limit: (bounds.min.get() as f64).max(1.0),
            best: None,
            round: Round::default(),
            doubling: true,
            ceiling: None,
            cut_at: None,
            measuring: None,
            measured_at: None,
            rounds: 0,
        }
    }

    /// How many may be under way at once.
    pub fn current(&self) -> usize {
        let limit = (self.limit as usize).clamp(self.bounds.min.get(), self.bounds.max.get());
        match self.measuring {
            Some(_) => (limit / 2).max(self.bounds.min.get()),
            None => limit,
        }
    }

    /// An attempt that started at `sent` took until now, with `in_flight` under way, itself included. Only of attempts
    /// whose time says how busy the destination is.
    pub fn took(&mut self, now: Instant, sent: Instant, in_flight: usize) {
        let took = now.saturating_duration_since(sent);
        if let Some(measuring) = &mut self.measuring {
            if sent < measuring.since {
                return;
            }
            if measuring.settling > 0 {
                measuring.settling -= 1;
                return;
            }
        }
        self.round.times.push(took.as_secs_f64());
        self.round.busiest = self.round.busiest.max(in_flight);
        if self.round.times.len() >= self.current().clamp(ROUND.0, ROUND.1) {
            let round = std::mem::take(&mut self.round);
            self.end_round(now, round);
        }
    }

    /// An attempt that started at `sent` was turned away now, with `in_flight` under way, itself included.
    pub fn turned_away(&mut self, now: Instant, sent: Instant, in_flight: usize) {
        // What was sent before the last cut is the same news, and a lone probe says nothing of many at once.
        if self.cut_at.is_some_and(|cut_at| sent <= cut_at) || in_flight * 2 < self.current() {
            return;
        }
        self.limit = (in_flight as f64 * CUT).max(self.bounds.min.get() as f64);
        self.ceiling = Some((in_flight, now));
        self.cut_at = Some(now);
        self.doubling = false;
        self.measuring = None;
        self.round = Round::default();
    }

    fn end_round(&mut self, now: Instant, mut round: Round) {
        round.times.sort_unstable_by(f64::total_cmp);
        let (median, chance) = median(&round.times);
        if self.measuring.take().is_some() {
            self.best = Some(median);
            return;
        }
        let best = self.best.map_or(median, |best| best.min(median));
        self.best = Some(best);
        self.adjust(now, TOLERANCE * chance * best / median, round.busiest);
        self.rounds += 1;
        let measured_at = *self.measured_at.get_or_insert(now);
        let due =
            self.rounds >= ROUNDS_BETWEEN && now.saturating_duration_since(measured_at) >= MEASURE_EVERY;
        if due && self.current() > self.bounds.min.get() {
            self.measuring = Some(Measuring { since: now, settling: self.current() });
            (self.measured_at, self.rounds) = (Some(now), 0);
        }
    }

    /// A round took `1 / gradient` of what it may take.
    fn adjust(&mut self, now: Instant, gradient: f64, busiest: usize) {
        let limit = self.limit;
        if gradient < 1.0 {
            self.doubling = false;
        }
        // Beside what the times say there is always room for a short queue: without it nothing would ever grow.
        let wanted = limit * gradient.clamp(STEEPEST, 1.0) + if self.doubling { limit } else { limit.sqrt() };
        let wanted = if busiest < self.current() { wanted.min(limit) } else { wanted };
        let ceiling = self.ceiling.filter(|(_, since)| now.saturating_duration_since(*since) < CEILING_HOLDS);
        let eased = if self.doubling { wanted } else { limit + (wanted - limit) / 2.0 };
        self.limit = match (ceiling, self.ceiling) {
            (Some((ceiling, _)), _) => eased.min((ceiling as f64 - 1.0).max(limit)),
            // Towards what was turned away once it goes step by step.
            (None, Some(_)) => eased.min(limit + 1.0),
            (None, None) => eased,
        }
        .clamp(self.bounds.min.get() as f64, self.bounds.max.get() as f64);
    }
}

/// The median of sorted times, and by what factor it may be above the true one by chance (twice its standard error,
/// taken from the middle half of the times, as if they were log-normal).
fn median(sorted: &[f64]) -> (f64, f64) {
    let at = |quarters: usize| sorted.get(sorted.len() * quarters / 4).copied().unwrap_or_default().max(1e-9);
    let spread = (at(3) / at(1)).ln() / 1.35;
    (at(2), (2.0 * 1.25 * spread / (sorted.len() as f64).sqrt()).exp())
}
