//! Launches of the perturbed top-k: a workgroup selects for each sample, then the choices are counted. Noise that is drawn
//! is made where it is used, forward and backward, and stored nowhere.

use super::{Noise, PerturbedTopK, PerturbedTopKGrad, row_words};
use crate::{
    device::{Areas, Meta},
    error::Result,
    wgpu::{Cx, In, Onto, Out, View, sum_parts},
};
use std::ops::Range;

mod select {
    crate::wgpu_params! {
        pub(super) struct PerturbedParams {
            scores_first: u32, given_first: u32, positions_first: u32, key_0: u32, key_1: u32, first_low: u32,
            first_high: u32, drawn: u32, samples: u32, per_image: u32, first_sample: u32, count: u32, keep: u32,
            sigma: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "perturbed_top_k",
        texts: ["common/grid", "common/exp", "common/math", "common/philox", "common/noise", "common/order",
            "perturbed_top_k/noise", "perturbed_top_k/select"],
        params: PerturbedParams, tuning: [],
        F32 = "perturbed_select_f32", tried with [[]];
    }
}

mod indicators {
    crate::wgpu_params! {
        pub(super) struct IndicatorsParams {
            positions_first: u32, y_first: u32, images: u32, samples: u32, keep: u32, count: u32, chunks: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "perturbed_top_k", texts: ["common/grid", "perturbed_top_k/indicators"],
        params: IndicatorsParams, tuning: [],
        F32 = "perturbed_indicators_f32", tried with [[]];
    }
    /// Positions that a workgroup counts.
    pub(super) const COUNTS: usize = 2048;
}

mod grad {
    crate::wgpu_params! {
        pub(super) struct PerturbedGradParams {
            dy_first: u32, positions_first: u32, worth_first: u32, given_first: u32, parts_first: u32, key_0: u32,
            key_1: u32, first_low: u32, first_high: u32, drawn: u32, images: u32, samples: u32, per_run: u32, runs: u32,
            keep: u32, count: u32, part: u32, by: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "perturbed_top_k_grad",
        texts: ["common/grid", "common/exp", "common/math", "common/philox", "common/noise",
            "perturbed_top_k/noise", "perturbed_top_k/grad"],
        params: PerturbedGradParams, tuning: [],
        WORTH = "perturbed_worth_f32", tried with [[]];
        F32 = "perturbed_grad_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

/// Samples that one thread adds up; the sums of such runs are added in turn.
const RUN: usize = 64;

/// Rows of (rows, width).
fn of(run: &Range<usize>, width: usize) -> Range<usize> {
    run.start * width..run.end * width
}

impl Noise {
    /// Key, and counter of the first block of a sample; whether there is any to draw.
    fn words(self, n: usize, sample: usize) -> ([u32; 4], bool) {
        let Noise::Drawn { words, .. } = self else { return ([0; 4], false) };
        let first = words.first.wrapping_add((sample as u64).wrapping_mul(row_words(n) / 4));
        ([words.key[0], words.key[1], first as u32, (first >> 32) as u32], true)
    }
}

/// The most samples whose blocks can be counted in 32 bits.
fn countable(n: usize) -> usize {
    (u64::from(u32::MAX) / (row_words(n) / 4).max(1)) as usize
}

impl PerturbedTopK {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (scores, y, positions) = (&ins[0], &outs[0], &outs[1]);
        let (n, per_image) = (scores.dims[1], positions.dims[1]);
        let samples = scores.dims[0] * per_image;
        for first in (0..samples).step_by(countable(n)) {
            let needs = |run: &Range<usize>| {
                let run = first + run.start..first + run.end;
                let images = run.start / per_image..run.end.div_ceil(per_image);
                let noise = ins.get(1).map_or((*scores, 0..0), |noise| (*noise, of(&run, n)));
                [(*scores, of(&images, n)), noise, (*positions, of(&run, self.k))]
            };
            for run in cx.cut((samples - first).min(countable(n)), needs)? {
                self.select(cx, first + run.start..first + run.end, (n, per_image), needs(&run))?;
            }
        }
        self.count(cx, positions, y)
    }

    /// Samples `run` of all, with the scores, noise and positions of them.
    fn select(
        &self,
        cx: &Cx,
        run: Range<usize>,
        (n, per_image): (usize, usize),
        needs: [(View, Range<usize>); 3],
    ) -> Result<()> {
        let [scores, given, positions] = needs.map(|(view, range)| cx.bind_range(&view, range));
        let slices = [scores?, given?, positions?];
        let ([key_0, key_1, first_low, first_high], drawn) = self.noise.words(n, run.start);
        let params = select::PerturbedParams {
            scores_first: slices[0].first,
            given_first: slices[1].first,
            positions_first: slices[2].first,
            key_0,
            key_1,
            first_low,
            first_high,
            drawn: drawn.into(),
            samples: run.len() as u32,
            per_image: per_image as u32,
            first_sample: (run.start % per_image) as u32,
            count: n as u32,
            keep: self.k as u32,
            sigma: self.sigma,
        };
        cx.launch(&select::F32, &[], &params, &slices, cx.groups(run.len())?)
    }

    /// positions (B, S, k) -> y (B, k, N)
    fn count(&self, cx: &Cx, positions: &View, y: &View) -> Result<()> {
        let (samples, n) = (positions.dims[1], y.dims[2]);
        let needs = |run: &Range<usize>| [(*positions, of(run, samples * self.k)), (*y, of(run, self.k * n))];
        for run in cx.cut(y.dims[0], needs)? {
            let [positions, y] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [positions?, y?];
            let chunks = n.div_ceil(indicators::COUNTS);
            let params = indicators::IndicatorsParams {
                positions_first: slices[0].first,
                y_first: slices[1].first,
                images: run.len() as u32,
                samples: samples as u32,
                keep: self.k as u32,
                count: n as u32,
                chunks: chunks as u32,
            };
            let groups = cx.groups(run.len() * self.k * chunks)?;
            cx.launch(&indicators::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}

impl PerturbedTopKGrad {
    /// Areas for what the samples are worth and, if there are several runs of them, the sums of the runs.
    fn areas([b, samples, n]: [usize; 3]) -> Areas<2> {
        let runs = samples.div_ceil(RUN);
        Areas([b * samples, if runs > 1 { runs * b * n } else { 0 }])
    }

    /// Bytes for these.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        Self::areas([ins[0].dims[0], ins[1].dims[1], ins[0].dims[2]]).bytes()
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, positions, dscores) = (&ins[0], &ins[1], &outs[0]);
        let [b, samples, k, n] = [dy.dims[0], positions.dims[1], dy.dims[1], dy.dims[2]];
        let [worth, sums] = Self::areas([b, samples, n]).views(cx)?;
        let runs = samples.div_ceil(RUN);
        // A single run is the result.
        let parts = if runs > 1 { sums } else { *dscores };
        let needs = |run: &Range<usize>| {
            let noise = ins.get(2).map_or((*dy, 0..0), |noise| (*noise, of(run, samples * n)));
            [(*dy, of(run, k * n)), (*positions, of(run, samples * k)), (worth, of(run, samples)), noise]
        };
        // Images whose blocks can be counted in 32 bits; a single one always counts as such.
        let most = (countable(n) / samples).max(1);
        for first in (0..b).step_by(most) {
            let needs = |run: &Range<usize>| needs(&(first + run.start..first + run.end));
            for run in cx.cut((b - first).min(most), needs)? {
                let [dy, positions, worth, given] =
                    needs(&run).map(|(view, range)| cx.bind_range(&view, range));
                let slices = [dy?, positions?, worth?, given?, cx.bind(&parts)?];
                let ([key_0, key_1, first_low, first_high], drawn) =
                    self.noise.words(n, (first + run.start) * samples);
                let params = grad::PerturbedGradParams {
                    dy_first: slices[0].first,
                    positions_first: slices[1].first,
                    worth_first: slices[2].first,
                    given_first: slices[3].first,
                    parts_first: slices[4].first + ((first + run.start) * n) as u32,
                    key_0,
                    key_1,
                    first_low,
                    first_high,
                    drawn: drawn.into(),
                    images: run.len() as u32,
                    samples: samples as u32,
                    per_run: RUN as u32,
                    runs: runs as u32,
                    keep: k as u32,
                    count: n as u32,
                    part: (b * n) as u32,
                    by: (1.0 / (samples as f64 * f64::from(self.sigma))) as f32,
                };
                let groups = |threads: usize| cx.groups(threads.div_ceil(grad::THREADS));
                cx.launch(&grad::WORTH, &[], &params, &slices[..3], groups(run.len() * samples)?)?;
                let threads = run.len() * runs * n.div_ceil(4);
                cx.launch(&grad::F32, &[], &params, &slices[2..], groups(threads)?)?;
            }
        }
        if runs > 1 { sum_parts(cx, &parts, dscores, runs, Onto::Nothing) } else { Ok(()) }
    }
}
