//! Counts of two kinds of events over a sliding time span, kept in slices. Pure: takes `now`.

use std::time::{Duration, Instant};

/// The events of the last `N` slices, the current one included.
#[derive(Clone, Debug)]
pub(super) struct SlidingCount<const N: usize> {
    slice: Duration,
    counts: [[u64; 2]; N],
    /// The slice that time is in, and when it began.
    current: Option<(usize, Instant)>,
}

impl<const N: usize> SlidingCount<N> {
    /// Empty. A slice is at least a nanosecond long.
    pub(super) fn new(span: Duration) -> Self {
        let slices = u32::try_from(N).unwrap_or(u32::MAX);
        let slice = (span / slices).max(Duration::from_nanos(1));
        Self { slice, counts: [[0; 2]; N], current: None }
    }

    /// Counts one event.
    pub(super) fn add(&mut self, second_kind: bool, now: Instant) {
        let (at, _) = self.advance(now);
        self.counts[at][usize::from(second_kind)] += 1;
    }

    /// The number of events of each kind within the span.
    pub(super) fn sums(&mut self, now: Instant) -> [u64; 2] {
        self.advance(now);
        self.counts.iter().fold([0; 2], |[a, b], [c, d]| [a + c, b + d])
    }

    /// When the oldest slice is forgotten.
    pub(super) fn next_slice(&mut self, now: Instant) -> Instant {
        self.advance(now).1 + self.slice
    }

    /// Moves on to the slice of `now`, and forgets those that have left the span.
    fn advance(&mut self, now: Instant) -> (usize, Instant) {
        let (mut at, mut began) = self.current.unwrap_or((0, now));
        for _ in 0..N {
            if now.saturating_duration_since(began) < self.slice {
                break;
            }
            at = (at + 1) % N;
            began += self.slice;
            self.counts[at] = [0; 2];
        }
        // After a long pause all slices are forgotten, and the current one starts now.
        if now.saturating_duration_since(began) >= self.slice {
            began = now;
        }
        self.current = Some((at, began));
        (at, began)
    }
}
