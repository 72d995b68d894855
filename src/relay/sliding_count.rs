//! Two kinds of things counted over a sliding span of time, in slices. Pure: takes `now`.

use std::time::{Duration, Instant};

/// What happened within the last `N` slices, the present one included.
#[derive(Clone, Debug)]
pub(super) struct SlidingCount<const N: usize> {
    slice: Duration,
    counts: [[u64; 2]; N],
    /// The slice that time is in, and when it began.
    current: Option<(usize, Instant)>,
}

impl<const N: usize> SlidingCount<N> {
    /// Nothing yet. A span so short that its slices were nothing has slices of a nanosecond.
    pub(super) fn new(span: Duration) -> Self {
        let slices = u32::try_from(N).unwrap_or(u32::MAX);
        let slice = (span / slices).max(Duration::from_nanos(1));
        Self { slice, counts: [[0; 2]; N], current: None }
    }

    /// One more of a kind.
    pub(super) fn add(&mut self, second_kind: bool, now: Instant) {
        let (at, _) = self.advance(now);
        self.counts[at][usize::from(second_kind)] += 1;
    }

    /// How many there were of each kind.
    pub(super) fn sums(&mut self, now: Instant) -> [u64; 2] {
        self.advance(now);
        self.counts.iter().fold([0; 2], |[a, b], [c, d]| [a + c, b + d])
    }

    /// When the oldest slice will be forgotten.
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
        // After a long rest all of them are forgotten, and time begins anew.
        if now.saturating_duration_since(began) >= self.slice {
            began = now;
        }
        self.current = Some((at, began));
        (at, began)
    }
}
