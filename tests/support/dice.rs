//! Chance that can be had again: the same seed draws the same schedule.

/// A die (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    #[allow(dead_code, reason = "not all that throw it bring no seeds of their own")]
    /// Seeded by `SLUICEGATE_SEED`, or else by the process, and says by what.
    pub fn new(name: &str) -> Self {
        let seed = std::env::var("SLUICEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("{name}: SLUICEGATE_SEED={seed}");
        Self(seed)
    }

    /// Of this seed.
    #[allow(dead_code, reason = "not all that throw it bring seeds of their own")]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `sides - 1`.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((drawn ^ (drawn >> 31)) % sides as u64) as usize
    }

    /// One of these.
    #[allow(dead_code, reason = "not all that throw it choose among things")]
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}
