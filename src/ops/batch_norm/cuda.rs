//! Batch normalisation on CUDA: `kernels/batch_norm/batch_norm.cu`. Training: the statistics of parts, their merge, the
//! normalisation; evaluation: the inverse deviation, the normalisation; backward: the sums of parts, their merge, the
//! gradient of x.

use super::{
    BatchNorm, BatchNormApply, BatchNormConfig, BatchNormEval, BatchNormGrad, BatchNormGradApply,
    BatchNormGradSums, BatchNormStatistics, Sizes, parts::Parts,
};
use crate::{
    cuda::{
        Argument, BATCH_NORM_GRAD_MERGE_F32, BATCH_NORM_GRAD_SUMS_F32, BATCH_NORM_GRAD_X_F32,
        BATCH_NORM_INV_STD_F32, BATCH_NORM_MERGE_F32, BATCH_NORM_NORMALISE_F32, BATCH_NORM_STATISTICS_F32,
        Cx, DivisorParams, Grid, In, Out,
    },
    device::Meta,
    error::Result,
};
use bytemuck::NoUninit;

/// Channels of a block that has a warp for each.
const CHANNELS: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PartParams {
    channels: DivisorParams,
    plane: DivisorParams,
    batch: u64,
    images_per_part: u64,
    pieces: u64,
    piece: u64,
    parts: u64,
    relu: u64,
}

