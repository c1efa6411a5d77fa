//! The random numbers of NumPy's legacy `numpy.random.seed` interface: MT19937 (Matsumoto and Nishimura, 1998) with
//! NumPy's 53-bit floats and masked rejection, so that published data sets can be generated again exactly.

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// The generator behind `numpy.random.RandomState`.
pub(super) struct Mt19937 {
    words: Box<[u32; WORDS]>,
    /// Words of `words` handed out since it was last renewed.
    used: usize,
}

impl Mt19937 {
    /// As `numpy.random.seed(seed)` with an integer.
    pub(super) fn new(seed: u32) -> Self {
        let mut words = Box::new([seed; WORDS]);
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { words, used: WORDS }
    }

    fn renew(&mut self) {
        for i in 0..WORDS {
            let joined = self.words[i] & 0x8000_0000 | self.words[(i + 1) % WORDS] & 0x7fff_ffff;
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + MIDDLE) % WORDS] ^ joined >> 1 ^ twist;
        }
        self.used = 0;
    }

    /// The next 32 bits.
    pub(super) fn next_u32(&mut self) -> u32 {
        if self.used == WORDS {
            self.renew();
        }
        let mut y = self.words[self.used];
        self.used += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// As one element of `numpy.random.rand`: uniform in [0, 1) on a grid of 2⁻⁵³.
    pub(super) fn uniform(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// As one element of `randint(0, n)`, of `choice(n)`, and of the swaps of `shuffle`: bits beyond the highest of n − 1
    /// are cut off and numbers of n or more drawn again. No bits are used when `n` is 1.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        let last = n.saturating_sub(1);
        if last == 0 {
            return 0;
        }
        let mask = u32::MAX >> last.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= last {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The values are those of numpy.random.seed(0); rand(3), choice(10, 5), randint(0, 1000, 3).
    #[test]
    fn the_numbers_are_those_of_numpy() {
        let mut rng = Mt19937::new(0);
        let rand: Vec<f64> = (0..3).map(|_| rng.uniform()).collect();
        assert_eq!(rand, [0.5488135039273248, 0.7151893663724195, 0.6027633760716439]);
        let choice: Vec<u32> = (0..5).map(|_| rng.below(10)).collect();
        assert_eq!(choice, [3, 7, 9, 3, 5]);
        let randint: Vec<u32> = (0..3).map(|_| rng.below(1000)).collect();
        assert_eq!(randint, [754, 804, 599]);
    }

    #[test]
    fn the_words_are_those_published_with_the_generator() {
        let mut rng = Mt19937::new(5489);
        // The 10,000th word, required by the C++ standard (26.6.6).
        assert_eq!((0..10_000).map(|_| rng.next_u32()).last(), Some(4_123_659_995));
    }
}
