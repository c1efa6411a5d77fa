//! Resizing on CUDA: `kernels/resize/resize.cu`.

use super::{Resize, ResizeGrad, ResizeMode};
use crate::{
    Dims,
    cuda::{
        Cx, Grid, In, Kernel, Out, RESIZE_AREA_F32, RESIZE_AREA_GRAD_F32, RESIZE_BILINEAR_F32,
        RESIZE_BILINEAR_GRAD_F32,
    },
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ResizeParams {
    count: u64,
    small_height: u32,
    small_width: u32,
    large_height: u32,
    large_width: u32,
}

impl Resize {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let kernel = match self.mode {
            ResizeMode::Area => RESIZE_AREA_F32,
            ResizeMode::Bilinear => RESIZE_BILINEAR_F32,
        };
        launch(cx, kernel, &ins[0], &outs[0], [&outs[0].dims, &ins[0].dims])
    }
}

impl ResizeGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let kernel = match self.mode {
            ResizeMode::Area => RESIZE_AREA_GRAD_F32,
            ResizeMode::Bilinear => RESIZE_BILINEAR_GRAD_F32,
        };
        launch(cx, kernel, &ins[0], &outs[0], [&ins[0].dims, &outs[0].dims])
    }
}

/// Runs a kernel from x to y, one of which is the result of resizing (`small`) and the other what is resized (`large`).
fn launch(cx: &Cx, kernel: Kernel, x: &In, y: &Out, [small, large]: [&Dims; 2]) -> Result<()> {
    let count = y.dims.elements();
    let params = ResizeParams {
        count: count as u64,
        small_height: cx.u32(small[2])?,
        small_width: cx.u32(small[3])?,
        large_height: cx.u32(large[2])?,
        large_width: cx.u32(large[3])?,
    };
    cx.launch(kernel, Grid::over(count, kernel.threads as usize), &[x.into(), y.into()], &params)
}