impl PartParams {
    /// With the grid of a block for each part.
    fn new(cx: &Cx, parts: &Parts, relu: bool) -> Result<(Self, Grid)> {
        let Sizes { batch, channels, plane } = parts.sizes;
        let blocks = channels * parts.count();
        // A part's elements are counted by an u32, of which it has a few thousand.
        let params = PartParams {
            channels: DivisorParams::new(cx, channels, blocks)?,
            plane: DivisorParams::new(cx, plane, batch * plane)?,
            batch: batch as u64,
            images_per_part: parts.images_per_part as u64,
            pieces: parts.pieces as u64,
            piece: parts.piece() as u64,
            parts: parts.count() as u64,
            relu: relu.into(),
        };
        Ok((params, Grid::blocks([blocks, 1, 1])))
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct MergeParams {
    channels: u64,
    parts: u64,
    eps: f32,
    momentum: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct InvStdParams {
    channels: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct NormaliseParams {
    count: u64,
    plane: DivisorParams,
    channels: DivisorParams,
    relu: u32,
    through_statistics: f32,
}

impl NormaliseParams {
    /// With the grid that goes over all of x.
    fn new(cx: &Cx, sizes: Sizes, relu: bool, through_statistics: f32) -> Result<(Self, Grid)> {
        let count = sizes.batch * sizes.channels * sizes.plane;
        let params = NormaliseParams {
            count: count as u64,
            plane: DivisorParams::new(cx, sizes.plane, count)?,
            channels: DivisorParams::new(cx, sizes.channels, count)?,
            relu: relu.into(),
            through_statistics,
        };
        Ok((params, Grid::elements(count)))
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct GradMergeParams {
    channels: u64,
    parts: u64,
}

/// Bytes for the statistics of the parts of x.
fn statistics_scratch(x: &Meta) -> usize {
    let parts = Parts::of(Sizes::of(x.dims));
    3 * parts.sizes.channels * parts.count() * size_of::<f32>()
}

/// Statistics of x from scratch on: new running mean and variance, mean, inverse deviation.
fn launch_statistics(
    cx: &Cx,
    config: &BatchNormConfig,
    [x, running_mean, running_var]: [&In; 3],
    outs: &[Out],
) -> Result<()> {
    let parts = Parts::of(Sizes::of(x.dims));
    let (params, grid) = PartParams::new(cx, &parts, false)?;
    cx.launch(BATCH_NORM_STATISTICS_F32, grid, &[x.into(), cx.scratch()], &params)?;
    let of = (cx.scratch(), [parts.sizes.channels, parts.count()]);
    merge_statistics(cx, config, of, [running_mean, running_var], outs)
}

/// Merges the statistics of parts, `(C, parts, 3)` of the given sizes: how many values, their mean, the squares about it.
pub(crate) fn merge_statistics(
    cx: &Cx,
    config: &BatchNormConfig,
    (from, [channels, parts]): (Argument, [usize; 2]),
    [running_mean, running_var]: [&In; 2],
    outs: &[Out],
) -> Result<()> {
    let [new_mean, new_var, mean, inv_std] = outs else { return Ok(()) };
    let params = MergeParams {
        channels: channels as u64,
        parts: parts as u64,
        eps: config.eps as f32,
        momentum: config.momentum as f32,
    };
    let pointers = [
        from,
        running_mean.into(),
        running_var.into(),
        new_mean.into(),
        new_var.into(),
        mean.into(),
        inv_std.into(),
    ];
    cx.launch(BATCH_NORM_MERGE_F32, Grid::over(channels, CHANNELS), &pointers, &params)
}

impl BatchNorm {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        statistics_scratch(&ins[0])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_statistics(cx, &self.0, [&ins[0], &ins[3], &ins[4]], &outs[1..])?;
        launch_normalise(cx, self.0.relu, ins, [(&outs[3]).into(), (&outs[4]).into()], &outs[0])
    }
}

impl BatchNormStatistics {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        statistics_scratch(&ins[0])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_statistics(cx, &self.0, [&ins[0], &ins[1], &ins[2]], outs)
    }
}

impl BatchNormApply {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_normalise(cx, self.relu, ins, [(&ins[3]).into(), (&ins[4]).into()], &outs[0])
    }
}

impl BatchNormEval {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (var, inv_std) = (&ins[4], &outs[1]);
        let channels = var.dims.elements();
        let params = InvStdParams { channels: cx.u32(channels)?, eps: self.0.eps as f32 };
        let grid = Grid::over(channels, BATCH_NORM_INV_STD_F32.threads as usize);
        cx.launch(BATCH_NORM_INV_STD_F32, grid, &[var.into(), inv_std.into()], &params)?;
        launch_normalise(cx, self.0.relu, ins, [(&ins[3]).into(), inv_std.into()], &outs[0])
    }
}

/// Normalises x with a mean and an inverse deviation per channel; adds the residual, if there is one, and rectifies.
fn launch_normalise(cx: &Cx, relu: bool, ins: &[In], [mean, inv_std]: [Argument; 2], y: &Out) -> Result<()> {
    let (params, grid) = NormaliseParams::new(cx, Sizes::of(y.dims), relu, 0.0)?;
    let residual = ins.get(5).map_or(Argument::NONE, Argument::from);
    let pointers = [(&ins[0]).into(), residual, (&ins[1]).into(), (&ins[2]).into(), mean, inv_std, y.into()];
    cx.launch(BATCH_NORM_NORMALISE_F32, grid, &pointers, &params)
}

/// Bytes for the sums of the parts of x.
fn sums_scratch(x: &Meta) -> usize {
    let parts = Parts::of(Sizes::of(x.dims));
    2 * parts.sizes.channels * parts.count() * size_of::<f32>()
}

/// dweight and dbias from dy, x, weight, bias, mean and inverse deviation.
fn launch_grad_sums(cx: &Cx, relu: bool, ins: &[In], [dweight, dbias]: [&Out; 2]) -> Result<()> {
    let parts = Parts::of(Sizes::of(ins[1].dims));
    let channels = parts.sizes.channels;
    let (params, grid) = PartParams::new(cx, &parts, relu)?;
    let pointers: Vec<Argument> = ins[..6].iter().map(Argument::from).chain([cx.scratch()]).collect();
    cx.launch(BATCH_NORM_GRAD_SUMS_F32, grid, &pointers, &params)?;
    let params = GradMergeParams { channels: channels as u64, parts: parts.count() as u64 };
    let pointers = [cx.scratch(), dweight.into(), dbias.into()];
    cx.launch(BATCH_NORM_GRAD_MERGE_F32, Grid::over(channels, CHANNELS), &pointers, &params)
}

/// dx from the same operands and the sums; so great a share of these goes through the statistics.
fn launch_grad_x(
    cx: &Cx,
    (relu, share): (bool, f64),
    ins: &[In],
    sums: [Argument; 2],
    dx: &Out,
) -> Result<()> {
    let (params, grid) = NormaliseParams::new(cx, Sizes::of(dx.dims), relu, share as f32)?;
    let pointers: Vec<Argument> =
        ins[..6].iter().map(Argument::from).chain(sums).chain([dx.into()]).collect();
    cx.launch(BATCH_NORM_GRAD_X_F32, grid, &pointers, &params)
}

impl BatchNormGrad {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        sums_scratch(&ins[1])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [dx, dweight, dbias] = outs else { return Ok(()) };
        let Sizes { batch, plane, .. } = Sizes::of(dx.dims);
        launch_grad_sums(cx, self.relu, ins, [dweight, dbias])?;
        let share = if self.training { 1.0 / (batch * plane) as f64 } else { 0.0 };
        launch_grad_x(cx, (self.relu, share), ins, [dweight.into(), dbias.into()], dx)
    }
}

impl BatchNormGradSums {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        sums_scratch(&ins[1])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_grad_sums(cx, self.relu, ins, [&outs[0], &outs[1]])
    }
}

impl BatchNormGradApply {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_grad_x(cx, (self.relu, self.share()), ins, [(&ins[6]).into(), (&ins[7]).into()], &outs[0])
    }
}
