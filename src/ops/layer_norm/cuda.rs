//! Layer normalisation on CUDA: `kernels/layer_norm/layer_norm.cu`. A launch forward; backward dx, then the sums over parts
//! of the rows, then their sum, each if there is something to do.

use super::{LayerNorm, LayerNormGrad};
use crate::{
    cuda::{
        Argument, Cx, Grid, In, Kernel, LAYER_NORM_1_F32, LAYER_NORM_8_F32, LAYER_NORM_32_F32,
        LAYER_NORM_1024_F32, LAYER_NORM_GRAD_1_F32, LAYER_NORM_GRAD_8_F32, LAYER_NORM_GRAD_32_F32,
        LAYER_NORM_GRAD_1024_F32, LAYER_NORM_GRAD_AFFINE_F32, LAYER_NORM_GRAD_PARTS_F32, Out, by_row,
    },
    device::Meta,
    error::Result,
    ops::view::cuda::zero,
};
use bytemuck::NoUninit;

const FORWARD: [Kernel; 4] = [LAYER_NORM_1_F32, LAYER_NORM_8_F32, LAYER_NORM_32_F32, LAYER_NORM_1024_F32];
const GRAD: [Kernel; 4] =
    [LAYER_NORM_GRAD_1_F32, LAYER_NORM_GRAD_8_F32, LAYER_NORM_GRAD_32_F32, LAYER_NORM_GRAD_1024_F32];
/// Columns of a block that sums over rows: `COLUMNS` of the kernel.
const COLUMNS: usize = 32;
/// Rows of a part.
const PART: usize = 512;
/// The most parts that a grid has room for.
const PARTS: usize = 65_535;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct LayerNormParams {
    rows: u64,
    size: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct AffineParams {
    rows: u64,
    rows_per_part: u64,
    size: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PartsParams {
    parts: u64,
    size: u64,
}

/// Rows and their size, which is not zero.
fn sizes(x: &crate::Dims) -> (usize, usize) {
    let (rows, size, _) = x.around(x.rank() - 1);
    (rows, size)
}

/// Rows of a part, and how many parts so many rows have: the order of summation follows from the shape alone.
fn parts(rows: usize) -> (usize, usize) {
    let part = PART.max(rows.div_ceil(PARTS));
    (part, rows.div_ceil(part))
}

impl LayerNorm {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (rows, size) = sizes(&ins[0].dims);
        let params = LayerNormParams { rows: rows as u64, size: cx.u32(size)?, eps: self.eps as f32 };
        let affine = |at: usize| ins.get(at).map_or(Argument::NONE, Argument::from);
        let pointers = [(&ins[0]).into(), affine(1), affine(2), (&outs[0]).into()];
        let (kernel, grid) = by_row(&FORWARD, rows, size, 1);
        cx.launch(kernel, grid, &pointers, &params)
    }
}

impl LayerNormGrad {
    /// Bytes for the mean and the inverse deviation of each row, and for the sums of the parts, if there are several.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let (rows, size) = sizes(&ins[1].dims);
        let (_, parts) = parts(rows);
        let sums = if parts > 1 { 2 * parts * size } else { 0 };
        if ins.len() > 2 { (2 * rows + sums) * size_of::<f32>() } else { 0 }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, x) = (Argument::from(&ins[0]), Argument::from(&ins[1]));
        let (rows, size) = sizes(&ins[1].dims);
        let params = LayerNormParams { rows: rows as u64, size: cx.u32(size)?, eps: self.eps as f32 };
        let weight = ins.get(2).map_or(Argument::NONE, Argument::from);
        let statistics = cx.scratch();
        let (kernel, grid) = by_row(&GRAD, rows, size, 1);
        cx.launch(kernel, grid, &[dy, x, weight, (&outs[0]).into(), statistics], &params)?;
        let [_, dweight, dbias] = outs else { return Ok(()) };
        if rows == 0 {
            zero(cx, dweight)?;
            return zero(cx, dbias);
        }
        let (part, parts) = parts(rows);
        let sums = statistics.after(2 * rows * size_of::<f32>());
        let [dweights, dbiases] = match parts {
            1 => [dweight.into(), dbias.into()],
            _ => [sums, sums.after(parts * size * size_of::<f32>())],
        };
        let params = AffineParams { rows: rows as u64, rows_per_part: part as u64, size: size as u64 };
        let grid = Grid::blocks([size.div_ceil(COLUMNS), parts, 1]);
        let pointers = [dy, x, statistics, dweights, dbiases];
        cx.launch(LAYER_NORM_GRAD_AFFINE_F32, grid, &pointers, &params)?;
        if parts == 1 {
            return Ok(());
        }
        let params = PartsParams { parts: parts as u64, size: size as u64 };
        let grid = Grid::over(size, LAYER_NORM_GRAD_PARTS_F32.threads as usize);
        let pointers = [dweights, dbiases, dweight.into(), dbias.into()];
        cx.launch(LAYER_NORM_GRAD_PARTS_F32, grid, &pointers, &params)
    }
}
