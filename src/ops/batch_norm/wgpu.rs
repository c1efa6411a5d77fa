//! Batch normalisation through wgpu. Training: the statistics of parts, their merge, the normalisation; backward: sums of
//! parts, their merge, the gradient of x. Batches larger than a binding are cut into runs of images.

use super::{
    BatchNorm, BatchNormApply, BatchNormConfig, BatchNormEval, BatchNormGrad, BatchNormGradApply,
    BatchNormGradSums, BatchNormStatistics, Sizes, parts::Parts,
};
use crate::{
    device::Meta,
    error::Result,
    wgpu::{Cx, In, Out, View, times},
};
use std::ops::Range;

const THREADS: usize = 128;
/// Elements of one thread of the kernels that go over all of x.
const STEPS: usize = 8;

crate::wgpu_params! {
    #[derive(Default)]
    struct BatchNormParams {
        x_first: u32, dy_first: u32, weight_first: u32, bias_first: u32, mean_first: u32, inv_std_first: u32,
        parts_first: u32, batch: u32, channels: u32, plane: u32, images_per_part: u32, pieces: u32, piece: u32, parts: u32,
        first_part: u32,
    }
}

mod statistics {
    crate::wgpu_kernel! {
        op: "batch_norm", texts: ["common/grid", "batch_norm/batch_norm", "batch_norm/statistics"],
        params: super::BatchNormParams, tuning: [],
        PARTS = "part_statistics_f32", tried with [[]];
    }
}

