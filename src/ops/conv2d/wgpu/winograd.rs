//! Launches of Winograd's F(4×4, 3×3): filters, then for runs of images their tiles, a batch of products, and the results.

use super::{Epilogue, gather::Conv2dParams, images, tuning_of};
use crate::{
    DType,
    error::{Error, Result},
    ops::conv2d::{
        Algorithm,
        space::{Space, WORDS},
    },
    wgpu::{AdapterKind, Cx, Kernel, Slice, View},
};
use std::ops::Range;

mod words {
    crate::wgpu_kernel! {
        op: "conv2d", texts: ["conv2d/gather", "conv2d/winograd_words", "conv2d/winograd"], params: super::Conv2dParams,
        tuning: [RESIDUAL, RELU, BYTES, Pixel, Element],
        FILTERS = "winograd_filters", tried with [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]];
        DATA = "winograd_data", tried with [[0, 0, 0, 0, 0], [0, 0, 1, 2, 1]];
        OUTPUTS = "winograd_outputs", tried with [[0, 0, 0, 0, 0], [1, 1, 0, 1, 1]];
    }
}

mod pairs {
    crate::wgpu_kernel! {
        op: "conv2d", texts: ["conv2d/gather", "common/pairs", "conv2d/winograd_pairs", "conv2d/winograd"],
        params: super::Conv2dParams, tuning: [RESIDUAL, RELU, BYTES, Pixel, Element],
        FILTERS = "winograd_filters", tried with [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]];
        DATA = "winograd_data", tried with [[0, 0, 0, 0, 0], [0, 0, 1, 2, 1]];
        OUTPUTS = "winograd_outputs", tried with [[0, 0, 0, 0, 0], [1, 1, 0, 1, 1]];
    }
}

/// Threads of a workgroup.
const THREADS: usize = 64;
/// From so many channels on both sides, the transforms are worth their products; as on the CPU.
const CHANNELS: u32 = 16;
/// From so many pixels on a side.
const PIXELS: u32 = 4;

/// Whether a convolution is computed this way: where it is asked for, and by default on adapters that are a processor, on
/// which it was measured. An error where it is asked for and cannot be.
pub(super) fn chosen(cx: &Cx, algorithm: Algorithm, p: &Conv2dParams, groups: usize) -> Result<bool> {
    let window = [p.taps_down, p.taps_across] == [3, 3] && groups == 1;
    let steps = [p.row_step, p.col_step] == [1, 1] && [p.y_row_step, p.y_col_step] == [1, 1];
    let fits = space(p, 1).words() <= most(cx);
    match algorithm {
        Algorithm::Winograd4 if window && steps && !fits => {
            let what =
                format!("Winograd4 keeps an image of {} by {} pixels at once: use Auto", p.rows, p.cols);
            Err(Error::Unsupported { op: cx.op(), device: cx.device().name().into(), what })
        }
        Algorithm::Winograd4 => Ok(window && steps),
        Algorithm::Auto => {
            let channels = p.in_channels.min(p.out_channels) >= CHANNELS;
            let pixels = p.rows.min(p.cols).min(p.height).min(p.width) >= PIXELS;
            let software = cx.device().adapter().kind == AdapterKind::Software;
            Ok(window && steps && fits && channels && pixels && software)
        }
        _ => Ok(false),
    }
}

/// Words for the tiles of a run of images on a device.
fn most(cx: &Cx) -> usize {
    WORDS.min(cx.device().limits().max_storage_buffer_binding_size as usize / 4)
}

/// What is kept of so many images.
fn space(p: &Conv2dParams, images: usize) -> Space {
    let [channels, out, rows, columns] =
        [p.in_channels, p.out_channels, p.rows, p.cols].map(|size| size as usize);
    Space::new([channels, out], [rows, columns], images)
}

