//! A token bucket, kept as the time at which it is full again (the generic cell rate algorithm, ITU-T I.371). Pure:
//! takes `now`, never sleeps.
//!
//! Invariant: within any time `t` at most the [burst](Rate::burst) and one per [interval](Rate::interval) of `t` are
//! taken.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A number of events per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// The burst after a pause: the tokens of a tenth of a second.
    pub const BURST: Duration = Duration::from_millis(100);

    /// `count` in each `per`; `None` if that is more than one in a nanosecond.
    pub fn new(count: NonZeroU32, per: Duration) -> Option<Self> {
        (per.as_nanos() >= u128::from(count.get())).then_some(Self { count, per })
    }

    /// The time that each one costs, rounded up, so that the rate is never exceeded.
    pub fn interval(self) -> Duration {
        let nanos = self.per.as_nanos().div_ceil(u128::from(self.count.get()));
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// How many may go at once: what comes within [`BURST`](Self::BURST), at least one.
    pub fn burst(self) -> u32 {
        let tokens = Self::BURST.as_nanos() / self.interval().as_nanos().max(1);
        u32::try_from(tokens).unwrap_or(u32::MAX).max(1)
    }
}

/// A bucket of tokens that fills at a rate, up to its burst.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    interval: Duration,
    /// What all tokens but one are worth.
    slack: Duration,
    /// When it is full again; it is full before anything was taken.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(rate: Rate) -> Self {
        let slack = rate.interval().saturating_mul(rate.burst() - 1);
        Self { interval: rate.interval(), slack, full_at: None }
    }

    /// When the next token is available; `None` if one is now.
    pub(crate) fn free_at(&self, now: Instant) -> Option<Instant> {
        let free_at = self.full_at?.checked_sub(self.slack)?;
        (free_at > now).then_some(free_at)
    }

    /// Takes a token; if none is available, one of those to come.
    pub(crate) fn take(&mut self, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = full_at.checked_add(self.interval).or(self.full_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn the_burst_is_what_comes_in_a_tenth_of_a_second() {
        let bursts = [(1, 1), (9, 1), (100, 1), (5_000, 1), (600, 60), (6_000, 60)];
        assert_eq!(bursts.map(|(count, seconds)| rate(count, seconds).burst()), [1, 1, 10, 500, 1, 10]);
        assert_eq!(Rate::new(NonZeroU32::MIN, Duration::ZERO), None);
    }

    #[test]
    fn one_a_second_goes_each_second() {
        let (mut bucket, start) = (TokenBucket::new(rate(1, 1)), Instant::now());
        let mut now = start;
        for _ in 0..5 {
            assert_eq!(bucket.free_at(now), None);
            bucket.take(now);
            now = bucket.free_at(now).unwrap();
        }
        assert_eq!(now - start, Duration::from_secs(5));
    }

    #[test]
    fn a_long_rest_earns_no_more_than_the_burst() {
        let (mut bucket, start) = (TokenBucket::new(rate(100, 1)), Instant::now());
        let later = start + Duration::from_secs(3_600);
        bucket.take(start);
        (0..10).for_each(|_| {
            assert_eq!(bucket.free_at(later), None);
            bucket.take(later);
        });
        assert_eq!(bucket.free_at(later), Some(later + Duration::from_millis(10)));
    }

    proptest! {
        #[test]
        fn no_span_of_time_has_more_than_its_share(
            count in 1..3_000_u32,
            seconds in 1..100_u64,
            waits in prop::collection::vec(0..2_000_u64, 1..200),
        ) {
            let rate = rate(count, seconds);
            let (mut bucket, mut now, mut taken) = (TokenBucket::new(rate), Instant::now(), Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                // The eager take all there is, the patient wait for it.
                match bucket.free_at(now) {
                    None => while bucket.free_at(now).is_none() && taken.len() < 2_000 {
                        bucket.take(now);
                        taken.push(now);
                    },
                    Some(free_at) => {
                        now = free_at;
                        prop_assert_eq!(bucket.free_at(now), None);
                    }
                }
            }
            for (i, from) in taken.iter().enumerate().step_by(7) {
                for (j, to) in taken.iter().enumerate().skip(i) {
                    let earned = (*to - *from).as_nanos() / rate.interval().as_nanos();
                    prop_assert!((j - i) as u128 <= u128::from(rate.burst()) - 1 + earned + 1);
                }
            }
        }
    }
}
