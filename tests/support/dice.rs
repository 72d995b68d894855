//! Chance that can be had again: the same seed draws the same schedule.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::time::Duration;

/// A die (SplitMix64: <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Seeded by `SLUICEGATE_SEED`, or else by the process, and says by what.
    pub fn new(name: &str) -> Self {
        let seed = std::env::var("SLUICEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("{name}: SLUICEGATE_SEED={seed}");
        Self(seed)
    }

    /// Of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// A number from 0 to `sides - 1`; 0 where there are no sides.
    pub fn below(&mut self, sides: usize) -> usize {
        (self.next() % sides.max(1) as u64) as usize
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Whether it comes true, of a hundred times so often.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A time between these, to the microsecond.
    pub fn millis(&mut self, low: usize, high: usize) -> Duration {
        Duration::from_micros(self.between(low * 1_000, high * 1_000) as u64)
    }
}
