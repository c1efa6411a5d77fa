//! Unfold and fold on CUDA: `kernels/unfold/unfold.cu`.

use super::{Fold, Grid as Patches, Unfold};
use crate::{
    DType, Dims,
    cuda::{Cx, FOLD_F32, Grid, In, Out, UNFOLD_F32, UNFOLD_U8},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct UnfoldParams {
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
}

impl UnfoldParams {
    /// For an image (B, C, H, W).
    fn new(cx: &Cx, image: &Dims, patch: [usize; 2], stride: [usize; 2]) -> Result<Self> {
        let grid = Patches::new(cx.op(), [image[2], image[3]], patch, stride)?;
        Ok(UnfoldParams {
            batch: cx.u32(image[0])?,
            channels: cx.u32(image[1])?,
            height: cx.u32(image[2])?,
            width: cx.u32(image[3])?,
            rows: cx.u32(grid.counts[0])?,
            cols: cx.u32(grid.counts[1])?,
            patch_height: cx.u32(patch[0])?,
            patch_width: cx.u32(patch[1])?,
            stride_height: cx.u32(stride[0])?,
            stride_width: cx.u32(stride[1])?,
        })
    }
}

impl Unfold {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let params = UnfoldParams::new(cx, &x.dims, self.patch, self.stride)?;
        let kernel = if x.dtype == DType::U8 { UNFOLD_U8 } else { UNFOLD_F32 };
        // A thread moves four elements of one patch.
        let patch = x.dims[1] * self.patch[0] * self.patch[1];
        let blocks = [y.dims[0] * y.dims[1], patch.div_ceil(4 * kernel.threads as usize), 1];
        cx.launch(kernel, Grid::blocks(blocks), &[x.into(), y.into()], &params)
    }
}

impl Fold {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, dx) = (&ins[0], &outs[0]);
        let params = UnfoldParams::new(cx, &dx.dims, [dy.dims[3], dy.dims[4]], self.stride)?;
        let grid = Grid::over(dx.dims.elements(), FOLD_F32.threads as usize);
        cx.launch(FOLD_F32, grid, &[dy.into(), dx.into()], &params)
    }
}
