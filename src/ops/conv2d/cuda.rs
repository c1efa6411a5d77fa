//! Convolution on CUDA. What every shape and precision can be computed by is `kernels/conv2d/conv2d.cu`, one tiled product
//! for all passes; `choices.rs` says where other kernels take its place.

mod arithmetic;
mod choices;
mod pipelined;
mod table;
mod taps;
#[cfg(test)]
mod tests;
mod winograd;

use super::{Algorithm, Conv2d, Conv2dFused, Conv2dGradInput, Conv2dGradWeight, Conv2dStatistics, Shape};
use crate::{
    DType, DeviceKind, Dims, Precision,
    cuda::{
        Argument, CONV2D_BF16, CONV2D_F16, CONV2D_F32, CONV2D_FUSED_BF16, CONV2D_FUSED_F16, CONV2D_FUSED_F32,
        CONV2D_FUSED_TF32, CONV2D_FUSED_U8_BF16, CONV2D_FUSED_U8_F16, CONV2D_FUSED_U8_F32,
        CONV2D_FUSED_U8_TF32, CONV2D_FUSED_U8_WGMMA_BF16, CONV2D_FUSED_U8_WGMMA_F16,
        CONV2D_FUSED_U8_WGMMA_TF32, CONV2D_FUSED_WGMMA_BF16, CONV2D_FUSED_WGMMA_F16, CONV2D_FUSED_WGMMA_TF32,
        CONV2D_GRAD_INPUT_BF16, CONV2D_GRAD_INPUT_F16, CONV2D_GRAD_INPUT_F32, CONV2D_GRAD_INPUT_TF32,
        CONV2D_GRAD_WEIGHT_BF16, CONV2D_GRAD_WEIGHT_F16, CONV2D_GRAD_WEIGHT_F32, CONV2D_GRAD_WEIGHT_TF32,
        CONV2D_NAIVE_F32, CONV2D_TF32, CONV2D_WGMMA_BF16, CONV2D_WGMMA_F16, CONV2D_WGMMA_TF32, Cx, Grid, In,
        Kernel, Out,
    },
    device::{Meta, Op},
    error::Result,
    ops::{axes, batch_norm::merge_statistics},
};
use bytemuck::NoUninit;
use choices::{ROWS, Way};
use taps::{Operands, Sizes};

/// Rows and columns of the result that one block makes: `M` of the tiles that `conv2d.cu` names, `TILE_N` of
/// `common/product.cuh`.
const TILE: [usize; 2] = [64, 128];

/// A kernel for each precision, by [`Precision::index`](crate::Precision).
type Rungs = [Kernel; 4];
const FORWARD: Rungs = [CONV2D_F32, CONV2D_TF32, CONV2D_F16, CONV2D_BF16];
const FUSED: Rungs = [CONV2D_FUSED_F32, CONV2D_FUSED_TF32, CONV2D_FUSED_F16, CONV2D_FUSED_BF16];
const FUSED_U8: Rungs =
    [CONV2D_FUSED_U8_F32, CONV2D_FUSED_U8_TF32, CONV2D_FUSED_U8_F16, CONV2D_FUSED_U8_BF16];
/// The same, multiplied by warpgroups where operands are rounded.
const FORWARD_WGMMA: Rungs = [CONV2D_F32, CONV2D_WGMMA_TF32, CONV2D_WGMMA_F16, CONV2D_WGMMA_BF16];
const FUSED_WGMMA: Rungs =
    [CONV2D_FUSED_F32, CONV2D_FUSED_WGMMA_TF32, CONV2D_FUSED_WGMMA_F16, CONV2D_FUSED_WGMMA_BF16];
const FUSED_U8_WGMMA: Rungs =
    [CONV2D_FUSED_U8_F32, CONV2D_FUSED_U8_WGMMA_TF32, CONV2D_FUSED_U8_WGMMA_F16, CONV2D_FUSED_U8_WGMMA_BF16];
const GRAD_INPUT: Rungs =
    [CONV2D_GRAD_INPUT_F32, CONV2D_GRAD_INPUT_TF32, CONV2D_GRAD_INPUT_F16, CONV2D_GRAD_INPUT_BF16];
