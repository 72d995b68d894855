//! At most a number of lines in a time; the others are counted.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct LineLimit {
    lines: u32,
    span: Duration,
    since: Instant,
    told: u32,
    untold: u64,
}

impl LineLimit {
    pub(super) fn new(lines: u32, span: Duration, now: Instant) -> Self {
        Self { lines, span, since: now, told: 0, untold: 0 }
    }

    /// Whether to tell this one, and how many were passed over before it.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= self.span {
            (self.since, self.told) = (now, 0);
        }
        if self.told >= self.lines {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let now = Instant::now();
        let mut limit = LineLimit::new(10, Duration::from_secs(1), now);
        assert_eq!((0..1_000).filter(|_| limit.tell(now).is_some()).count(), 10);
        assert_eq!(limit.tell(now + Duration::from_secs(1)), Some(990));
    }
}
