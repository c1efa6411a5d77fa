//! Softmax through wgpu. Tensors larger than a binding are cut into runs of outer indices.

use super::{LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad};
use crate::{
    error::Result,
    wgpu::{Cx, In, Kernel, Out, ROW_THREADS, lanes, row_groups},
};

crate::wgpu_params! {
    struct SoftmaxParams { x_first: u32, dy_first: u32, y_first: u32, rows: u32, size: u32, inner: u32 }
}

mod kernels {
    crate::wgpu_kernel! {
        op: "softmax", texts: ["common/grid", "common/exp", "common/math", "common/lanes", "softmax/softmax"],
        params: super::SoftmaxParams, tuning: [THREADS, LANES],
        SOFTMAX = "softmax_f32", tried with [[128, 1], [128, 128]];
        SOFTMAX_GRAD = "softmax_grad_f32", tried with [[128, 1], [128, 128]];
        LOG_SOFTMAX = "log_softmax_f32", tried with [[128, 1], [128, 128]];
        LOG_SOFTMAX_GRAD = "log_softmax_grad_f32", tried with [[128, 1], [128, 128]];
    }
}

impl Softmax {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::SOFTMAX, self.axis, [&ins[0], &outs[0]])
    }
}

impl SoftmaxGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::SOFTMAX_GRAD, self.axis, [&ins[1], &ins[0], &outs[0]])
    }
}

impl LogSoftmax {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::LOG_SOFTMAX, self.axis, [&ins[0], &outs[0]])
    }
}

impl LogSoftmaxGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::LOG_SOFTMAX_GRAD, self.axis, [&ins[1], &ins[0], &outs[0]])
    }
}

/// Runs a kernel over tensors of one shape: x (or y), for gradients dy, and the result.
fn launch<const N: usize>(
    cx: &Cx,
    kernel: &Kernel<SoftmaxParams>,
    axis: usize,
    tensors: [&In; N],
) -> Result<()> {
    let (_, size, inner) = tensors[0].dims.around(axis);
    let lanes = lanes(size, inner);
    cx.each_run(tensors, size * inner, |outer, slices| {
        let params = SoftmaxParams {
            x_first: slices[0].first,
            dy_first: slices[N - 2].first,
            y_first: slices[N - 1].first,
            rows: (outer * inner) as u32,
            size: size as u32,
            inner: inner as u32,
        };
        let groups = cx.groups(row_groups(outer * inner, lanes))?;
        cx.launch(kernel, &[ROW_THREADS, lanes], &params, &slices, groups)
    })
}