const GRAD_WEIGHT: Rungs =
    [CONV2D_GRAD_WEIGHT_F32, CONV2D_GRAD_WEIGHT_TF32, CONV2D_GRAD_WEIGHT_F16, CONV2D_GRAD_WEIGHT_BF16];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Conv2dParams {
    batch: u32,
    in_channels: u32,
    height: u32,
    width: u32,
    out_channels: u32,
    out_height: u32,
    out_width: u32,
    groups: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    pad_top: u32,
    pad_left: u32,
}

impl Conv2dParams {
    fn new(cx: &Cx, s: &Shape) -> Result<Self> {
        // The kernels count pixels, taps and the elements of a plane in 32 bits.
        cx.u32(s.batch * s.image[0] * s.image[1])?;
        cx.u32(s.batch * s.output[0] * s.output[1])?;
        cx.u32(s.channels.max(s.out) * s.kernel[0] * s.kernel[1])?;
        Ok(Conv2dParams {
            batch: cx.u32(s.batch)?,
            in_channels: cx.u32(s.channels)?,
            height: cx.u32(s.image[0])?,
            width: cx.u32(s.image[1])?,
            out_channels: cx.u32(s.out)?,
            out_height: cx.u32(s.output[0])?,
            out_width: cx.u32(s.output[1])?,
            groups: cx.u32(s.groups)?,
            kernel_height: cx.u32(s.kernel[0])?,
            kernel_width: cx.u32(s.kernel[1])?,
            stride_height: cx.u32(s.stride[0])?,
            stride_width: cx.u32(s.stride[1])?,
            pad_top: cx.u32(s.padding[0])?,
            pad_left: cx.u32(s.padding[2])?,
        })
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Conv2dFusedParams {
    conv: Conv2dParams,
    relu: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Conv2dSplitParams {
    conv: Conv2dParams,
    splits: u32,
    pixels_per_split: u32,
}

/// Blocks for a result of `m` rows and `n` columns, `z` times.
fn tiles(m: usize, n: usize, z: usize) -> Grid {
    Grid::blocks([n.div_ceil(TILE[1]), m.div_ceil(TILE[0]), z])
}

fn sizes(op: &'static str, dims: &Dims) -> Result<[usize; 4]> {
    axes(op, "an operand", &Meta::f32(*dims), "of four axes")
}

/// Bytes that a convolution computed in this way keeps between its launches.
fn scratch(way: Way, s: &Sizes, precision: Precision) -> usize {
    match way {
        Way::Naive | Way::Direct => 0,
        Way::Winograd => winograd::scratch(s),
        Way::Pipelined(_) => pipelined::scratch(s, precision),
    }
}

impl Conv2d {
    fn rounding(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// The kernel of this precision.
    fn rung(&self, of: Rungs) -> Kernel {
        of[self.rounding().index()]
    }

    /// Bytes for x and weight of these shapes.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let of = |at: usize| sizes(Self::NAME, &ins[at].dims);
        // What does not fit was refused before.
        let shape = of(0).and_then(|x| self.shape(Self::NAME, x, of(1)?));
        let way = shape.and_then(|s| Ok((self.forward_way(Self::NAME, &s)?, s)));
        way.map_or(0, |(way, s)| scratch(way, &Sizes::forward(&s), self.rounding()))
    }

    /// Computes y; the fused convolution has a residual and a ReLU as well.
    fn forward_on_cuda(&self, cx: &Cx, ins: &[In], y: &Out, fused: Option<bool>) -> Result<()> {
        self.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.shape(cx.op(), sizes(cx.op(), &ins[0].dims)?, sizes(cx.op(), &ins[1].dims)?)?;
        let operands = Operands {
            x: (&ins[0]).into(),
            dtype: ins[0].dtype,
            weight: (&ins[1]).into(),
            bias: ins.get(2).map(Argument::from),
            residual: ins.get(3).map(Argument::from),
            y: y.into(),
            relu: fused.unwrap_or(false),
            parts: None,
        };
        self.launch_forward(cx, &s, operands, fused.is_some())
    }

    fn launch_forward(&self, cx: &Cx, s: &Shape, operands: Operands, fused: bool) -> Result<()> {
        match self.forward_way(cx.op(), s)? {
            Way::Naive => naive(cx, s, &operands),
            Way::Direct => self.direct(cx, s, &operands, fused),
            Way::Winograd => winograd::launch(cx, &Sizes::forward(s), operands),
            Way::Pipelined(rows) => {
                pipelined::launch(cx, &Sizes::forward(s), self.rounding(), rows, operands)
            }
        }
    }

    fn direct(&self, cx: &Cx, s: &Shape, operands: &Operands, fused: bool) -> Result<()> {
        let conv = Conv2dParams::new(cx, s)?;
        let grid = tiles(s.out / s.groups, s.batch * s.output[0] * s.output[1], s.groups);
        let Operands { x, weight, y, .. } = *operands;
        let [plain, floats, bytes] = match cx.device().warpgroups() {
            true => [FORWARD_WGMMA, FUSED_WGMMA, FUSED_U8_WGMMA],
            false => [FORWARD, FUSED, FUSED_U8],
        };
        if !fused {
            let pointers = [x, weight, operands.bias(), y, operands.parts()];
            return cx.launch(self.rung(plain), grid, &pointers, &conv);
        }
        let kernel = self.rung(if operands.dtype == DType::U8 { bytes } else { floats });
        let params = Conv2dFusedParams { conv, relu: operands.relu.into() };
        cx.launch(kernel, grid, &[x, weight, operands.bias(), operands.residual(), y], &params)
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.forward_on_cuda(cx, ins, &outs[0], None)
    }
}

/// Every result by itself.
fn naive(cx: &Cx, s: &Shape, operands: &Operands) -> Result<()> {
    if operands.dtype == DType::U8 {
        return Err(choices::missing(cx.op(), "the naive kernel reads no bytes: use Auto"));
    }
    let params = Conv2dFusedParams { conv: Conv2dParams::new(cx, s)?, relu: operands.relu.into() };
    let grid = Grid::over(s.batch * s.out * s.output[0] * s.output[1], CONV2D_NAIVE_F32.threads as usize);
    let Operands { x, weight, y, .. } = *operands;
    cx.launch(CONV2D_NAIVE_F32, grid, &[x, weight, operands.bias(), operands.residual(), y], &params)
}

impl Conv2dFused {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.forward_on_cuda(cx, ins, &outs[0], Some(self.relu))
    }
}

impl Conv2dStatistics {
    /// Bytes of the convolution's own scratch, and how many parts its blocks make of a channel's statistics.
    fn areas(&self, s: &Shape) -> Result<[usize; 2]> {
        let (way, of, precision) =
            (self.conv.forward_way(Self::NAME, s)?, Sizes::forward(s), self.conv.rounding());
        let parts = match way {
            Way::Naive => {
                let what = "the naive kernel keeps no statistics: use Auto";
                return Err(choices::missing(Self::NAME, what));
            }
            Way::Direct => (s.batch * s.output[0] * s.output[1]).div_ceil(TILE[1]),
            Way::Winograd => winograd::runs(&of).parts,
            Way::Pipelined(_) => pipelined::runs_of(&of, precision).parts,
        };
        Ok([scratch(way, &of, precision).next_multiple_of(256), parts])
    }

    /// Bytes for x and weight of these shapes.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let of = |at: usize| sizes(Self::NAME, &ins[at].dims);
        // What does not fit was refused before.
        let shape = of(0).and_then(|x| self.conv.shape(Self::NAME, x, of(1)?));
        let areas = shape.and_then(|s| Ok((self.areas(&s)?, s)));
        areas.map_or(0, |([own, parts], s)| own + 3 * s.out * parts * size_of::<f32>())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.conv.shape(cx.op(), sizes(cx.op(), &ins[0].dims)?, sizes(cx.op(), &ins[1].dims)?)?;
        let [own, parts] = self.areas(&s)?;
        let at = cx.scratch().after(own);
        let operands = Operands {
            x: (&ins[0]).into(),
            dtype: ins[0].dtype,
            weight: (&ins[1]).into(),
            bias: None,
            residual: None,
            y: (&outs[0]).into(),
            relu: false,
            parts: Some(at),
        };
        self.conv.launch_forward(cx, &s, operands, false)?;
        merge_statistics(cx, &self.norm, (at, [s.out, parts]), [&ins[2], &ins[3]], &outs[1..])
    }
}

impl Conv2dGradInput {
    /// Bytes for dy and weight of these shapes.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let of = |at: usize| sizes(Self::NAME, &ins[at].dims);
        // What does not fit was refused before.
        let shape = of(0).and_then(|[batch, ..]| {
            let weight = of(1)?;
            let x = [batch, weight[1] * self.conv.groups, self.image[0], self.image[1]];
            self.conv.shape(Self::NAME, x, weight)
        });
        let way = shape.and_then(|s| Ok((self.conv.grad_input_way(Self::NAME, &s)?, s)));
        way.map_or(0, |(way, s)| scratch(way, &Sizes::grad_input(&s), self.conv.rounding()))
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.conv.shape(cx.op(), sizes(cx.op(), &outs[0].dims)?, sizes(cx.op(), &ins[1].dims)?)?;
        let [dy, weight, dx] = [(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()];
        let of = Sizes::grad_input(&s);
        let operands = Operands {
            x: dy,
            dtype: DType::F32,
            weight,
            bias: None,
            residual: None,
            y: dx,
            relu: false,
            parts: None,
        };
        match self.conv.grad_input_way(cx.op(), &s)? {
            Way::Winograd => return winograd::launch(cx, &of, operands),
            Way::Pipelined(rows) => {
                return pipelined::launch(cx, &of, self.conv.rounding(), rows, operands);
            }
            Way::Naive | Way::Direct => {}
        }
        let params = Conv2dParams::new(cx, &s)?;
        let [sh, sw] = s.stride;
        // One phase of the stride along z: the largest has this many pixels.
        let pixels = s.batch * s.image[0].div_ceil(sh) * s.image[1].div_ceil(sw);
        let grid = tiles(s.channels / s.groups, pixels, s.groups * sh * sw);
        cx.launch(self.conv.rung(GRAD_INPUT), grid, &[dy, weight, dx], &params)
    }
}

impl Conv2dGradWeight {
    /// How many ranges the output pixels are cut into, and the pixels of one. It follows from the shapes alone, so that
    /// the order of summation, and with it every bit, is the same on every device.
    fn splits(s: &Shape) -> (usize, usize) {
        const BLOCKS: usize = 512;
        const LEAST: usize = 256;
        let columns = s.channels / s.groups * s.kernel[0] * s.kernel[1];
        let blocks = (s.out / s.groups).div_ceil(TILE[0]) * columns.div_ceil(TILE[1]) * s.groups;
        let pixels = s.batch * s.output[0] * s.output[1];
        let splits = (BLOCKS / blocks.max(1)).clamp(1, pixels.div_ceil(LEAST).max(1));
        // A multiple of the tile's depth; the last range may be shorter.
        let each = pixels.div_ceil(splits).next_multiple_of(16).max(16);
        (pixels.div_ceil(each).max(1), each)
    }

