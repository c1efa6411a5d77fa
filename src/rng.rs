//! Random numbers that are the same on every device: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011), a function from a key and a counter to four words. No state is hidden anywhere: whoever needs
//! randomness is handed an [`Rng`].

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One Philox4x32-10 block: four words from a 128-bit counter and a 64-bit key.
///
/// ```
/// // The first known answer published with the generator.
/// assert_eq!(foveate::rng::philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    rounds(counter.map(|c| [u64::from(c)]), key).map(|[c]| c as u32)
}

/// The ten rounds, for `L` counters with one key: word `j` of counter `i` in the lower half of `c[j][i]`. The upper
/// halves are ignored and left undefined, which lets the rounds run in 64-bit lanes without masking.
#[inline(always)]
pub(crate) fn rounds<const L: usize>(mut c: [[u64; L]; 4], mut key: [u32; 2]) -> [[u64; L]; 4] {
    const LOWER: u64 = 0xFFFF_FFFF;
    for _ in 0..10 {
        #[allow(clippy::needless_range_loop)]
        for i in 0..L {
            let p0 = u64::from(MULTIPLIER[0]) * (c[0][i] & LOWER);
            let p1 = u64::from(MULTIPLIER[1]) * (c[2][i] & LOWER);
            c[0][i] = (p1 >> 32) ^ c[1][i] ^ u64::from(key[0]);
            c[1][i] = p1;
            c[2][i] = (p0 >> 32) ^ c[3][i] ^ u64::from(key[1]);
            c[3][i] = p0;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    c
}

/// A stretch of the random sequence set aside for one operation: word `w` of it is word `w % 4` of the block whose
/// counter is `first + w / 4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The generator's key.
    pub key: [u32; 2],
    /// Counter of the first block; its upper half is always zero.
    pub first: u64,
}

impl Words {
    /// The four words of block `at` of this stretch.
    pub fn block(&self, at: u64) -> [u32; 4] {
        let counter = self.first.wrapping_add(at);
        philox([counter as u32, (counter >> 32) as u32, 0, 0], self.key)
    }

    /// Word `at` of this stretch.
    pub fn word(&self, at: u64) -> u32 {
        self.block(at / 4)[(at % 4) as usize]
    }
}

/// A random stream: a key and a position in its sequence. The same seed gives the same words on every device and run.
///
/// ```
/// use foveate::Rng;
/// let (mut a, mut b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// let resumed = &mut Rng::from_state(a.state());
/// assert_eq!(a.permutation(100), resumed.permutation(100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    key: u64,
    /// Words handed out so far.
    position: u64,
}

impl Rng {
    /// The stream of a seed, at its start.
    pub fn new(seed: u64) -> Self {
        Rng { key: seed, position: 0 }
    }

    /// Key and position, to be stored in a checkpoint.
    pub fn state(&self) -> [u64; 2] {
        [self.key, self.position]
    }

    /// The stream that [`Rng::state`] described.
    pub fn from_state(state: [u64; 2]) -> Self {
        Rng { key: state[0], position: state[1] }
    }

    /// A stream independent of this one, which moves on by two words.
    pub fn fork(&mut self) -> Self {
        Rng::new(self.next_u64())
    }

    /// The stream numbered `index` below `seed`: the same whatever other streams were used before it.
    pub fn stream(seed: u64, index: u64) -> Self {
        let [a, b, c, d] = [seed as u32, (seed >> 32) as u32, index as u32, (index >> 32) as u32];
        let words = philox([c, d, 0, 1], [a, b]);
        Rng::new(u64::from(words[0]) | u64::from(words[1]) << 32)
    }

    /// Sets `words` words aside for an operation on a device, starting at a whole block.
    pub fn reserve(&mut self, words: u64) -> Words {
        let first = self.position.div_ceil(4);
        self.position = first.saturating_add(words.div_ceil(4)).saturating_mul(4);
        Words { key: [self.key as u32, (self.key >> 32) as u32], first }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let words = Words { key: [self.key as u32, (self.key >> 32) as u32], first: 0 };
        let word = words.word(self.position);
        self.position = self.position.wrapping_add(1);
        word
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in the open interval (0, 1), on a grid of 2⁻²³.
    pub fn uniform(&mut self) -> f32 {
        ((self.next_u32() >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0)
    }

    /// Uniform in the open interval (0, 1), on a grid of 2⁻⁵².
    pub fn uniform_f64(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) * (1.0 / 4_503_599_627_370_496.0)
    }

    /// Uniform in `0..n`; zero when `n` is zero. Unbiased (Lemire's rejection).
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal, by the Box-Muller transform; one of the pair is dropped so that every call costs the same.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.uniform_f64().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform_f64()).cos()) as f32
    }

    /// A uniformly random order of `0..n` (Fisher and Yates).
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, self.below(i + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
        assert_eq!(pi, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }

    #[test]
    fn reserved_words_follow_on_and_never_overlap() {
        let mut rng = Rng::new(3);
        rng.next_u32();
        let a = rng.reserve(5);
        let b = rng.reserve(1);
        assert_eq!((a.first, b.first), (1, 3));
        assert_eq!(rng.next_u32(), Words { first: 0, ..a }.word(16));
    }

    #[test]
    fn draws_are_uniform_and_normal() {
        let mut rng = Rng::new(11);
        let mut counts = [0; 7];
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
            let x = f64::from(rng.normal());
            sum += x;
            square += x * x;
            let u = rng.uniform();
            assert!(u > 0.0 && u < 1.0);
        }
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 22.5, "chi-squared {chi} with 6 degrees of freedom");
        assert!((sum / 7e4).abs() < 0.015 && (square / 7e4 - 1.0).abs() < 0.025);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Rng::new(1).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }
}
