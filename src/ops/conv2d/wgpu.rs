//! Launches of the convolution. Forward and the gradient of the image are one kernel with different distances; the
//! gradient of the weight sums runs of pixels and adds them in order. Batches larger than a binding are cut.

use super::{Algorithm, Conv2d, Conv2dFused, Conv2dGradInput, Conv2dGradWeight, Shape};
use crate::{
    DType, DeviceKind,
    device::{Areas, Meta},
    error::{Error, Result},
    ops::convert::wgpu::convert,
    wgpu::{Blocks, Cx, In, Onto, Out, TILE_N, View, block_of_thread, element, sum_parts, tile},
};
use std::ops::Range;

mod winograd;

mod gather {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct Conv2dParams {
            x_first: u32, weight_first: u32, bias_first: u32, residual_first: u32, y_first: u32, has_bias: u32,
            batch: u32, rows: u32, cols: u32, in_channels: u32, out_channels: u32, taps_down: u32, taps_across: u32,
            x_image: u32, x_plane: u32, height: u32, width: u32,
            row: i32, row_step: i32, tap_row_step: i32, col: i32, col_step: i32, tap_col_step: i32,
            weight_group: u32, weight_out: u32, weight_in: u32, weight_down: u32, weight_across: u32,
            y_image: u32, y_plane: u32, y_width: u32, y_row: u32, y_row_step: u32, y_col: u32, y_col_step: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "conv2d", texts: ["conv2d/operands", "conv2d/tiles", "conv2d/gather", "conv2d/conv2d"],
        params: Conv2dParams, tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, RESIDUAL, RELU, BYTES, Pixel, Element],
        F32 = "conv2d_f32",
        tried with [
            [64, 64, 16, 8, 8, 0, 0, 0, 0, 0], [32, 64, 16, 8, 4, 1, 1, 0, 1, 1], [16, 64, 16, 8, 2, 0, 1, 1, 2, 0],
            [8, 64, 16, 8, 1, 0, 0, 0, 0, 0], [16, 64, 16, 4, 1, 0, 0, 0, 0, 0],
            [64, 64, 16, 4, 4, 0, 0, 0, 0, 0], [8, 64, 16, 4, 2, 0, 0, 1, 2, 1],
        ];
    }
}

mod in_registers {
    crate::wgpu_kernel! {
        op: "conv2d", texts: ["conv2d/operands", "conv2d/words", "conv2d/registers", "conv2d/gather", "conv2d/conv2d"],
        params: super::gather::Conv2dParams, tuning: [ROWS, COLS, THREADS, RESIDUAL, RELU, BYTES, Pixel, Element],
        F32 = "conv2d_f32", tried with [
            [16, 8, 16, 0, 0, 0, 0, 0], [8, 8, 16, 1, 1, 0, 1, 1], [4, 8, 16, 0, 1, 1, 2, 1],
        ];
    }
}

mod in_pairs {
    crate::wgpu_kernel! {
        op: "conv2d",
        texts: [
            "conv2d/operands", "common/pairs", "conv2d/pairs", "conv2d/registers", "conv2d/gather", "conv2d/conv2d"
        ],
        params: super::gather::Conv2dParams, tuning: [ROWS, COLS, THREADS, RESIDUAL, RELU, BYTES, Pixel, Element],
        F32 = "conv2d_f32", tried with [
            [16, 8, 16, 0, 0, 0, 0, 0], [8, 8, 16, 1, 1, 1, 2, 0],
        ];
    }
}

mod naive {
    crate::wgpu_kernel! {
        op: "conv2d", texts: ["conv2d/gather", "conv2d/naive"], params: super::gather::Conv2dParams,
        tuning: [RESIDUAL, RELU, BYTES, Pixel, Element],
        F32 = "conv2d_naive_f32", tried with [[0, 0, 0, 0, 0], [1, 1, 1, 2, 1]];
    }
    pub(super) const THREADS: usize = 64;
}