    /// Bytes for the sums of every split, if there are several.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        // Shapes that do not fit were refused before.
        let Ok(s) = self.geometry(&ins[0].dims, &ins[1].dims) else { return 0 };
        let (splits, _) = Self::splits(&s);
        let weight = s.out * s.channels / s.groups * s.kernel[0] * s.kernel[1];
        if splits == 1 { 0 } else { splits * weight * size_of::<f32>() }
    }

    fn geometry(&self, x: &Dims, dy: &Dims) -> Result<Shape> {
        let x = sizes(Self::NAME, x)?;
        self.conv.shape(Self::NAME, x, [dy[1], x[1] / self.conv.groups, self.kernel[0], self.kernel[1]])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.geometry(&ins[0].dims, &ins[1].dims)?;
        if self.conv.algorithm == Algorithm::Naive {
            return Err(choices::missing(cx.op(), "the naive kernel has no gradients: use Auto"));
        }
        let (splits, each) = Self::splits(&s);
        let params = Conv2dSplitParams {
            conv: Conv2dParams::new(cx, &s)?,
            splits: cx.u32(splits)?,
            pixels_per_split: cx.u32(each)?,
        };
        let elements = outs[0].dims.elements();
        let grid = tiles(s.out / s.groups, elements / s.out.max(1), s.groups * splits);
        let parts = if splits == 1 { (&outs[0]).into() } else { cx.scratch() };
        cx.launch(self.conv.rung(GRAD_WEIGHT), grid, &[(&ins[0]).into(), (&ins[1]).into(), parts], &params)?;
        if splits == 1 { Ok(()) } else { cx.sum_parts(parts, (&outs[0]).into(), splits, elements) }
    }
}