/// Runs one part of a convolution over a whole batch, as `launch` of the folder above does.
pub(super) fn launch(
    cx: &Cx,
    params: Conv2dParams,
    [x, weight, y]: [&View; 3],
    then: Epilogue,
) -> Result<()> {
    let batch = y.dims[0];
    let at_once = (1..=batch).rev().find(|&n| space(&params, n).words() <= most(cx)).unwrap_or(1);
    let buffer = cx.reserve(space(&params, at_once).words())?;
    let whole = View { dims: [buffer.bytes() / 4].into(), dtype: DType::F32, buffer: &buffer, start: 0 };
    let tuning = tuning_of(x, y, &then);
    let winograd = Winograd { cx, params, tuning, space: whole };
    winograd.filters(weight)?;
    for run in cx.cut(batch, |run| [(*x, images(x, run)), (*y, images(y, run))])? {
        for start in run.clone().step_by(at_once) {
            let run = start..(start + at_once).min(run.end);
            let sizes = space(&params, run.len());
            winograd.data(&sizes, x, &run)?;
            let [filters, data, products] =
                [sizes.filters(), sizes.data(), sizes.products()].map(|range| winograd.part(range));
            sizes.product().run(cx, &filters, &data, &products)?;
            winograd.outputs(&sizes, weight, y, &run, &then)?;
        }
    }
    Ok(())
}

/// What the steps of one part of a convolution share.
struct Winograd<'a> {
    cx: &'a Cx<'a>,
    params: Conv2dParams,
    tuning: [u32; 5],
    space: View<'a>,
}

impl Winograd<'_> {
    fn part(&self, range: Range<usize>) -> View<'_> {
        View { dims: [range.len()].into(), start: range.start, ..self.space }
    }

    /// Runs a step on so many items of each line: `kernels` has an item in a thread, or two that are neighbours.
    fn step(
        &self,
        kernels: [&Kernel<Conv2dParams>; 2],
        [items, lines]: [usize; 2],
        params: &Conv2dParams,
        slices: &[Slice],
    ) -> Result<()> {
        let device = self.cx.device();
        // On a GPU, neighbouring threads read neighbours in one transaction as it is.
        let paired = items > 0
            && items.is_multiple_of(2)
            && lines > 0
            && device.has_int64()
            && device.adapter().kind == AdapterKind::Software;
        let groups = (items >> u32::from(paired)).div_ceil(THREADS);
        let folds = groups.div_ceil(self.cx.groups_per_axis()).max(1);
        let grid = [groups.div_ceil(folds) as u32, (lines * folds) as u32, 1];
        self.cx.launch(kernels[usize::from(paired)], &self.tuning, params, slices, grid)
    }

    fn filters(&self, weight: &View) -> Result<()> {
        let (cx, params) = (self.cx, self.params);
        let to = self.part(space(&params, 0).filters());
        let (from, to) = (cx.bind(weight)?, cx.bind(&to)?);
        let weight_first = from.first + params.weight_first;
        let sizes = [params.in_channels, params.out_channels].map(|n| n as usize);
        let params = Conv2dParams { weight_first, y_first: to.first, ..params };
        self.step([&words::FILTERS, &pairs::FILTERS], sizes, &params, &[from, to])
    }

    fn data(&self, sizes: &Space, x: &View, run: &Range<usize>) -> Result<()> {
        let to = self.part(sizes.data());
        let (from, to) = (self.cx.bind_range(x, images(x, run))?, self.cx.bind(&to)?);
        let batch = run.len() as u32;
        let params = Conv2dParams { batch, x_first: from.first, y_first: to.first, ..self.params };
        self.step([&words::DATA, &pairs::DATA], [sizes.tiles, sizes.channels], &params, &[from, to])
    }

    /// `unused` stands for operands that there are not.
    fn outputs(
        &self,
        sizes: &Space,
        unused: &View,
        y: &View,
        run: &Range<usize>,
        then: &Epilogue,
    ) -> Result<()> {
        let cx = self.cx;
        let unused = cx.bind(unused)?;
        let bias = then.bias.map_or(Ok(unused), |bias| cx.bind(bias))?;
        let residual = then.residual.map_or(Ok(unused), |of| cx.bind_range(of, images(of, run)))?;
        let products = self.part(sizes.products());
        let (from, to) = (cx.bind(&products)?, cx.bind_range(y, images(y, run))?);
        let params = Conv2dParams {
            batch: run.len() as u32,
            x_first: from.first,
            y_first: to.first,
            has_bias: then.bias.is_some().into(),
            bias_first: bias.first,
            residual_first: residual.first,
            ..self.params
        };
        let kernels = [&words::OUTPUTS, &pairs::OUTPUTS];
        self.step(kernels, [sizes.tiles, sizes.out], &params, &[bias, residual, to, from])
    }
}
