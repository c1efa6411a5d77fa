//! Division by the norm on CUDA: `kernels/l2_normalize/l2_normalize.cu`.

use super::{L2Normalize, L2NormalizeGrad};
use crate::{
    cuda::{
        Cx, In, Kernel, L2_NORMALIZE_1_F32, L2_NORMALIZE_8_F32, L2_NORMALIZE_32_F32, L2_NORMALIZE_1024_F32,
        L2_NORMALIZE_GRAD_1_F32, L2_NORMALIZE_GRAD_8_F32, L2_NORMALIZE_GRAD_32_F32,
        L2_NORMALIZE_GRAD_1024_F32, Out, by_row,
    },
    error::Result,
};
use bytemuck::NoUninit;

const FORWARD: [Kernel; 4] =
    [L2_NORMALIZE_1_F32, L2_NORMALIZE_8_F32, L2_NORMALIZE_32_F32, L2_NORMALIZE_1024_F32];
const GRAD: [Kernel; 4] =
    [L2_NORMALIZE_GRAD_1_F32, L2_NORMALIZE_GRAD_8_F32, L2_NORMALIZE_GRAD_32_F32, L2_NORMALIZE_GRAD_1024_F32];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct L2NormalizeParams {
    rows: u64,
    size: u64,
}

impl L2NormalizeParams {
    /// For x (…, D).
    fn of(x: &In) -> Self {
        let (rows, size, _) = x.dims.around(x.dims.rank() - 1);
        L2NormalizeParams { rows: rows as u64, size: size as u64 }
    }
}

impl L2Normalize {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let params = L2NormalizeParams::of(&ins[0]);
        let (kernel, grid) = by_row(&FORWARD, params.rows as usize, params.size as usize, 1);
        cx.launch(kernel, grid, &[(&ins[0]).into(), (&outs[0]).into()], &params)
    }
}

impl L2NormalizeGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let params = L2NormalizeParams::of(&ins[1]);
        let (kernel, grid) = by_row(&GRAD, params.rows as usize, params.size as usize, 1);
        cx.launch(kernel, grid, &[(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()], &params)
    }
}
