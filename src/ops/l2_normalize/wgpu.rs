//! Division by the norm through wgpu. Batches larger than a binding are cut into runs of rows.

use super::{L2Normalize, L2NormalizeGrad};
use crate::{
    error::Result,
    wgpu::{Cx, In, Kernel, Out, ROW_THREADS, lanes, row_groups},
};

crate::wgpu_params! {
    struct L2NormalizeParams { x_first: u32, dy_first: u32, y_first: u32, rows: u32, size: u32 }
}

mod kernels {
    crate::wgpu_kernel! {
        op: "l2_normalize", texts: ["common/grid", "common/lanes", "l2_normalize/l2_normalize"],
        params: super::L2NormalizeParams, tuning: [THREADS, LANES],
        FORWARD = "l2_normalize_f32", tried with [[128, 1], [128, 128]];
        GRAD = "l2_normalize_grad_f32", tried with [[128, 1], [128, 128]];
    }
}

impl L2Normalize {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::FORWARD, [&ins[0], &outs[0]])
    }
}

impl L2NormalizeGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::GRAD, [&ins[1], &ins[0], &outs[0]])
    }
}

/// Runs a kernel over tensors of one shape: x, for the gradient dy, and the result.
fn launch<const N: usize>(cx: &Cx, kernel: &Kernel<L2NormalizeParams>, tensors: [&In; N]) -> Result<()> {
    let dims = tensors[0].dims;
    let size = dims[dims.rank() - 1];
    let lanes = lanes(size, 1);
    cx.each_run(tensors, size, |rows, slices| {
        let params = L2NormalizeParams {
            x_first: slices[0].first,
            dy_first: slices[N - 2].first,
            y_first: slices[N - 1].first,
            rows: rows as u32,
            size: size as u32,
        };
        let groups = cx.groups(row_groups(rows, lanes))?;
        cx.launch(kernel, &[ROW_THREADS, lanes], &params, &slices, groups)
    })
}