mod grad_weight {
    crate::wgpu_params! {
        pub(super) struct GradWeightParams {
            x_first: u32, dy_first: u32, parts_first: u32, splits: u32, pixels_per_split: u32, batch: u32,
            in_channels: u32, out_channels: u32, x_image: u32, x_plane: u32, height: u32, width: u32,
            dy_image: u32, out_height: u32, out_width: u32, kernel_height: u32, kernel_width: u32,
            stride_height: u32, stride_width: u32, top: u32, left: u32, weights: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "conv2d_grad_weight", texts: ["conv2d/operands", "conv2d/tiles", "conv2d/grad_weight"],
        params: GradWeightParams, tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, Element],
        F32 = "grad_weight_f32",
        tried with [
            [64, 64, 16, 8, 8, 0], [32, 64, 16, 8, 4, 1], [16, 64, 16, 8, 2, 0], [8, 64, 16, 8, 1, 0],
        ];
    }
}

mod grad_weight_in_registers {
    crate::wgpu_kernel! {
        op: "conv2d_grad_weight", texts: ["conv2d/operands", "conv2d/words", "conv2d/registers", "conv2d/grad_weight"],
        params: super::grad_weight::GradWeightParams, tuning: [ROWS, COLS, THREADS, Element],
        F32 = "grad_weight_f32", tried with [[16, 8, 16, 0], [8, 8, 16, 1], [4, 8, 16, 0]];
    }
}

/// How the elements of a product with so many rows, columns and multiply-adds are shared among threads.
fn blocks(cx: &Cx, algorithm: Algorithm, channels: usize, cols: usize, work: usize) -> Blocks {
    match algorithm {
        Algorithm::Tiled => Blocks::Tiles([16, 64, 16, 4, 1]),
        Algorithm::Blocked => Blocks::Tiles(tile(cx, channels)),
        Algorithm::Registers => Blocks::Registers(block_of_thread(channels, cols, work)),
        _ => Blocks::new(cx, channels, cols, work),
    }
}

fn sizes(dims: &[usize]) -> [usize; 4] {
    [0, 1, 2, 3].map(|axis| dims.get(axis).copied().unwrap_or(1))
}

/// The elements of some images of a batch.
fn images(view: &View, run: &Range<usize>) -> Range<usize> {
    let image: usize = view.dims[1..].iter().product();
    run.start * image..run.end * image
}

/// What follows the sum of a convolution before it is written.
#[derive(Clone, Copy, Default)]
struct Epilogue<'a> {
    bias: Option<&'a View<'a>>,
    residual: Option<&'a View<'a>>,
    relu: bool,
}

/// The tuning constants of `gather.wgsl`: RESIDUAL, RELU, BYTES, Pixel and Element.
fn tuning_of(x: &View, y: &View, then: &Epilogue) -> [u32; 5] {
    let [residual, relu, bytes] = [then.residual.is_some(), then.relu, x.dtype == DType::U8].map(u32::from);
    [residual, relu, bytes, element(x.dtype), element(y.dtype)]
}

/// Runs one part of a convolution over a whole batch. `params` says all but where the tensors begin; its
/// `weight_first` counts from there.
fn launch(
    cx: &Cx,
    algorithm: Algorithm,
    params: gather::Conv2dParams,
    groups: usize,
    [x, weight, y]: [&View; 3],
    then: Epilogue,
) -> Result<()> {
    if winograd::chosen(cx, algorithm, &params, groups)? {
        return winograd::launch(cx, params, [x, weight, y], then);
    }
    let channels = params.out_channels as usize;
    let most = cx.groups_per_axis();
    let more = tuning_of(x, y, &then);
    let pixels = y.dims[0] * (params.rows * params.cols) as usize;
    let weights = cx.bind(weight)?;
    let params = gather::Conv2dParams { weight_first: weights.first + params.weight_first, ..params };
    let (kernel, [tile_m, tile_n], tuning) = match algorithm {
        Algorithm::Naive => (&naive::F32, [1, naive::THREADS], more.as_slice().into()),
        _ => {
            let depth = (params.in_channels * params.taps_down * params.taps_across) as usize;
            let blocks = blocks(cx, algorithm, channels, pixels, channels * groups * pixels * depth);
            let kernel = match blocks {
                Blocks::Tiles(_) => &gather::F32,
                Blocks::Registers(_) if has_pairs(cx, &params, weight) => &in_pairs::F32,
                Blocks::Registers(_) => &in_registers::F32,
            };
            (kernel, blocks.tile(), blocks.tuning(&more))
        }
    };
    let biases = then.bias.map(|bias| cx.bind(bias)).transpose()?;
    for run in cx.cut(y.dims[0], |run| [(*x, images(x, run)), (*y, images(y, run))])? {
        let (from, to) = (cx.bind_range(x, images(x, &run))?, cx.bind_range(y, images(y, &run))?);
        let residual = then.residual.map(|of| cx.bind_range(of, images(of, &run))).transpose()?;
        let params = gather::Conv2dParams {
            x_first: from.first,
            bias_first: biases.map_or(0, |bias| bias.first),
            residual_first: residual.map_or(0, |residual| residual.first),
            y_first: to.first,
            has_bias: then.bias.is_some().into(),
            batch: run.len() as u32,
            ..params
        };
        let pixels = run.len() * (params.rows * params.cols) as usize;
        let tiles = pixels.div_ceil(tile_n);
        let folds = tiles.div_ceil(most).max(1);
        let grid = [tiles.div_ceil(folds), channels.div_ceil(tile_m) * folds, groups];
        let slices = [from, weights, biases.unwrap_or(weights), residual.unwrap_or(weights), to];
        cx.launch(kernel, &tuning, &params, &slices, grid.map(|n| n as u32))?;
    }
    Ok(())
}

