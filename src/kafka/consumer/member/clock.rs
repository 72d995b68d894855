//! Both clocks, read together, so that a suspended machine is noticed: its monotonic clock stood still meanwhile, and
//! the wall clock went on.

use std::time::{Duration, Instant, SystemTime};

/// Less may be the time between two readings of a busy machine, or a clock that is being set right slowly.
const SMALLEST_GAP: Duration = Duration::from_millis(50);

/// What both clocks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub now: Instant,
    pub wall: SystemTime,
}

impl Reading {
    pub(super) fn take() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }
}

/// Compares readings.
pub(super) struct Clock {
    /// What the next one is compared with.
    before: Reading,
}

impl Clock {
    pub(super) fn new(before: Reading) -> Self {
        Self { before }
    }

    /// For how long the monotonic clock stood still since the last gap was told, as far as can be seen: a wall clock
    /// that was set forward looks the same.
    pub(super) fn gap(&mut self, reading: Reading) -> Option<Duration> {
        let monotonic = reading.now.saturating_duration_since(self.before.now);
        let gap =
            reading.wall.duration_since(self.before.wall).ok().and_then(|wall| wall.checked_sub(monotonic));
        // Set back, it has to be compared with what it says from now on.
        if gap.is_none_or(|gap| gap >= SMALLEST_GAP) {
            self.before = reading;
        }
        gap.filter(|gap| *gap >= SMALLEST_GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_what_the_wall_clock_has_gone_on_alone_and_is_told_once() {
        let start = Reading::take();
        let ms = Duration::from_millis;
        let mut clock = Clock::new(start);
        let mut gap = |monotonic, wall: i64| {
            let by = ms(wall.unsigned_abs());
            let wall = if wall < 0 { start.wall - by } else { start.wall + by };
            clock.gap(Reading { now: start.now + ms(monotonic), wall })
        };
        assert_eq!(gap(1_000, 1_000), None);
        assert_eq!(gap(2_000, 602_000), Some(ms(600_000)), "suspended for ten minutes");
        assert_eq!(gap(3_000, 603_000), None);
        // Slowly, it comes together.
        assert_eq!(gap(4_000, 604_030), None);
        assert_eq!(gap(5_000, 605_060), Some(ms(60)));
        // Set back by an hour, and suspended after that.
        assert_eq!(gap(6_000, -3_000_000), None);
        assert_eq!(gap(7_000, -2_999_000), None);
        assert_eq!(gap(8_000, -2_990_000), Some(ms(8_000)));
    }
}
