//! The perturbed top-k on the CPU: each sample is one pass over the scores, with noise made on the way and a running
//! threshold; the gradient makes the same noise again.

use super::{Noise, PerturbedTopK, PerturbedTopKGrad, row_words};
use crate::{
    cpu::{
        In, Out, Scratch,
        best::{self, Best},
        philox,
        simd::vectorised,
    },
    device::Op,
    error::Result,
    ops::sampling::noise::normals,
    rng::Words,
};
use rayon::prelude::*;

/// Positions looked at side by side.
const LANES: usize = 32;
/// Positions whose gradient one task computes, a multiple of [`LANES`].
const PART: usize = 512;
/// Samples added up before the sum moves on: long sums keep the rounding errors of short ones.
const RUN: usize = 64;

/// The noise of one sample.
#[derive(Clone, Copy)]
enum Row<'a> {
    /// (N)
    Given(&'a [f32]),
    /// Key, and counter of the first block.
    Drawn([u32; 2], u64),
}

impl<'a> Row<'a> {
    /// Of row `sample` of noise (B, S, N).
    fn new(noise: Noise, given: Option<&'a [f32]>, sample: usize, n: usize) -> Self {
        match noise {
            Noise::Given => Row::Given(given.map_or(&[], |given| &given[sample * n..(sample + 1) * n])),
            Noise::Drawn { words: Words { key, first }, .. } => {
                Row::Drawn(key, first.wrapping_add(sample as u64 * (row_words(n) / 4)))
            }
        }
    }

    /// From position `start` on, a multiple of [`LANES`].
    fn from(self, start: usize) -> Self {
        match self {
            Row::Given(noise) => Row::Given(&noise[start..]),
            Row::Drawn(key, block) => Row::Drawn(key, block.wrapping_add(start as u64 / 4)),
        }
    }

    /// The noise of positions `start..start + LANES`, of which there are `count`.
    #[inline(always)]
    fn lanes(self, start: usize, count: usize) -> [f32; LANES] {
        let mut z = [0.0; LANES];
        match self {
            Row::Given(noise) => z[..count].copy_from_slice(&noise[start..start + count]),
            Row::Drawn(key, block) => {
                let words = philox::step(block.wrapping_add(start as u64 / 4), key);
                for i in 0..LANES / 2 {
                    [z[2 * i], z[2 * i + 1]] = normals([words[2 * i], words[2 * i + 1]]);
                }
            }
        }
        z
    }
}

impl PerturbedTopK {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let ([n, k], scores) = ([ins[0].dims[1], self.k], ins[0].f32()?);
        let noise = ins.get(1).map(In::f32).transpose()?;
        let [indicators, positions] = outs else { return Ok(()) };
        let (s, positions) = (positions.dims[1], positions.i32()?);
        positions.par_chunks_mut(k).with_min_len(8).enumerate().try_for_each_init(
            || Best::new(k, Self::NAME),
            |best, (sample, positions)| {
                let best = best.as_mut().map_err(|error| error.clone())?;
                best.clear();
                let image = sample / s;
                let row = Row::new(self.noise, noise, sample, n);
                perturb(&scores[image * n..(image + 1) * n], row, self.sigma, best);
                let chosen = best.unordered();
                positions.iter_mut().zip(chosen).for_each(|(to, key)| *to = best::place(*key) as i32);
                positions.sort_unstable();
                Ok(())
            },
        )?;
        indicators.f32()?.par_chunks_mut(k * n).zip(positions.par_chunks(s * k)).for_each(
            |(y, positions)| {
                y.fill(0.0);
                for (at, &position) in positions.iter().enumerate() {
                    y[at % k * n + position as usize] += 1.0;
                }
                y.iter_mut().for_each(|count| *count /= s as f32);
            },
        );
        Ok(())
    }
}

impl PerturbedTopKGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [b, k, n] = [ins[0].dims[0], ins[0].dims[1], ins[0].dims[2]];
        let (dy, positions, s) = (ins[0].f32()?, ins[1].i32()?, ins[1].dims[1]);
        let noise = ins.get(2).map(In::f32).transpose()?;
        let dscores = outs[0].f32()?;
        // What each sample's choice is worth: (B, S).
        let mut worth = Scratch::<f32>::new(b * s, Self::NAME)?;
        let by = 1.0 / (s as f64 * f64::from(self.sigma));
        worth.iter_mut().zip(positions.chunks(k)).enumerate().for_each(|(sample, (worth, positions))| {
            let row = |j: usize| &dy[(sample / s * k + j) * n..][..n];
            let chosen = positions.iter().enumerate().filter_map(|(j, &at)| row(j).get(at as usize));
            let sum: f64 = chosen.map(|&dy| f64::from(dy)).sum();
            *worth = (sum * by) as f32;
        });
        for (image, dscores) in dscores.chunks_mut(n.max(1)).enumerate() {
            dscores.par_chunks_mut(PART).enumerate().for_each(|(part, dscores)| {
                dscores.fill(0.0);
                for first in (0..s).step_by(RUN) {
                    let mut sums = [0.0; PART];
                    for sample in image * s + first..image * s + s.min(first + RUN) {
                        let row = Row::new(self.noise, noise, sample, n).from(part * PART);
                        add_noise(worth[sample], row, &mut sums[..dscores.len()]);
                    }
                    dscores.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
                }
            });
        }
        Ok(())
    }
}

vectorised! {
    /// Offers the perturbed scores (N) of one sample.
    fn perturb(scores: &[f32], noise: Row<'_>, sigma: f32, best: &mut Best) {
        for start in (0..scores.len()).step_by(LANES) {
            let count = LANES.min(scores.len() - start);
            let mut values = [f32::NEG_INFINITY; LANES];
            values[..count].copy_from_slice(&scores[start..start + count]);
            let z = noise.lanes(start, count);
            let floor = best.floor();
            let mut doubtful = false;
            for i in 0..LANES {
                values[i] += sigma * z[i];
                let ruled_out = values[i] < floor;
                doubtful |= !ruled_out;
            }
            if doubtful {
                for (i, &value) in values[..count].iter().enumerate() {
                    best.offer(best::key(value, (start + i) as u32));
                }
            }
        }
    }

    /// sums += c · noise, from the noise's first position on.
    fn add_noise(c: f32, noise: Row<'_>, sums: &mut [f32]) {
        for (part, sums) in sums.chunks_mut(LANES).enumerate() {
            let z = noise.lanes(part * LANES, sums.len());
            sums.iter_mut().zip(z).for_each(|(sum, z)| *sum = c.mul_add(z, *sum));
        }
    }
}
