//! The perturbed top-k on CUDA: `kernels/perturbed_top_k/perturbed_top_k.cu`. A block selects for each sample, then the
//! choices are counted.

use super::{Noise, PerturbedTopK, PerturbedTopKGrad};
use crate::{
    cuda::{Argument, Cx, Grid, In, Out, PERTURBED_GRAD_F32, PERTURBED_INDICATORS_F32, PERTURBED_SELECT_F32},
    device::Meta,
    error::Result,
};
use bytemuck::NoUninit;

/// Keys that a block keeps in shared memory.
const CACHED: usize = 8192;
/// Positions that a block of the indicators counts.
const COUNTS: usize = 2048;
/// Samples that one thread of the gradient adds up; the sums of such runs are added in turn.
const RUN: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PerturbedParams {
    first: u64,
    key_0: u32,
    key_1: u32,
    samples: u32,
    count: u32,
    keep: u32,
    cached: u32,
    sigma: f32,
    by: f32,
}

impl PerturbedParams {
    /// For S samples of k of N positions.
    fn new(cx: &Cx, noise: Noise, sigma: f32, [samples, k, n]: [usize; 3]) -> Result<Self> {
        let (first, [key_0, key_1]) = match noise {
            Noise::Drawn { words, .. } => (words.first, words.key),
            Noise::Given => (0, [0; 2]),
        };
        Ok(PerturbedParams {
            first,
            key_0,
            key_1,
            samples: cx.u32(samples)?,
            count: cx.u32(n)?,
            keep: cx.u32(k)?,
            cached: cx.u32(n.next_multiple_of(4).min(CACHED))?,
            sigma,
            by: (1.0 / (samples as f64 * f64::from(sigma))) as f32,
        })
    }
}

impl PerturbedTopK {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (scores, y, positions) = (&ins[0], &outs[0], &outs[1]);
        let [b, n, samples] = [scores.dims[0], scores.dims[1], positions.dims[1]];
        let params = PerturbedParams::new(cx, self.noise, self.sigma, [samples, self.k, n])?;
        let given = ins.get(1).map_or(Argument::NONE, Argument::from);
        let grid = Grid::blocks([b * samples, 1, 1]).shared(4 * params.cached);
        cx.launch(PERTURBED_SELECT_F32, grid, &[scores.into(), given, positions.into()], &params)?;
        let grid = Grid::blocks([b * self.k, n.div_ceil(COUNTS), 1]);
        cx.launch(PERTURBED_INDICATORS_F32, grid, &[positions.into(), y.into()], &params)
    }
}

impl PerturbedTopKGrad {
    /// Bytes for the sums of the runs, if there are several.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let [b, samples, n] = [ins[0].dims[0], ins[1].dims[1], ins[0].dims[2]];
        let runs = samples.div_ceil(RUN);
        if runs > 1 { runs * b * n * 4 } else { 0 }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, positions, dscores) = (&ins[0], &ins[1], Argument::from(&outs[0]));
        let [b, samples, k, n] = [dy.dims[0], positions.dims[1], dy.dims[1], dy.dims[2]];
        let params = PerturbedParams::new(cx, self.noise, self.sigma, [samples, k, n])?;
        let given = ins.get(2).map_or(Argument::NONE, Argument::from);
        let runs = samples.div_ceil(RUN);
        // A single run is the result.
        let parts = if runs > 1 { cx.scratch() } else { dscores };
        let grid = Grid::blocks([n.div_ceil(4 * PERTURBED_GRAD_F32.threads as usize), runs, b]);
        cx.launch(PERTURBED_GRAD_F32, grid, &[dy.into(), positions.into(), given, parts], &params)?;
        if runs > 1 { cx.sum_parts(parts, dscores, runs, b * n) } else { Ok(()) }
    }
}
