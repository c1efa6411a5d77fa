//! The running selection on the CPU: one task per image. A merge copies the logits of the line together, turns them into
//! weights in place, and orders 64-bit keys that hold score and position, so that no two are equal.

use super::TopMMerge;
use crate::{
    cpu::{In, Out, Scratch, math::exp, simd::vectorised},
    device::Op,
    error::Result,
};
use rayon::prelude::*;

/// Lanes of the vectors that loops over rows are laid out for.
const LANES: usize = 16;
/// Weights added up in `f32` before the sum moves to `f64`.
const RUN: usize = 64;
/// Upper half of the key of a candidate that takes no part: behind every score.
const BAD: u64 = 0xFFFF_FFFF << 32;

impl TopMMerge {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [n, rows, keep] = [ins[0].dims[1], ins[0].dims[2], outs[0].dims[1]];
        let logits = ins[0].f32()?;
        let indices = outs[0].i32()?;
        if indices.is_empty() {
            return Ok(());
        }
        let images = indices.par_chunks_mut(keep).zip(logits.par_chunks(n * rows));
        images.try_for_each(|(kept, logits)| self.replay(kept, logits, rows))
    }

    /// kept: (min(M, N)), logits: (N, R)
    fn replay(&self, kept: &mut [i32], logits: &[f32], rows: usize) -> Result<()> {
        let (n, keep) = (logits.len() / rows, kept.len());
        kept.iter_mut().zip(0..).for_each(|(kept, at)| *kept = at);
        if n == keep {
            return Ok(());
        }
        let mut line = Line::new(keep + self.chunk.min(n - keep), rows)?;
        for first in (keep..n).step_by(self.chunk) {
            let fresh = first..n.min(first + self.chunk);
            line.fill(logits, kept.iter().copied().chain(fresh.map(|c| c as i32)));
            line.score();
            line.best(kept);
        }
        Ok(())
    }
}

/// The candidates of one merge, in their order.
struct Line {
    rows: usize,
    len: usize,
    /// Which candidate stands where: (M + I).
    candidates: Scratch<i32>,
    /// Logits, then weights, of each: (M + I, R). Those of a candidate that takes no part are −∞, then 0.
    weights: Scratch<f32>,
    /// What they are ordered by, smaller first: (M + I).
    keys: Scratch<u64>,
    /// Per row, its largest logit, repeated to a whole number of vectors: (tile).
    largest: Scratch<f32>,
    /// Sums of weights: (tile).
    sums: Scratch<f32>,
    /// Per row, the reciprocal of the weights' sum: (R).
    inverse: Scratch<f32>,
    /// Sums of weights: (R).
    totals: Scratch<f64>,
}

impl Line {
    fn new(capacity: usize, rows: usize) -> Result<Self> {
        const OP: &str = TopMMerge::NAME;
        let tile = tile(rows);
        Ok(Line {
            rows,
            len: 0,
            candidates: Scratch::new(capacity, OP)?,
            weights: Scratch::new(capacity.saturating_mul(rows), OP)?,
            keys: Scratch::new(capacity, OP)?,
            largest: Scratch::new(tile, OP)?,
            sums: Scratch::new(tile, OP)?,
            inverse: Scratch::new(rows, OP)?,
            totals: Scratch::new(rows, OP)?,
        })
    }

    /// Lines candidates up: copies their logits (out of (N, R)) and finds who takes part.
    fn fill(&mut self, logits: &[f32], candidates: impl Iterator<Item = i32>) {
        let to = self.weights.chunks_exact_mut(self.rows).zip(self.candidates.iter_mut());
        let to = to.zip(self.keys.iter_mut()).zip(candidates);
        self.len = 0;
        for (((weights, stands), key), candidate) in to {
            *stands = candidate;
            let from = candidate as usize * self.rows;
            weights.copy_from_slice(&logits[from..from + self.rows]);
            let valid = weights.iter().fold(true, |valid, &l| valid & (l < f32::INFINITY));
            if !valid {
                weights.fill(f32::NEG_INFINITY);
            }
            *key = if valid { 0 } else { BAD };
            self.len += 1;
        }
    }