mod merge {
    crate::wgpu_params! {
        pub(super) struct MergeParams {
            parts_first: u32, running_first: u32, running_var_first: u32, new_mean_first: u32, new_var_first: u32,
            mean_first: u32, inv_std_first: u32, channels: u32, parts: u32, eps: f32, momentum: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "batch_norm", texts: ["common/grid", "batch_norm/merge"], params: MergeParams, tuning: [],
        F32 = "merge_f32", tried with [[]];
    }
}

mod normalise {
    crate::wgpu_params! {
        pub(super) struct NormaliseParams {
            x_first: u32, residual_first: u32, weight_first: u32, bias_first: u32, mean_first: u32,
            inv_std_first: u32, y_first: u32, count: u32, channels: u32, plane: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "batch_norm", texts: ["common/grid", "batch_norm/normalise"], params: NormaliseParams,
        tuning: [THREADS, STEPS, RESIDUAL, RELU],
        F32 = "normalise_f32", tried with [[128, 8, 0, 0], [128, 8, 1, 1]];
    }
}

mod inv_std {
    crate::wgpu_params! {
        pub(super) struct InvStdParams { var_first: u32, inv_std_first: u32, channels: u32, eps: f32 }
    }
    crate::wgpu_kernel! {
        op: "batch_norm_eval", texts: ["common/grid", "batch_norm/inv_std"], params: InvStdParams, tuning: [],
        F32 = "inv_std_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

mod grad_sums {
    crate::wgpu_kernel! {
        op: "batch_norm_grad", texts: ["common/grid", "batch_norm/batch_norm", "batch_norm/grad_sums"],
        params: super::BatchNormParams, tuning: [RELU],
        PARTS = "grad_sums_f32", tried with [[0], [1]];
    }
}

mod grad_merge {
    crate::wgpu_params! {
        pub(super) struct GradMergeParams {
            weight_first: u32, bias_first: u32, mean_first: u32, inv_std_first: u32, dweight_first: u32,
            dbias_first: u32, channels: u32, parts: u32, through_statistics: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "batch_norm_grad", texts: ["common/grid", "batch_norm/grad_merge"], params: GradMergeParams, tuning: [],
        F32 = "grad_merge_f32", tried with [[]];
    }
}

mod grad_gather {
    crate::wgpu_params! {
        pub(super) struct GradGatherParams {
            weight_first: u32, bias_first: u32, mean_first: u32, inv_std_first: u32, dweight_first: u32,
            dbias_first: u32, channels: u32, through_statistics: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "batch_norm_grad_apply", texts: ["common/grid", "batch_norm/grad_gather"], params: GradGatherParams,
        tuning: [],
        F32 = "grad_gather_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

mod grad_x {
    crate::wgpu_params! {
        pub(super) struct GradXParams {
            x_first: u32, dy_first: u32, dx_first: u32, count: u32, channels: u32, plane: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "batch_norm_grad", texts: ["common/grid", "batch_norm/grad_x"], params: GradXParams,
        tuning: [THREADS, STEPS, RELU],
        F32 = "grad_x_f32", tried with [[128, 8, 0], [128, 8, 1]];
    }
}

impl Parts {
    /// The images of some groups.
    fn images(&self, groups: &Range<usize>) -> Range<usize> {
        groups.start * self.images_per_part..(groups.end * self.images_per_part).min(self.sizes.batch)
    }

    /// Their elements.
    fn elements(&self, groups: &Range<usize>) -> Range<usize> {
        let (images, image) = (self.images(groups), self.sizes.channels * self.sizes.plane);
        images.start * image..images.end * image
    }

    /// Parameters of a launch over some groups, but for where the tensors begin.
    fn params(&self, groups: &Range<usize>) -> BatchNormParams {
        BatchNormParams {
            batch: self.images(groups).len() as u32,
            channels: self.sizes.channels as u32,
            plane: self.sizes.plane as u32,
            images_per_part: self.images_per_part as u32,
            pieces: self.pieces as u32,
            piece: self.piece() as u32,
            parts: self.count() as u32,
            first_part: (groups.start * self.pieces) as u32,
            ..Default::default()
        }
    }
}

/// Bytes for the statistics of the parts of x.
fn statistics_scratch(x: &Meta) -> usize {
    let parts = Parts::of(Sizes::of(x.dims));
    parts.sizes.channels * parts.count() * 12
}

/// Statistics of x: new running mean and variance, mean, inverse deviation.
fn launch_statistics(
    cx: &Cx,
    config: &BatchNormConfig,
    [x, running_mean, running_var]: [&In; 3],
    outs: &[Out],
) -> Result<()> {
    let parts = Parts::of(Sizes::of(x.dims));
    let channels = parts.sizes.channels;
    let scratch = cx.scratch()?;
    let sums = View { dims: [channels, parts.count(), 3].into(), ..scratch };
    for run in cx.cut(parts.groups(), |run| [(*x, parts.elements(run))])? {
        let slices = [cx.bind_range(x, parts.elements(&run))?, cx.bind(&sums)?];
        let params = BatchNormParams { x_first: slices[0].first, ..parts.params(&run) };
        let groups = cx.groups(channels * run.len() * parts.pieces)?;
        cx.launch(&statistics::PARTS, &[], &params, &slices, groups)?;
    }
    let [new_mean, new_var, mean, inv_std] = outs else { return Ok(()) };
    let slices = [
        cx.bind(&sums)?,
        cx.bind(running_mean)?,
        cx.bind(running_var)?,
        cx.bind(new_mean)?,
        cx.bind(new_var)?,
        cx.bind(mean)?,
        cx.bind(inv_std)?,
    ];
    let params = merge::MergeParams {
        parts_first: slices[0].first,
        running_first: slices[1].first,
        running_var_first: slices[2].first,
        new_mean_first: slices[3].first,
        new_var_first: slices[4].first,
        mean_first: slices[5].first,
        inv_std_first: slices[6].first,
        channels: channels as u32,
        parts: parts.count() as u32,
        eps: config.eps as f32,
        momentum: config.momentum as f32,
    };
    cx.launch(&merge::F32, &[], &params, &slices, cx.groups(channels)?)
}

impl BatchNorm {
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        statistics_scratch(&ins[0])
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        if ins[0].dims.elements() == 0 {
            return Ok(());
        }
        launch_statistics(cx, &self.0, [&ins[0], &ins[3], &ins[4]], &outs[1..])?;
        launch_normalise(cx, self.0.relu, ins, [&outs[3], &outs[4]], &outs[0])
    }
}

impl BatchNormStatistics {
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        statistics_scratch(&ins[0])
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        if ins[0].dims.elements() == 0 {
            return Ok(());
        }
        launch_statistics(cx, &self.0, [&ins[0], &ins[1], &ins[2]], outs)
    }
}

impl BatchNormApply {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_normalise(cx, self.relu, ins, [&ins[3], &ins[4]], &outs[0])
    }
}

impl BatchNormEval {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (var, inv_std) = (&ins[4], &outs[1]);
        let slices = [cx.bind(var)?, cx.bind(inv_std)?];
        let channels = var.dims.elements();
        let params = inv_std::InvStdParams {
            var_first: slices[0].first,
            inv_std_first: slices[1].first,
            channels: channels as u32,
            eps: self.0.eps as f32,
        };
        let groups = cx.groups(channels.div_ceil(inv_std::THREADS))?;
        cx.launch(&inv_std::F32, &[], &params, &slices, groups)?;
        launch_normalise(cx, self.0.relu, ins, [&ins[3], inv_std], &outs[0])
    }
}

/// Normalises x with a mean and an inverse deviation per channel; adds the residual, if there is one, and rectifies.
fn launch_normalise(cx: &Cx, relu: bool, ins: &[In], [mean, inv_std]: [&View; 2], y: &Out) -> Result<()> {
    let (x, residual) = (&ins[0], ins.get(5));
    let sizes = Sizes::of(x.dims);
    let image = sizes.channels * sizes.plane;
    if image == 0 {
        return Ok(());
    }
    for run in cx.cut(sizes.batch, |run| [(*x, times(run, image)), (*y, times(run, image))])? {
        let slices = [
            cx.bind_range(x, times(&run, image))?,
            cx.bind_range(residual.unwrap_or(x), times(&run, image))?,
            cx.bind(&ins[1])?,
            cx.bind(&ins[2])?,
            cx.bind(mean)?,
            cx.bind(inv_std)?,
            cx.bind_range(y, times(&run, image))?,
        ];
        let count = run.len() * image;
        let params = normalise::NormaliseParams {
            x_first: slices[0].first,
            residual_first: slices[1].first,
            weight_first: slices[2].first,
            bias_first: slices[3].first,
            mean_first: slices[4].first,
            inv_std_first: slices[5].first,
            y_first: slices[6].first,
            count: count as u32,
            channels: sizes.channels as u32,
            plane: sizes.plane as u32,
        };
        let tuning = [THREADS as u32, STEPS as u32, residual.is_some().into(), relu.into()];
        let groups = cx.groups(count.div_ceil(THREADS * STEPS))?;
        cx.launch(&normalise::F32, &tuning, &params, &slices, groups)?;
    }
    Ok(())
}

/// Bytes for what the gradient of x needs of a channel, and for the sums of the parts of x.
fn sums_scratch(x: &Meta) -> usize {
    let parts = Parts::of(Sizes::of(x.dims));
    parts.sizes.channels * (6 + 2 * parts.count()) * 4
}

/// dweight and dbias from dy, x, weight, bias, mean and inverse deviation, and at the start of scratch what the gradient of
/// x needs of each channel; so great a share of the sums goes through the statistics.
fn launch_grad_sums(
    cx: &Cx,
    (relu, share): (bool, f64),
    ins: &[In],
    [dweight, dbias]: [&Out; 2],
) -> Result<()> {
    let (dy, x) = (&ins[0], &ins[1]);
    let parts = Parts::of(Sizes::of(x.dims));
    let channels = parts.sizes.channels;
    let scratch = cx.scratch()?;
    let sums = View { dims: [channels, parts.count(), 2].into(), start: 6 * channels, ..scratch };
    let [weight, bias, mean, inv_std] = [2, 3, 4, 5].map(|at| cx.bind(&ins[at]));
    let [weight, bias, mean, inv_std] = [weight?, bias?, mean?, inv_std?];
    for run in cx.cut(parts.groups(), |run| [(*x, parts.elements(run)), (*dy, parts.elements(run))])? {
        let slices = [
            cx.bind_range(x, parts.elements(&run))?,
            cx.bind_range(dy, parts.elements(&run))?,
            weight,
            bias,
            mean,
            inv_std,
            cx.bind(&sums)?,
        ];
        let params = BatchNormParams {
            x_first: slices[0].first,
            dy_first: slices[1].first,
            weight_first: weight.first,
            bias_first: bias.first,
            mean_first: mean.first,
            inv_std_first: inv_std.first,
            parts_first: slices[6].first,
            ..parts.params(&run)
        };
        let groups = cx.groups(channels * run.len() * parts.pieces)?;
        cx.launch(&grad_sums::PARTS, &[relu.into()], &params, &slices, groups)?;
    }
    let whole = View { dims: [channels * (6 + 2 * parts.count())].into(), ..scratch };
    let [dweight, dbias] = [cx.bind(dweight)?, cx.bind(dbias)?];
    let params = grad_merge::GradMergeParams {
        weight_first: weight.first,
        bias_first: bias.first,
        mean_first: mean.first,
        inv_std_first: inv_std.first,
        dweight_first: dweight.first,
        dbias_first: dbias.first,
        channels: channels as u32,
        parts: parts.count() as u32,
        through_statistics: share as f32,
    };
    let slices = [weight, bias, mean, inv_std, cx.bind(&whole)?, dweight, dbias];
    cx.launch(&grad_merge::F32, &[], &params, &slices, cx.groups(channels)?)
}

/// dx from what stands at the start of scratch.
fn launch_grad_x(cx: &Cx, relu: bool, [dy, x, dx]: [&View; 3]) -> Result<()> {
    let sizes = Sizes::of(x.dims);
    let image = sizes.channels * sizes.plane;
    if image == 0 {
        return Ok(());
    }
    let of_channels = View { dims: [sizes.channels, 6].into(), ..cx.scratch()? };
    for run in cx.cut(sizes.batch, |run| [(*x, times(run, image)), (*dy, times(run, image))])? {
        let slices = [
            cx.bind_range(x, times(&run, image))?,
            cx.bind_range(dy, times(&run, image))?,
            cx.bind(&of_channels)?,
            cx.bind_range(dx, times(&run, image))?,
        ];
        let count = run.len() * image;
        let params = grad_x::GradXParams {
            x_first: slices[0].first,
            dy_first: slices[1].first,
            dx_first: slices[3].first,
            count: count as u32,
            channels: sizes.channels as u32,
            plane: sizes.plane as u32,
        };
        let tuning = [THREADS as u32, STEPS as u32, relu.into()];
        let groups = cx.groups(count.div_ceil(THREADS * STEPS))?;
        cx.launch(&grad_x::F32, &tuning, &params, &slices, groups)?;
    }
    Ok(())
}

impl BatchNormGrad {
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        sums_scratch(&ins[1])
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [dx, dweight, dbias] = outs else { return Ok(()) };
        let Sizes { batch, channels, plane } = Sizes::of(dx.dims);
        if channels == 0 {
            return Ok(());
        }
        let share = if self.training { 1.0 / (batch * plane) as f64 } else { 0.0 };
        launch_grad_sums(cx, (self.relu, share), ins, [dweight, dbias])?;
        launch_grad_x(cx, self.relu, [&ins[0], &ins[1], dx])
    }
}

impl BatchNormGradSums {
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        sums_scratch(&ins[1])
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        if ins[1].dims[1] == 0 {
            return Ok(());
        }
        launch_grad_sums(cx, (self.relu, 0.0), ins, [&outs[0], &outs[1]])
    }
}

impl BatchNormGradApply {
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        6 * ins[1].dims[1] * size_of::<f32>()
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let channels = ins[1].dims[1];
        if ins[1].dims.elements() == 0 {
            return Ok(());
        }
        let mut slices = ins[2..8].iter().map(|of| cx.bind(of)).collect::<Result<Vec<_>>>()?;
        slices.push(cx.bind(&View { dims: [channels, 6].into(), ..cx.scratch()? })?);
        let params = grad_gather::GradGatherParams {
            weight_first: slices[0].first,
            bias_first: slices[1].first,
            mean_first: slices[2].first,
            inv_std_first: slices[3].first,
            dweight_first: slices[4].first,
            dbias_first: slices[5].first,
            channels: channels as u32,
            through_statistics: self.share() as f32,
        };
        let groups = cx.groups(channels.div_ceil(grad_gather::THREADS))?;
        cx.launch(&grad_gather::F32, &[], &params, &slices, groups)?;
        launch_grad_x(cx, self.relu, [&ins[0], &ins[1], &outs[0]])
    }
}