/// Whether two steps of a weight are a 64-bit word: `pairs.wgsl`.
fn has_pairs(cx: &Cx, p: &gather::Conv2dParams, weight: &View) -> bool {
    let neighbours =
        [p.weight_across, p.weight_down, p.weight_in] == [1, p.taps_across, p.taps_down * p.taps_across];
    let even = [p.weight_first, p.weight_out, p.weight_group, p.in_channels * p.weight_in];
    let words = weight.dtype == DType::F32 && weight.dims.elements() > 0 && cx.device().has_int64();
    words && neighbours && even.iter().all(|value| value % 2 == 0)
}

/// What a launch of the whole convolution is told.
fn forward_params(s: &Shape) -> gather::Conv2dParams {
    let (taps, plane) = (s.kernel[0] * s.kernel[1], s.output[0] * s.output[1]);
    let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
    gather::Conv2dParams {
        rows: s.output[0] as u32,
        cols: s.output[1] as u32,
        in_channels: per_group as u32,
        out_channels: out_per_group as u32,
        taps_down: s.kernel[0] as u32,
        taps_across: s.kernel[1] as u32,
        x_image: (s.channels * s.image[0] * s.image[1]) as u32,
        x_plane: (s.image[0] * s.image[1]) as u32,
        height: s.image[0] as u32,
        width: s.image[1] as u32,
        row: -(s.padding[0] as i32),
        row_step: s.stride[0] as i32,
        tap_row_step: 1,
        col: -(s.padding[2] as i32),
        col_step: s.stride[1] as i32,
        tap_col_step: 1,
        weight_group: (out_per_group * per_group * taps) as u32,
        weight_out: (per_group * taps) as u32,
        weight_in: taps as u32,
        weight_down: s.kernel[1] as u32,
        weight_across: 1,
        y_image: (s.out * plane) as u32,
        y_plane: plane as u32,
        y_width: s.output[1] as u32,
        y_row_step: 1,
        y_col_step: 1,
        ..Default::default()
    }
}

impl Conv2d {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let then = Epilogue { bias: ins.get(2), ..Epilogue::default() };
        self.run(cx, ins, &outs[0], then)
    }

    fn run(&self, cx: &Cx, ins: &[In], y: &Out, then: Epilogue) -> Result<()> {
        self.check_device("conv2d", DeviceKind::Wgpu)?;
        let s = self.shape("conv2d", sizes(&ins[0].dims), sizes(&ins[1].dims))?;
        launch(cx, self.algorithm, forward_params(&s), s.groups, [&ins[0], &ins[1], y], then)
    }
}

impl Conv2dFused {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let then = Epilogue { bias: ins.get(2), residual: ins.get(3), relu: self.relu };
        self.conv.run(cx, ins, &outs[0], then)
    }
}

/// The pixels of an axis of the image that have the same taps in common: those at `first`, `first + stride`, ...
struct Phase {
    first: usize,
    count: usize,
    /// The first tap that reaches them, and how many do, each `stride` after the other.
    tap: usize,
    taps: usize,
    /// The pixel of dy that the first of them gets through the first tap; the next tap is one before.
    from: i32,
}

