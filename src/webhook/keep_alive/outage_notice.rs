//! When to log a persistent failure: at once, and then ever more rarely. Pure: it takes the time and prints nothing.

use std::time::{Duration, Instant};

/// The time from the first line to the second; it doubles with each.
const FIRST_GAP: Duration = Duration::from_secs(60);
/// It grows no further.
const LONGEST_GAP: Duration = Duration::from_secs(3_600);

/// A failure that lasts.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutageNotice {
    /// When it was logged last, and the time from then to the next line.
    told: Option<(Instant, Duration)>,
}

impl OutageNotice {
    /// Whether a line is due; if so, it counts as logged.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let gap = match self.told {
            None => FIRST_GAP,
            Some((at, gap)) if now.saturating_duration_since(at) >= gap => {
                gap.saturating_mul(2).min(LONGEST_GAP)
            }
            Some(_) => return false,
        };
        self.told = Some((now, gap));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_logged_at_once_and_then_ever_more_rarely() {
        let (mut outage, begun) = (OutageNotice::default(), Instant::now());
        let told = |second: &u64| outage.is_due(begun + Duration::from_secs(*second));
        let told: Vec<u64> = (0..20_000).filter(told).collect();
        assert_eq!(told, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180]);
    }
}
