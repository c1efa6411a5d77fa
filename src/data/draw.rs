//! What the generator needs of a source of randomness, so that the crate's own numbers and NumPy's follow one code path.

use super::mt19937::Mt19937;
use crate::Rng;

/// A source of random numbers.
pub(super) trait Draw {
    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64;

    /// Uniform in `0..n`.
    fn below(&mut self, n: u32) -> u32;

    /// ⌊U · n⌋, which costs other bits than [`below`](Draw::below) and is what NumPy programs write as
    /// `int(rand() * n)`.
    fn scaled(&mut self, n: u32) -> u32 {
        (self.uniform() * f64::from(n)) as u32
    }
}

impl Draw for Rng {
    fn uniform(&mut self) -> f64 {
        self.uniform_f64()
    }

    fn below(&mut self, n: u32) -> u32 {
        Rng::below(self, n)
    }
}

impl Draw for Mt19937 {
    fn uniform(&mut self) -> f64 {
        Mt19937::uniform(self)
    }

    fn below(&mut self, n: u32) -> u32 {
        Mt19937::below(self, n)
    }
}
