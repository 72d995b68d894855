//! How fast a destination that answers 429 may be sent to, found out while sending. Pure: takes `now`.
//!
//! The rate starts low and doubles each second until the destination turns something away. From then on it goes back
//! to a little below the rate at which that happened, comes close to it again within seconds, and rises slowly from
//! there, the faster the longer nothing is turned away: so a limit is met about once in a quarter of a minute, and a
//! limit that was raised is used before long.

use std::time::{Duration, Instant};

/// The lowest rate to begin with.
const FIRST_RATE: f64 = 10.0;
/// The lowest rate: below it, pauses limit the rate anyway.
const LOWEST_RATE: f64 = 0.1;
/// The highest rate.
const HIGHEST_RATE: f64 = 1_000_000.0;
/// The rate is cut to this part when a request is turned away,
const CUT: f64 = 0.92;
/// and to this part when nothing was accepted since the last cut: it was far too high.
const CUT_AGAIN: f64 = 0.5;
/// Up to this much of the rate at which something was turned away, the rate rises fast.
const NEAR: f64 = 0.97;
/// By what factor it rises in a second below that.
const FAST: f64 = 1.10;
/// By what part it rises in a second beyond that, at first.
const SLOW: f64 = 0.0025;
/// A ceiling met this often is close to the limit; until then the slow rise is twice as fast for each time less.
const FAMILIAR: u32 = 4;
/// A ceiling is forgotten once the rate exceeds it by this factor.
const BEYOND: f64 = 1.5;
/// At first, the rate doubles in a second, or in the time of this many requests.
const DOUBLING: f64 = 8.0;
/// Fewer requests a second than this say little about a rate.
const TELLING: f64 = 20.0;
/// The slow rise doubles within this time of peace, and goes on growing.
const PEACE: f64 = 10.0;
/// Pacing ends after this time without a request turned away.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);
/// A request may be early by this part of the time between two, since threads wake up late.
const EARLY: f64 = 0.04;

/// The rate, and when the next request may start.
#[derive(Clone, Debug)]
pub(super) struct Pacing {
    /// Requests a second.
    rate: f64,
    /// The rate at which something was turned away last.
    ceiling: Option<f64>,
    /// How often a ceiling was met of late: the first one may be far from the limit.
    met: u32,
    began: Instant,
    turned_away: Instant,
    /// Something was accepted since.
    accepted: bool,
    updated: Instant,
    next: Instant,
}

impl Pacing {
    /// Something was turned away for the first time, while this many a second were accepted.
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        let rate = (per_second * CUT).clamp(FIRST_RATE, HIGHEST_RATE);
        Self {
            rate,
            ceiling: None,
            met: 0,
            began: now,
            turned_away: now,
            accepted: true,
            updated: now,
            next: now,
        }
    }

    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The time from one request to the next.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// A request that started at `sent` was turned away. What started before the last one was is the same news.
    pub(super) fn turned_away(&mut self, sent: Instant, now: Instant) {
        if sent <= self.turned_away {
            return;
        }
        self.rise(now);
        // Far too fast says nothing of where the limit is: that is found out from below again.
        let (ceiling, left) = if self.accepted { (Some(self.rate), CUT) } else { (None, CUT_AGAIN) };
        self.ceiling = ceiling;
        self.met = self.met.saturating_add(u32::from(self.accepted));
        self.rate = (self.rate * left).max(LOWEST_RATE);
        (self.turned_away, self.accepted) = (now, false);
    }

    /// Something was accepted.
    pub(super) fn accepted(&mut self) {
        self.accepted = true;
    }

    /// When the next request may start; `None`: at once.
    pub(super) fn free_at(&self, now: Instant) -> Option<Instant> {
        let at = self.next.checked_sub(self.early()).unwrap_or(self.next);
        (at > now).then_some(at)
    }

    /// A request starts.
    pub(super) fn sent(&mut self, now: Instant) {
        self.rise(now);
        let from = self.next.max(now.checked_sub(self.early()).unwrap_or(now));
        self.next = from + self.interval();
    }

    fn early(&self) -> Duration {
        Duration::from_secs_f64(EARLY / self.rate)
    }

    /// Whether pacing is over: nothing was turned away for [`FORGOTTEN_AFTER`].
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.turned_away) >= FORGOTTEN_AFTER
    }

    fn rise(&mut self, now: Instant) {
        // Time in which nothing was sent has shown nothing.
        let seconds = now.saturating_duration_since(self.updated).as_secs_f64().min(2.0 / self.rate);
        self.updated = now;
        let rate = match self.ceiling {
            None => self.rate * 2_f64.powf(seconds * (self.rate / DOUBLING).min(1.0)),
            Some(ceiling) if self.rate < NEAR * ceiling => {
                (self.rate * FAST.powf(seconds)).min(NEAR * ceiling)
            }
            Some(_) => self.rate * self.slowly(now).powf(seconds),
        };
        self.rate = rate.min(HIGHEST_RATE);
        if self.ceiling.is_some_and(|ceiling| self.rate > BEYOND * ceiling) {
            (self.ceiling, self.met) = (None, 0);
        }
    }

    /// By what factor the rate rises in a second close to its ceiling.
    fn slowly(&self, now: Instant) -> f64 {
        let peace = now.saturating_duration_since(self.turned_away).as_secs_f64() / PEACE;
        // Where few requests tell, each second tells less.
        let telling = (self.rate / TELLING).min(1.0);
        let unfamiliar = f64::from(1_u32 << (FAMILIAR - self.met.min(FAMILIAR)));
        1.0 + SLOW * telling * unfamiliar * (1.0 + peace * peace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token bucket that gives `rate` a second, with room for one.
    struct Bucket {
        rate: f64,
        tokens: f64,
        at: Instant,
    }

    impl Bucket {
        fn accepts(&mut self, now: Instant) -> bool {
            let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
            (self.tokens, self.at) = ((self.tokens + earned).min(1.0), now);
            let accepts = self.tokens >= 1.0;
            self.tokens -= if accepts { 1.0 } else { 0.0 };
            accepts
        }
    }

    #[test]
    fn it_comes_close_to_any_limit_and_is_seldom_turned_away() {
        for rate in [1.0, 20.0, 300.0, 2_000.0] {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket { rate, tokens: 1.0, at: now };
            let mut pacing = Pacing::new(1.0, now);
            let (mut accepted, mut away) = (0_u32, 0_u32);
            while now < start + Duration::from_secs(120) {
                if let Some(at) = pacing.free_at(now) {
                    now = at;
                    continue;
                }
                pacing.sent(now);
                if bucket.accepts(now) {
                    accepted += 1;
                    pacing.accepted();
                } else {
                    away += 1;
                    pacing.turned_away(now, now + Duration::from_micros(1));
                    now += Duration::from_micros(2);
                }
            }
            let part = f64::from(accepted) / (rate * 120.0);
            assert!(part > 0.8, "{part} of {rate}/s");
            assert!(
                f64::from(away) < f64::from(accepted + away) * 0.15,
                "{away} beside {accepted} at {rate}/s"
            );
        }
    }

    #[test]
    fn what_was_under_way_together_is_one_piece_of_news() {
        let now = Instant::now();
        let mut pacing = Pacing::new(100.0, now);
        let later = now + Duration::from_millis(500);
        (0..63).for_each(|_| pacing.turned_away(later, later + Duration::from_millis(5)));
        assert!(pacing.rate() > 50.0, "{}", pacing.rate());
    }
}
