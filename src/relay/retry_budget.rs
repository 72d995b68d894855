//! How many attempts may be retries: a destination that fails must not get more requests because of it.
//!
//! As in Finagle's `RetryBudget`, first attempts earn retries. Over a sliding [`SPAN`] retries are at most the
//! share of all attempts that was asked for, and beside it [`FLOOR_A_SECOND`], so that little traffic gets its
//! retries too. Pure: takes `now`, never sleeps.

use super::percent::Percent;
use super::sliding_count::SlidingCount;
use std::time::{Duration, Instant};

/// The time span over which the percentage is kept.
pub const SPAN: Duration = Duration::from_secs(10);
/// Free retries a second, averaged over the span.
pub const FLOOR_A_SECOND: u64 = 1;
/// The span moves on by a second at a time.
const SLICES: usize = SPAN.as_secs() as usize;

/// The attempts of the span, and whether another retry fits.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    share: Percent,
    recent: SlidingCount<SLICES>,
}

impl RetryBudget {
    /// Nothing attempted yet.
    pub(crate) fn new(share: Percent) -> Self {
        Self { share, recent: SlidingCount::new(SPAN) }
    }

    /// When to ask again; `None` if a retry may go now. First attempts earn more until then.
    pub(crate) fn free_at(&mut self, now: Instant) -> Option<Instant> {
        let [firsts, retries] = self.recent.sums(now);
        let beyond_the_floor = (retries + 1).saturating_sub(FLOOR_A_SECOND * SPAN.as_secs());
        let exceeded = self.share.is_exceeded_by(beyond_the_floor, firsts + beyond_the_floor);
        exceeded.then(|| self.recent.next_slice(now))
    }

    /// An attempt goes out.
    pub(crate) fn attempted(&mut self, is_retry: bool, now: Instant) {
        self.recent.add(is_retry, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLICE: Duration = Duration::from_secs(1);

    fn budget(percent: u8) -> (RetryBudget, Instant) {
        (RetryBudget::new(Percent::new(percent).unwrap()), Instant::now())
    }

    /// How many retries go at once.
    fn retries(budget: &mut RetryBudget, now: Instant) -> usize {
        let goes = |_: &usize| {
            let free = budget.free_at(now).is_none();
            if free {
                budget.attempted(true, now);
            }
            free
        };
        (0..10_000).take_while(goes).count()
    }

    #[test]
    fn first_attempts_earn_their_share_beside_the_floor() {
        let (mut budget, now) = budget(20);
        (0..400).for_each(|_| budget.attempted(false, now));
        assert_eq!(retries(&mut budget, now), 100 + 10, "100 of 500 are a fifth");
    }

    #[test]
    fn with_no_other_traffic_one_a_second_goes() {
        let (mut budget, start) = budget(10);
        let retried: usize =
            (0..100).map(|second| retries(&mut budget, start + Duration::from_secs(second))).sum();
        assert!((90..=110).contains(&retried), "{retried}");
    }

    #[test]
    fn what_was_earned_long_ago_is_forgotten() {
        let (mut budget, now) = budget(50);
        (0..1_000).for_each(|_| budget.attempted(false, now));
        assert_eq!(retries(&mut budget.clone(), now + SPAN / 2), 1_010);
        assert_eq!(retries(&mut budget.clone(), now + SPAN), 10);
        assert_eq!(retries(&mut budget, now + SPAN * 1_000), 10);
    }

    proptest! {
        #[test]
        fn the_share_is_kept_and_the_wait_is_short(
            percent in 1..100_u8,
            steps in prop::collection::vec((any::<bool>(), 0..700_u64), 0..300),
        ) {
            let (mut budget, mut now) = budget(percent);
            let mut attempts: Vec<(Instant, bool)> = Vec::new();
            for (is_retry, wait) in steps {
                now += Duration::from_millis(wait);
                if let Some(free_at) = budget.free_at(now).filter(|_| is_retry) {
                    prop_assert!(now < free_at && free_at <= now + SLICE);
                    continue;
                }
                budget.attempted(is_retry, now);
                attempts.push((now, is_retry));
                let within = |span: Duration, retry: bool| {
                    attempts.iter().filter(|(at, is)| *is == retry && now - *at < span).count() as f64
                };
                let (firsts, retries) = (within(SPAN, false), within(SPAN - SLICE, true));
                let earned = firsts * f64::from(percent) / f64::from(100 - percent);
                prop_assert!(!is_retry || retries <= earned + 10.0 + 1e-9, "{retries} for {firsts}");
            }
        }
    }
}
