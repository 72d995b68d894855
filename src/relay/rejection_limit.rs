//! How many records may be rejected before the run ends: when the destination breaks, a whole topic must not go to the
//! dead letters. Pure: takes `now`.

use super::percent::Percent;
use super::sliding_count::SlidingCount;
use std::fmt;
use std::time::{Duration, Instant};

/// Minimum sample for a percentage.
pub const FEWEST_FOR_A_SHARE: u64 = 100;
/// The slices of the time span.
const SLICES: usize = 60;

/// The most records that may be rejected within a time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectionLimit {
    /// The number or percentage.
    pub most: RejectionBound,
    /// The time span, which slides by a sixtieth of itself.
    pub span: Duration,
}

/// How many may be rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionBound {
    /// A number.
    Count(u32),
    /// A percentage of the records accepted or rejected, once there are [`FEWEST_FOR_A_SHARE`].
    Share(Percent),
}

impl fmt::Display for RejectionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            RejectionBound::Count(count) => write!(f, "{count} in {:?}", self.span),
            RejectionBound::Share(share) => write!(f, "{share} in {:?}", self.span),
        }
    }
}

/// The records accepted and rejected within the span.
#[derive(Clone, Debug)]
pub(crate) struct RejectionCounter {
    threshold: RejectionLimit,
    recent: SlidingCount<SLICES>,
}

impl RejectionCounter {
    /// Nothing yet.
    pub(crate) fn new(threshold: RejectionLimit) -> Self {
        Self { threshold, recent: SlidingCount::new(threshold.span) }
    }

    /// A record was accepted.
    pub(crate) fn accepted(&mut self, now: Instant) {
        self.recent.add(false, now);
    }

    /// A record was rejected. Returns whether that exceeds the limit.
    pub(crate) fn rejected(&mut self, now: Instant) -> bool {
        self.recent.add(true, now);
        let [accepted, rejected] = self.recent.sums(now);
        match self.threshold.most {
            RejectionBound::Count(count) => rejected > u64::from(count),
            RejectionBound::Share(share) => {
                let all = accepted + rejected;
                all >= FEWEST_FOR_A_SHARE && share.is_exceeded_by(rejected, all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn one_more_than_the_count_is_too_many_and_an_hour_later_they_are_forgotten() {
        let (mut rejections, now) = (
            RejectionCounter::new(RejectionLimit { most: RejectionBound::Count(3), span: HOUR }),
            Instant::now(),
        );
        assert_eq!([0; 4].map(|_| rejections.rejected(now)), [false, false, false, true]);
        assert!(rejections.rejected(now + HOUR * 9 / 10));
        assert!(!rejections.rejected(now + HOUR * 11 / 10));
    }

    #[test]
    fn a_share_waits_for_enough_records_to_judge_by() {
        let most = RejectionBound::Share(Percent::new(5).unwrap());
        let (mut rejections, now) =
            (RejectionCounter::new(RejectionLimit { most, span: HOUR }), Instant::now());
        let mut broken = rejections.clone();
        assert_eq!((0..1_000).take_while(|_| !broken.rejected(now)).count(), 99, "all of them are rejected");
        (0..950).for_each(|_| rejections.accepted(now));
        assert_eq!((0..1_000).take_while(|_| !rejections.rejected(now)).count(), 50, "50 of 1000 are 5%");
    }
}
