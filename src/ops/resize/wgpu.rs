//! Resizing through wgpu. Batches larger than a binding are cut into runs of planes.

use super::{Resize, ResizeGrad, ResizeMode};
use crate::{
    error::Result,
    wgpu::{Cx, In, Kernel, Out, View},
};
use std::ops::Range;

const THREADS: usize = 64;

mod kernels {
    crate::wgpu_params! {
        pub(super) struct ResizeParams {
            x_first: u32, y_first: u32, count: u32, small_height: u32, small_width: u32, large_height: u32,
            large_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "resize", texts: ["common/grid", "resize/resize"], params: ResizeParams, tuning: [MODE],
        FORWARD = "resize_f32", tried with [[0], [1]];
        GRAD = "resize_grad_f32", tried with [[0], [1]];
    }
}

impl Resize {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::FORWARD, self.mode, [&ins[0], &outs[0]], [&outs[0], &ins[0]])
    }
}

impl ResizeGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &kernels::GRAD, self.mode, [&ins[0], &outs[0]], [&ins[0], &outs[0]])
    }
}

/// Runs a kernel from x to y, one of which is the result of resizing and the other what is resized.
fn launch(
    cx: &Cx,
    kernel: &Kernel<kernels::ResizeParams>,
    mode: ResizeMode,
    [x, y]: [&View; 2],
    [small, large]: [&View; 2],
) -> Result<()> {
    let [small, large] = [small, large].map(|view| [view.dims[2], view.dims[3]]);
    let widest = (0..2).map(|axis| (2 * large[axis] as u64 + 3) * (2 * small[axis] as u64 + 1)).max();
    if let Some(product) = widest.filter(|&product| product > u32::MAX.into()) {
        return Err(cx.too_large("product of an axis before and after, in 32 bits", 1 << 30, product / 4));
    }
    let plane = |view: &View| view.dims[2] * view.dims[3];
    let of = |view: &View, run: &Range<usize>| run.start * plane(view)..run.end * plane(view);
    for run in cx.cut(y.dims[0] * y.dims[1], |run| [(*x, of(x, run)), (*y, of(y, run))])? {
        let slices = [cx.bind_range(x, of(x, &run))?, cx.bind_range(y, of(y, &run))?];
        let count = of(y, &run).len();
        let params = kernels::ResizeParams {
            x_first: slices[0].first,
            y_first: slices[1].first,
            count: count as u32,
            small_height: small[0] as u32,
            small_width: small[1] as u32,
            large_height: large[0] as u32,
            large_width: large[1] as u32,
        };
        let tuning = [u32::from(mode == ResizeMode::Bilinear)];
        cx.launch(kernel, &tuning, &params, &slices, cx.groups(count.div_ceil(THREADS))?)?;
    }
    Ok(())
}
