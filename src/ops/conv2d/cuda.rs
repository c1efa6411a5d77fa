//! Convolution on CUDA: `kernels/conv2d/conv2d.cu`, one tiled product for all of them.

use super::{Conv2d, Conv2dFused, Conv2dGradInput, Conv2dGradWeight, Shape};
use crate::{
    DType, DeviceKind, Dims,
    cuda::{
        Argument, CONV2D_BF16, CONV2D_F16, CONV2D_F32, CONV2D_FUSED_BF16, CONV2D_FUSED_F16, CONV2D_FUSED_F32,
        CONV2D_FUSED_TF32, CONV2D_FUSED_U8_BF16, CONV2D_FUSED_U8_F16, CONV2D_FUSED_U8_F32,
        CONV2D_FUSED_U8_TF32, CONV2D_GRAD_INPUT_BF16, CONV2D_GRAD_INPUT_F16, CONV2D_GRAD_INPUT_F32,
        CONV2D_GRAD_INPUT_TF32, CONV2D_GRAD_WEIGHT_BF16, CONV2D_GRAD_WEIGHT_F16, CONV2D_GRAD_WEIGHT_F32,
        CONV2D_GRAD_WEIGHT_TF32, CONV2D_TF32, Cx, Grid, In, Kernel, Out,
    },
    device::{Meta, Op},
    error::Result,
    ops::axes,
};
use bytemuck::NoUninit;

/// Rows and columns of the result that one block makes: `M` of the tiles that `conv2d.cu` names, `TILE_N` of
/// `common/product.cuh`.
const TILE: [usize; 2] = [64, 128];

/// A kernel for each precision, by [`Precision::index`](crate::Precision).
type Rungs = [Kernel; 4];
const FORWARD: Rungs = [CONV2D_F32, CONV2D_TF32, CONV2D_F16, CONV2D_BF16];
const FUSED: Rungs = [CONV2D_FUSED_F32, CONV2D_FUSED_TF32, CONV2D_FUSED_F16, CONV2D_FUSED_BF16];
const FUSED_U8: Rungs =
    [CONV2D_FUSED_U8_F32, CONV2D_FUSED_U8_TF32, CONV2D_FUSED_U8_F16, CONV2D_FUSED_U8_BF16];
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

impl Conv2d {
    /// The kernel of this precision.
    fn rung(&self, of: Rungs) -> Kernel {
        of[self.precision.unwrap_or_default().index()]
    }

    /// Parameters and grid for an image and a weight.
    fn forward(&self, cx: &Cx, ins: &[In]) -> Result<(Conv2dParams, Grid)> {
        self.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.shape(cx.op(), sizes(cx.op(), &ins[0].dims)?, sizes(cx.op(), &ins[1].dims)?)?;
        let grid = tiles(s.out / s.groups, s.batch * s.output[0] * s.output[1], s.groups);
        Ok((Conv2dParams::new(cx, &s)?, grid))
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (params, grid) = self.forward(cx, ins)?;
        let bias = ins.get(2).map_or(Argument::NONE, Argument::from);
        let pointers = [(&ins[0]).into(), (&ins[1]).into(), bias, (&outs[0]).into()];
        cx.launch(self.rung(FORWARD), grid, &pointers, &params)
    }
}

impl Conv2dFused {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (conv, grid) = self.conv.forward(cx, ins)?;
        let kernel = self.conv.rung(if ins[0].dtype == DType::U8 { FUSED_U8 } else { FUSED });
        let residual = ins.get(3).map_or(Argument::NONE, Argument::from);
        let pointers = [(&ins[0]).into(), (&ins[1]).into(), (&ins[2]).into(), residual, (&outs[0]).into()];
        cx.launch(kernel, grid, &pointers, &Conv2dFusedParams { conv, relu: self.relu.into() })
    }
}

impl Conv2dGradInput {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        self.conv.check_device(cx.op(), DeviceKind::Cuda)?;
        let s = self.conv.shape(cx.op(), sizes(cx.op(), &outs[0].dims)?, sizes(cx.op(), &ins[1].dims)?)?;
        let params = Conv2dParams::new(cx, &s)?;
        let [sh, sw] = s.stride;
        // One phase of the stride along z: the largest has this many pixels.
        let pixels = s.batch * s.image[0].div_ceil(sh) * s.image[1].div_ceil(sw);
        let grid = tiles(s.channels / s.groups, pixels, s.groups * sh * sw);
        cx.launch(
            self.conv.rung(GRAD_INPUT),
            grid,
            &[(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()],
            &params,
        )
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
