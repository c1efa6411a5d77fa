//! Division by the norm through wgpu. Batches larger than a binding are cut into runs of rows.

use super::{L2Normalize, L2NormalizeGrad};
use crate::{
    error::Result,
    wgpu::{Cx, In, Kernel, Out, ROW_THREADS, lanes, row_groups},
};
use std::ops::Range;

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
    let rows = dims.elements().checked_div(size).unwrap_or(0);
    let lanes = lanes(size, 1);
    let elements = |run: &Range<usize>| run.start * size..run.end * size;
    for run in cx.cut(rows, |run| tensors.map(|tensor| (*tensor, elements(run))))? {
        let mut slices = [cx.bind_range(tensors[0], elements(&run))?; N];
        for (slice, tensor) in slices.iter_mut().zip(tensors) {
            *slice = cx.bind_range(tensor, elements(&run))?;
        }
        let params = L2NormalizeParams {
            x_first: slices[0].first,
            dy_first: slices[N - 2].first,
            y_first: slices[N - 1].first,
            rows: run.len() as u32,
            size: size as u32,
        };
        let groups = cx.groups(row_groups(run.len(), lanes))?;
        cx.launch(kernel, &[ROW_THREADS, lanes], &params, &slices, groups)?;
    }
    Ok(())
}