fn phase(first: usize, size: usize, stride: usize, before: usize, kernel: usize) -> Phase {
    let tap = (first + before) % stride;
    Phase {
        first,
        count: size.saturating_sub(first).div_ceil(stride),
        tap,
        taps: kernel.saturating_sub(tap).div_ceil(stride),
        from: ((first + before - tap) / stride) as i32,
    }
}

impl Conv2dGradInput {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device("conv2d_grad_input", DeviceKind::Wgpu)?;
        let s = self.conv.shape("conv2d_grad_input", sizes(&outs[0].dims), sizes(&ins[1].dims))?;
        let ([sh, sw], [kh, kw]) = (s.stride, s.kernel);
        for first_row in 0..sh.min(s.image[0]) {
            let down = phase(first_row, s.image[0], sh, s.padding[0], kh);
            for first_col in 0..sw.min(s.image[1]) {
                let across = phase(first_col, s.image[1], sw, s.padding[2], kw);
                let params = grad_input_params(&s, &down, &across);
                launch(
                    cx,
                    self.conv.algorithm,
                    params,
                    s.groups,
                    [&ins[0], &ins[1], &outs[0]],
                    Epilogue::default(),
                )?;
            }
        }
        Ok(())
    }
}

/// One part of the gradient as a convolution of dy: input and output channels change places.
fn grad_input_params(s: &Shape, down: &Phase, across: &Phase) -> gather::Conv2dParams {
    let (taps, plane, image) =
        (s.kernel[0] * s.kernel[1], s.output[0] * s.output[1], s.image[0] * s.image[1]);
    let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
    gather::Conv2dParams {
        weight_first: (down.tap * s.kernel[1] + across.tap) as u32,
        rows: down.count as u32,
        cols: across.count as u32,
        in_channels: out_per_group as u32,
        out_channels: per_group as u32,
        taps_down: down.taps as u32,
        taps_across: across.taps as u32,
        x_image: (s.out * plane) as u32,
        x_plane: plane as u32,
        height: s.output[0] as u32,
        width: s.output[1] as u32,
        row: down.from,
        row_step: 1,
        tap_row_step: -1,
        col: across.from,
        col_step: 1,
        tap_col_step: -1,
        weight_group: (out_per_group * per_group * taps) as u32,
        weight_out: taps as u32,
        weight_in: (per_group * taps) as u32,
        weight_down: (s.stride[0] * s.kernel[1]) as u32,
        weight_across: s.stride[1] as u32,
        y_image: (s.channels * image) as u32,
        y_plane: image as u32,
        y_width: s.image[1] as u32,
        y_row: down.first as u32,
        y_row_step: s.stride[0] as u32,
        y_col: across.first as u32,
        y_col_step: s.stride[1] as u32,
        ..Default::default()
    }
}

impl Conv2dGradWeight {
    /// How many runs the sum over pixels is cut into: enough workgroups for a large device, long enough to be worth
    /// their memory. It depends on the shapes alone, so that results do.
    fn wgpu_splits(s: &Shape) -> usize {
        let columns = s.channels / s.groups * s.kernel[0] * s.kernel[1];
        let tiles = (s.out / s.groups).div_ceil(TILE_N) * columns.div_ceil(TILE_N) * s.groups;
        let pixels = s.batch * s.output[0] * s.output[1];
        (512 / tiles.max(1)).clamp(1, pixels.div_ceil(512).max(1))
    }

    /// Areas for the sums of all runs, and, where results are rounded, for their sum over the parts of a batch that is cut.
    fn areas(weights: usize, splits: usize, of: DType) -> Areas<2> {
        Areas([weights * splits, if of.is_half() { weights } else { 0 }])
    }

