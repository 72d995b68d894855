//! How many records may be refused before the run stops: when something breaks on the other side, a whole topic
//! must not go to the dead letters. Pure: takes `now`.

use super::percent::Percent;
use super::recent::Recent;
use std::fmt;
use std::time::{Duration, Instant};

/// A share is judged by no fewer records than these.
pub const FEWEST_FOR_A_SHARE: u64 = 100;
/// The span moves on by so many parts of itself.
const SLICES: usize = 60;

/// So many refused records in so much time are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The most there may be.
    pub most: Most,
    /// Within so much time; it slides on by a sixtieth of itself.
    pub span: Duration,
}

/// How many may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// So many.
    Count(u32),
    /// A share of those that were accepted or refused, once these are [`FEWEST_FOR_A_SHARE`].
    Share(Percent),
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            Most::Count(count) => write!(f, "{count} in {:?}", self.span),
            Most::Share(share) => write!(f, "{share} in {:?}", self.span),
        }
    }
}

/// What was accepted and refused of late.
#[derive(Clone, Debug)]
pub struct Refusals {
    threshold: Threshold,
    recent: Recent<SLICES>,
}

impl Refusals {
    /// Nothing yet.
    pub fn new(threshold: Threshold) -> Self {
        Self { threshold, recent: Recent::new(threshold.span) }
    }

    /// A record was accepted.
    pub fn accepted(&mut self, now: Instant) {
        self.recent.add(false, now);
    }

    /// A record was refused; says whether that is one too many.
    pub fn refused(&mut self, now: Instant) -> bool {
        self.recent.add(true, now);
        let [accepted, refused] = self.recent.sums(now);
        match self.threshold.most {
            Most::Count(count) => refused > u64::from(count),
            Most::Share(share) => {
                let all = accepted + refused;
                all >= FEWEST_FOR_A_SHARE && share.is_exceeded_by(refused, all)
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
        let (mut refusals, now) =
            (Refusals::new(Threshold { most: Most::Count(3), span: HOUR }), Instant::now());
        assert_eq!([0; 4].map(|_| refusals.refused(now)), [false, false, false, true]);
        assert!(refusals.refused(now + HOUR * 9 / 10));
        assert!(!refusals.refused(now + HOUR * 11 / 10));
    }

    #[test]
    fn a_share_waits_for_enough_records_to_judge_by() {
        let most = Most::Share(Percent::new(5).unwrap());
        let (mut refusals, now) = (Refusals::new(Threshold { most, span: HOUR }), Instant::now());
        let mut broken = refusals.clone();
        assert_eq!((0..1_000).take_while(|_| !broken.refused(now)).count(), 99, "all of them are refused");
        (0..950).for_each(|_| refusals.accepted(now));
        assert_eq!((0..1_000).take_while(|_| !refusals.refused(now)).count(), 50, "50 of 1000 are 5%");
    }
}
