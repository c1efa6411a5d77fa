//! Gumbel sampling on the CPU. Words, the test that rules positions out and the running threshold go hand in hand,
//! thirty-two positions at a time; logarithms are computed for the few that pass. Long rows are cut into segments that
//! run in parallel; since keys are in a total order, the cuts do not show.

use super::{GumbelMax, GumbelTopK, noise, row_words};
use crate::{
    cpu::{
        In, Out, Scratch,
        best::{self, Best},
        philox,
        simd::vectorised,
    },
    device::Op,
    error::Result,
    rng::Words,
};
use rayon::prelude::*;

/// Positions that one task goes through.
const SEGMENT: usize = 64 * 1024;
/// Positions looked at side by side.
const LANES: usize = 32;

impl GumbelTopK {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (logits, n) = (ins[0].f32()?, ins[0].dims[1]);
        let [positions, threshold] = outs else { return Ok(()) };
        let wanted = (self.k + 1).min(n);
        let rows = positions.i32()?.par_chunks_mut(self.k).zip(threshold.f32()?.par_iter_mut());
        rows.enumerate().try_for_each(|(b, (positions, threshold))| {
            let logits = &logits[b * n..(b + 1) * n];
            race(logits, self.words, b as u64, wanted, Self::NAME, |keys| {
                positions.iter_mut().zip(keys).for_each(|(to, &key)| *to = best::place(key) as i32);
                let next = keys.get(self.k).map_or(f32::NEG_INFINITY, |&key| best::value(key));
                *threshold = if next.is_nan() { f32::NEG_INFINITY } else { next };
            })
        })
    }
}

impl GumbelMax {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (logits, n) = (ins[0].f32()?, ins[0].dims[1]);
        outs[0].i32()?.par_iter_mut().enumerate().try_for_each(|(row, position)| {
            let b = row / self.draws;
            race(&logits[b * n..(b + 1) * n], self.words, row as u64, 1, Self::NAME, |keys| {
                keys.iter().for_each(|&key| *position = best::place(key) as i32);
            })
        })
    }
}

/// Hands the `wanted` best keys of one row, best first, to `finish`. logits: (N), wanted ≤ N.
fn race(
    logits: &[f32],
    words: Words,
    row: u64,
    wanted: usize,
    op: &'static str,
    finish: impl FnOnce(&[u64]),
) -> Result<()> {
    let block = row * row_words(logits.len()) / 4;
    if logits.len() <= SEGMENT {
        let mut best = Best::new(wanted, op)?;
        scan(logits, words, block, 0, &mut best);
        finish(best.ordered());
        return Ok(());
    }
    let share = wanted.min(SEGMENT);
    let mut winners = Scratch::<u64>::zeroed(logits.len().div_ceil(SEGMENT) * share, op)?;
    winners.par_chunks_mut(share).zip(logits.par_chunks(SEGMENT)).enumerate().try_for_each(
        |(segment, (winners, logits))| {
            let first = segment * SEGMENT;
            let mut best = Best::new(share, op)?;
            scan(logits, words, block + first as u64 / 4, first as u32, &mut best);
            let keys = best.unordered();
            winners[..keys.len()].copy_from_slice(keys);
            Ok(())
        },
    )?;
    // What a short segment left open is zero, less than any key.
    winners.sort_unstable_by(|a, b| b.cmp(a));
    finish(&winners[..wanted]);
    Ok(())
}

vectorised! {
    /// Offers every position that may be among the best. logits: (count), the first of them at `place`, with the words
    /// from block `block` on.
    fn scan(logits: &[f32], words: Words, block: u64, place: u32, best: &mut Best) {
        let mut at = words.first.wrapping_add(block);
        let mut place = place;
        let (whole, rest) = logits.as_chunks::<LANES>();
        for logits in whole {
            offer(logits, at, words.key, place, LANES, best);
            at = at.wrapping_add(LANES as u64 / 4);
            place += LANES as u32;
        }
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..rest.len()].copy_from_slice(rest);
        offer(&last, at, words.key, place, rest.len(), best);
    }
}

/// Offers the first `count` of some neighbouring positions.
#[inline(always)]
fn offer(logits: &[f32; LANES], block: u64, key: [u32; 2], place: u32, count: usize, best: &mut Best) {
    let words = philox::step(block, key);
    let floor = best.floor();
    let mut bounds = [0.0; LANES];
    let mut doubtful = false;
    for i in 0..LANES {
        bounds[i] = bound(logits[i], words[i]);
        let ruled_out = bounds[i] < floor;
        doubtful |= !ruled_out;
    }
    if !doubtful {
        return;
    }
    for i in 0..count {
        let ruled_out = bounds[i] < floor;
        if !ruled_out {
            best.offer(best::key(logits[i] + noise::gumbel(words[i]), place + i as u32));
        }
    }
}

/// An upper bound of `logit − log E`, from E ≥ v and, for v = 2ᵉ (1 + m), `log2 v ≥ e + m`, which is what the bits of a
/// float say when read as an integer. The margin of 1e-4 covers every rounding but the last, which is monotonic.
#[inline(always)]
fn bound(logit: f32, word: u32) -> f32 {
    const LN_2: f32 = std::f32::consts::LN_2;
    let bits = noise::fraction(word).to_bits() as i32 as f32;
    logit + bits.mul_add(-LN_2 / 8_388_608.0, 127.0 * LN_2 + 1e-4)
}