    /// Bytes of them.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let ([x, dy], groups) = ([0, 1].map(|i| sizes(&ins[i].dims)), self.conv.groups.max(1));
        let weight = [dy[1], x[1] / groups, self.kernel[0], self.kernel[1]];
        let splits = self.conv.shape("conv2d_grad_weight", x, weight).map_or(0, |s| Self::wgpu_splits(&s));
        Self::areas(weight.iter().product(), splits, ins[0].dtype).bytes()
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device("conv2d_grad_weight", DeviceKind::Wgpu)?;
        if self.conv.algorithm == Algorithm::Naive {
            let what = "the naive kernel has no gradient of the weight: use Auto".into();
            return Err(Error::Unsupported {
                op: "conv2d_grad_weight",
                device: cx.device().name().into(),
                what,
            });
        }
        let s = self.conv.shape("conv2d_grad_weight", sizes(&ins[0].dims), sizes(&outs[0].dims))?;
        let (x, dy, dw) = (&ins[0], &ins[1], &outs[0]);
        let splits = Self::wgpu_splits(&s);
        if dw.dims.elements() == 0 {
            return Ok(());
        }
        let [parts, wide] = Self::areas(dw.dims.elements(), splits, dw.dtype).views(cx)?;
        let runs = cx.cut(s.batch, |run| [(*x, images(x, run)), (*dy, images(dy, run))])?;
        let sum = if dw.dtype.is_half() && runs.len() > 1 { &View { dims: dw.dims, ..wide } } else { dw };
        if runs.is_empty() {
            return sum_parts(cx, &parts, dw, 0, Onto::Nothing);
        }
        for (at, run) in runs.iter().enumerate() {
            let pixels = run.len() * s.output[0] * s.output[1];
            let per_split = pixels.div_ceil(splits).max(1);
            let splits = pixels.div_ceil(per_split);
            let params = grad_weight_params(&s, run.len(), splits, per_split);
            self.sum(cx, params, [(x, images(x, run)), (dy, images(dy, run))], &parts, s.groups)?;
            let onto = if at > 0 { Onto::First } else { Onto::Nothing };
            sum_parts(cx, &parts, sum, splits, onto)?;
        }
        if std::ptr::eq(sum, dw) { Ok(()) } else { convert(cx, sum, dw) }
    }

    /// Sums runs of pixels into parts.
    fn sum(
        &self,
        cx: &Cx,
        params: grad_weight::GradWeightParams,
        [(x, images), (dy, pixels)]: [(&View, Range<usize>); 2],
        parts: &View,
        groups: usize,
    ) -> Result<()> {
        let slices = [cx.bind_range(x, images)?, cx.bind_range(dy, pixels)?, cx.bind(parts)?];
        let [x_first, dy_first, parts_first] = slices.map(|slice| slice.first);
        let params = grad_weight::GradWeightParams { x_first, dy_first, parts_first, ..params };
        let columns = (params.in_channels * params.kernel_height * params.kernel_width) as usize;
        let channels = params.out_channels as usize;
        let pixels = (params.batch * params.out_height * params.out_width) as usize;
        let blocks = blocks(cx, self.conv.algorithm, channels, columns, channels * groups * columns * pixels);
        let [tile_m, tile_n] = blocks.tile();
        let tiles = [columns.div_ceil(tile_n) as u32, channels.div_ceil(tile_m) as u32];
        let grid = [tiles[0], tiles[1], groups as u32 * params.splits];
        let kernel = match blocks {
            Blocks::Tiles(_) => &grad_weight::F32,
            Blocks::Registers(_) => &grad_weight_in_registers::F32,
        };
        cx.launch(kernel, &blocks.tuning(&[element(x.dtype)]), &params, &slices, grid)
    }
}

fn grad_weight_params(
    s: &Shape,
    batch: usize,
    splits: usize,
    pixels_per_split: usize,
) -> grad_weight::GradWeightParams {
    let (plane, image) = (s.output[0] * s.output[1], s.image[0] * s.image[1]);
    let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
    grad_weight::GradWeightParams {
        x_first: 0,
        dy_first: 0,
        parts_first: 0,
        splits: splits as u32,
        pixels_per_split: pixels_per_split as u32,
        batch: batch as u32,
        in_channels: per_group as u32,
        out_channels: out_per_group as u32,
        x_image: (s.channels * image) as u32,
        x_plane: image as u32,
        height: s.image[0] as u32,
        width: s.image[1] as u32,
        dy_image: (s.out * plane) as u32,
        out_height: s.output[0] as u32,
        out_width: s.output[1] as u32,
        kernel_height: s.kernel[0] as u32,
        kernel_width: s.kernel[1] as u32,
        stride_height: s.stride[0] as u32,
        stride_width: s.stride[1] as u32,
        top: s.padding[0] as u32,
        left: s.padding[2] as u32,
        weights: (s.out * per_group * s.kernel[0] * s.kernel[1]) as u32,
    }
}