    /// Replaces logits by weights and writes everybody's key.
    fn score(&mut self) {
        let weights = &mut self.weights[..self.len * self.rows];
        largest(weights, self.rows, &mut self.largest);
        weigh(weights, &self.largest, &mut self.sums, &mut self.totals);
        for (inverse, &total) in self.inverse.iter_mut().zip(&*self.totals) {
            // A row of minus infinities has no probability to give.
            *inverse = if total > 0.0 { (1.0 / total) as f32 } else { 0.0 };
        }
        write_keys(weights, &self.inverse, &mut self.keys[..self.len]);
    }

    /// The best ones, best first.
    fn best(&mut self, kept: &mut [i32]) {
        let keys = &mut self.keys[..self.len];
        let (before, _, _) = keys.select_nth_unstable(kept.len() - 1);
        before.sort_unstable();
        for (kept, &key) in kept.iter_mut().zip(&*keys) {
            *kept = self.candidates[key as u32 as usize];
        }
    }
}

/// The least number of values that is a multiple of both `rows` and the vector's lanes.
fn tile(rows: usize) -> usize {
    rows << (LANES.trailing_zeros() - rows.trailing_zeros().min(LANES.trailing_zeros()))
}

vectorised! {
    /// Largest value of each row of x (count, R), repeated along `tile`; 0 for a row of minus infinities, whose weights are
    /// then 0.
    fn largest(x: &[f32], rows: usize, tile: &mut [f32]) {
        tile.fill(f32::NEG_INFINITY);
        for x in x.chunks(tile.len()) {
            tile.iter_mut().zip(x).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
        }
        for r in 0..rows {
            let most =
                tile.iter().skip(r).step_by(rows).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            let most = if most > f32::NEG_INFINITY { most } else { 0.0 };
            tile.iter_mut().skip(r).step_by(rows).for_each(|to| *to = most);
        }
    }

    /// x (count, R) becomes `exp(x − largest)`, and `totals` (R) its sums over the candidates.
    fn weigh(x: &mut [f32], largest: &[f32], sums: &mut [f32], totals: &mut [f64]) {
        let (tile, rows) = (largest.len(), totals.len());
        totals.fill(0.0);
        for run in x.chunks_mut(RUN * tile) {
            sums.fill(0.0);
            for x in run.chunks_mut(tile) {
                for ((x, &largest), sum) in x.iter_mut().zip(largest).zip(&mut *sums) {
                    *x = exp(*x - largest);
                    *sum += *x;
                }
            }
            for sums in sums.chunks(rows) {
                totals.iter_mut().zip(sums).for_each(|(total, &sum)| *total += f64::from(sum));
            }
        }
    }

    /// Writes score and position of each candidate that takes part into its key. weights: (count, R), inverse: (R).
    fn write_keys(weights: &[f32], inverse: &[f32], keys: &mut [u64]) {
        for ((weights, key), at) in weights.chunks_exact(inverse.len()).zip(keys).zip(0..) {
            let (whole, rest) = weights.as_chunks::<LANES>();
            let (by, by_rest) = inverse.as_chunks::<LANES>();
            let mut score = rest.iter().zip(by_rest).fold(0.0, |sum, (&w, &by)| w.mul_add(by, sum));
            if !whole.is_empty() {
                let mut lanes = [0.0_f32; LANES];
                for (weights, by) in whole.iter().zip(by) {
                    for i in 0..LANES {
                        lanes[i] = weights[i].mul_add(by[i], lanes[i]);
                    }
                }
                score += fold(lanes);
            }
            // The sum of probabilities is at most about R: never negative, so its bits order it.
            *key = if *key == BAD { BAD } else { u64::from(i32::MAX as u32 - score.to_bits()) << 32 } | at;
        }
    }
}

/// The sum of the lanes, halving them.
#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
