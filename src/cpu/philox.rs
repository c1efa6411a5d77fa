//! Philox words in bulk: the same words as [`Words`], many counters at a time.

use super::simd::vectorised;
use crate::rng::{Words, rounds};

/// Blocks computed side by side: a 512-bit vector of 64-bit lanes, of which multiplication reads the lower halves.
const LANES: usize = 8;
/// Words of that many blocks.
const STEP: usize = 4 * LANES;

vectorised! {
    /// Words `4·block ..` of a stretch, as many as `out` holds.
    pub(crate) fn fill(words: Words, block: u64, out: &mut [u32]) {
        let (whole, rest) = out.as_chunks_mut::<STEP>();
        let mut at = words.first.wrapping_add(block);
        for out in whole {
            *out = step(at, words.key);
            at = at.wrapping_add(LANES as u64);
        }
        if !rest.is_empty() {
            let len = rest.len();
            rest.copy_from_slice(&step(at, words.key)[..len]);
        }
    }
}

/// The words of the blocks with counters `first..first + LANES`.
#[inline(always)]
pub(crate) fn step(first: u64, key: [u32; 2]) -> [u32; STEP] {
    let (mut low, mut high) = ([0; LANES], [0; LANES]);
    for i in 0..LANES {
        low[i] = first.wrapping_add(i as u64);
        high[i] = low[i] >> 32;
    }
    let c = rounds([low, high, [0; LANES], [0; LANES]], key);
    let mut out = [0; STEP];
    for i in 0..LANES {
        for j in 0..4 {
            out[4 * i + j] = c[j][i] as u32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_words_are_the_words() {
        for (key, first) in [([7, 9], 0), ([u32::MAX; 2], u64::from(u32::MAX) - 5), ([1, 2], u64::MAX - 3)] {
            let words = Words { key, first };
            for len in [0, 1, 31, 32, 33, 100, 257] {
                let mut out = vec![0; len];
                fill(words, 3, &mut out);
                let want: Vec<u32> = (0..len as u64).map(|w| words.word(12 + w)).collect();
                assert_eq!(out, want, "{words:?}, {len}");
            }
        }
    }
}
