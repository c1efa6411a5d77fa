//! Blended patches and their gradients on CUDA: `kernels/blend_patches/blend_patches.cu`.

use super::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    cuda::{BLEND_F32, BLEND_GRAD_IMAGE_F32, BLEND_GRAD_INDICATORS_F32, Cx, Grid, In, Out},
    error::Result,
    ops::unfold::Grid as Windows,
};
use bytemuck::NoUninit;

/// Pixels of a patch that a block of the forward kernel makes.
const PIXELS: usize = 128 * 4;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct BlendParams {
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    patches: u32,
    rows: u32,
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
    chunks: u32,
    hits: u32,
}

impl BlendParams {
    /// For an image (B, C, H, W) and K patches.
    fn new(cx: &Cx, grid: &Windows, image: &[usize], patches: usize) -> Result<Self> {
        // The kernels count the pixels of a plane, the elements of a patch and all windows in 32 bits.
        cx.u32(image[2] * image[3])?;
        cx.u32(image[1] * grid.patch[0] * grid.patch[1])?;
        cx.u32(image[0] * patches * grid.patches())?;
        Ok(BlendParams {
            batch: cx.u32(image[0])?,
            channels: cx.u32(image[1])?,
            height: cx.u32(image[2])?,
            width: cx.u32(image[3])?,
            patches: cx.u32(patches)?,
            rows: cx.u32(grid.counts[0])?,
            cols: cx.u32(grid.counts[1])?,
            patch_height: cx.u32(grid.patch[0])?,
            patch_width: cx.u32(grid.patch[1])?,
            stride_height: cx.u32(grid.stride[0])?,
            stride_width: cx.u32(grid.stride[1])?,
            chunks: cx.u32((grid.patch[0] * grid.patch[1]).div_ceil(PIXELS))?,
            hits: 0,
        })
    }
}

impl BlendPatches {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, w, y) = (&ins[0], &ins[1], &outs[0]);
        let params = BlendParams::new(cx, &self.grid, &x.dims, w.dims[1])?;
        let blocks = y.dims[0] * y.dims[1] * y.dims[2] * params.chunks as usize;
        cx.launch(BLEND_F32, Grid::blocks([blocks, 1, 1]), &[x.into(), w.into(), y.into()], &params)
    }
}

impl BlendPatchesGradImage {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (w, dy, dx) = (&ins[0], &ins[1], &outs[0]);
        let params = BlendParams::new(cx, &self.grid, &dx.dims, w.dims[1])?;
        let grid = Grid::over(dx.dims.elements(), BLEND_GRAD_IMAGE_F32.threads as usize);
        cx.launch(BLEND_GRAD_IMAGE_F32, grid, &[w.into(), dy.into(), dx.into()], &params)
    }
}

impl BlendPatchesGradIndicators {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, w, dy, dw) = (&ins[0], &ins[1], &ins[2], &outs[0]);
        let hits = (self.gradient == IndicatorGradient::Hit).into();
        let params = BlendParams { hits, ..BlendParams::new(cx, &self.grid, &x.dims, w.dims[1])? };
        let grid = Grid::blocks([dw.dims.elements(), 1, 1]);
        let pointers = [x.into(), w.into(), dy.into(), dw.into()];
        cx.launch(BLEND_GRAD_INDICATORS_F32, grid, &pointers, &params)
    }
}
