//! Compares the monotonic clock with the wall clock, to notice that the machine was suspended: only the wall clock goes
//! on then.

use std::time::{Duration, Instant, SystemTime};

/// Smaller gaps are ignored: the two clocks are not read at the same instant, and NTP slews the wall clock.
const SMALLEST_GAP: Duration = Duration::from_millis(50);

/// The time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

impl Reading {
    pub(super) fn take() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }
}

/// Detects gaps between readings.
pub(super) struct Clock {
    /// The reading that the next one is compared with.
    before: Reading,
}

impl Clock {
    pub(super) fn new(before: Reading) -> Self {
        Self { before }
    }

    /// How long the monotonic clock seems to have stood still since the last gap. A wall clock that was set forward
    /// looks the same.
    pub(super) fn gap(&mut self, reading: Reading) -> Option<Duration> {
        let monotonic = reading.now.saturating_duration_since(self.before.now);
        let gap =
            reading.wall.duration_since(self.before.wall).ok().and_then(|wall| wall.checked_sub(monotonic));
        // A wall clock that was set back is compared with the new time from now on.
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
