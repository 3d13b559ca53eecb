//! Numbers that look random and can be had again: SplitMix64.

/// A stream of numbers that follows from its seed alone.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the stream.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_in_the_unit_interval() {
        let (mut one, mut two) = (Seed::new(7), Seed::new(7));
        for _ in 0..1000 {
            let value = one.fraction();
            assert_eq!(value, two.fraction());
            assert!((0.0..1.0).contains(&value));
        }
        assert_ne!(Seed::new(7).number(), Seed::new(8).number());
    }
}
