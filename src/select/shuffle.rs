//! The order in which selection sees an image's patches.
//!
//! Few patches are shuffled by Fisher and Yates. Beyond that, position `at` is sent through a Feistel network keyed by
//! the random stream: a bijection of a power of four, walked until it hits a patch (Black and Rogaway, "Ciphers with
//! arbitrary finite domains", 2002), so that the order of a gigapixel image takes no memory.

use crate::Rng;

/// How patches are shuffled before selection, so that equal scores (blank patches) are kept at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shuffle {
    /// Row-major order.
    None,
    /// One permutation shared by all images of a batch: the published setting, in training and evaluation alike.
    #[default]
    Batch,
    /// A permutation of its own for each image.
    Instance,
}

/// The order of the patches of each image of a batch.
pub(super) struct Orders {
    permutations: Vec<Permutation>,
}

impl Orders {
    pub(super) fn new(shuffle: Shuffle, images: usize, n: usize, rng: &mut Rng) -> Self {
        let permutations = match shuffle {
            Shuffle::None => Vec::new(),
            Shuffle::Batch => vec![Permutation::new(n, rng)],
            Shuffle::Instance => (0..images).map(|_| Permutation::new(n, rng)).collect(),
        };
        Orders { permutations }
    }

    /// The patch that image `image` shows at position `at`.
    pub(super) fn patch(&self, image: usize, at: usize) -> u32 {
        match self.permutations.as_slice() {
            [] => at as u32,
            [shared] => shared.at(at as u32),
            own => own[image].at(at as u32),
        }
    }
}

/// A random order of `0..n`.
enum Permutation {
    Table(Vec<u32>),
    Feistel {
        n: u32,
        /// Bits of each half of a number.
        bits: u32,
        keys: [u32; ROUNDS],
    },
}

/// The longest order kept as a table.
const TABLE: usize = 4096;
const ROUNDS: usize = 8;

impl Permutation {
    fn new(n: usize, rng: &mut Rng) -> Self {
        if n <= TABLE {
            return Permutation::Table(rng.permutation(n as u32));
        }
        let bits = (usize::BITS - (n - 1).leading_zeros()).div_ceil(2);
        Permutation::Feistel { n: n as u32, bits, keys: [0; ROUNDS].map(|_: u32| rng.next_u32()) }
    }

    fn at(&self, at: u32) -> u32 {
        match self {
            Permutation::Table(order) => order[at as usize],
            Permutation::Feistel { n, bits, keys } => {
                // The domain has less than four times n elements, so few steps lead back below n.
                let mut value = at;
                loop {
                    value = feistel(value, *bits, keys);
                    if value < *n {
                        return value;
                    }
                }
            }
        }
    }
}

/// A bijection of `0..2^(2 bits)`.
fn feistel(value: u32, bits: u32, keys: &[u32; ROUNDS]) -> u32 {
    let mask = (1 << bits) - 1;
    let (mut left, mut right) = (value >> bits, value & mask);
    for key in keys {
        (left, right) = (right, left ^ (mixed(right ^ key) >> (32 - bits)));
    }
    left << bits | right
}

/// A word in which every bit of `x` has a say in every bit (the finaliser of MurmurHash3).
fn mixed(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_comes_once_whatever_their_number() {
        for n in [1, 2, 7, 4096, 4097, 4099, 10_000, 16_384, 16_385, 65_536, 100_003] {
            let mut seen = vec![false; n];
            let orders = Orders::new(Shuffle::Batch, 3, n, &mut Rng::new(n as u64));
            for at in 0..n {
                let patch = orders.patch(at % 3, at) as usize;
                assert!(!std::mem::replace(&mut seen[patch], true), "{patch} of {n} twice");
            }
        }
    }

    #[test]
    fn orders_differ_by_stream_and_image_and_are_evenly_spread() {
        let n = 5000;
        let orders = Orders::new(Shuffle::Instance, 2, n, &mut Rng::new(1));
        let other = Orders::new(Shuffle::Instance, 2, n, &mut Rng::new(2));
        let same = |a: &Orders, i: usize, b: &Orders, j: usize| {
            (0..n).filter(|&at| a.patch(i, at) == b.patch(j, at)).count()
        };
        assert!(same(&orders, 0, &orders, 1) < 12 && same(&orders, 0, &other, 0) < 12);
        // Where the first hundred positions fall, over many streams: into each tenth of the image about as often.
        let mut tenths = [0.0_f64; 10];
        for seed in 0..100 {
            let orders = Orders::new(Shuffle::Batch, 1, n, &mut Rng::new(seed));
            (0..100).for_each(|at| tenths[orders.patch(0, at) as usize * 10 / n] += 1.0);
        }
        let chi: f64 = tenths.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(
            chi < 27.9,
            "chi² with 9 degrees of freedom, exceeded once in a thousand: {chi} of {tenths:?}"
        );
    }
}
