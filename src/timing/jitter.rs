//! Randomness that spreads waits: SplitMix64, repeatable by its seed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// A source of randomness that is good enough to spread waits (SplitMix64), and repeatable by its seed.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Repeatable, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Different in each process, from the randomness std keys its hash maps with.
    pub fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any time from nothing to `limit`, to the microsecond.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        // The product of two 64-bit numbers fits 128 bits, and its upper half is at most `micros`.
        let drawn = (u128::from(self.next()) * (u128::from(micros) + 1)) >> 64;
        Duration::from_micros(drawn as u64)
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}
