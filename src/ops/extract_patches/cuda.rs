//! Extracting and placing patches on CUDA: `kernels/extract_patches/extract_patches.cu`.

use super::{ExtractPatches, PlacePatches};
use crate::{
    DType,
    cuda::{Cx, EXTRACT_PATCHES_F32, EXTRACT_PATCHES_U8, Grid, In, Out, PLACE_PATCHES_F32},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PatchesParams {
    patches: u32,
    channels: u32,
    height: u32,
    width: u32,
    patch_height: u32,
    patch_width: u32,
    blocks: u32,
}

impl PatchesParams {
    /// For an image (B, C, H, W) and patches (B, K, C, ph, pw).
    fn new(cx: &Cx, image: &[usize], patches: &[usize], blocks: usize) -> Result<Self> {
        Ok(PatchesParams {
            patches: cx.u32(patches[1])?,
            channels: cx.u32(image[1])?,
            height: cx.u32(image[2])?,
            width: cx.u32(image[3])?,
            patch_height: cx.u32(patches[3])?,
            patch_width: cx.u32(patches[4])?,
            blocks: cx.u32(blocks)?,
        })
    }
}

impl ExtractPatches {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, offsets, y) = (&ins[0], &ins[1], &outs[0]);
        let kernel = if x.dtype == DType::U8 { EXTRACT_PATCHES_U8 } else { EXTRACT_PATCHES_F32 };
        let params = PatchesParams::new(cx, &x.dims, &y.dims, 0)?;
        let patch: usize = y.dims[2..].iter().product();
        cx.u32(patch)?;
        // A thread moves four elements of one patch.
        let blocks = [y.dims[0] * y.dims[1], patch.div_ceil(4 * kernel.threads as usize), 1];
        cx.launch(kernel, Grid::blocks(blocks), &[x.into(), offsets.into(), y.into()], &params)
    }
}

impl PlacePatches {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (patches, offsets, y) = (&ins[0], &ins[1], &outs[0]);
        let pixels: usize = y.dims[1..].iter().product();
        let blocks = pixels.div_ceil(PLACE_PATCHES_F32.threads as usize);
        let params = PatchesParams::new(cx, &y.dims, &patches.dims, blocks)?;
        let grid = Grid::blocks([y.dims[0] * blocks, 1, 1]);
        cx.launch(PLACE_PATCHES_F32, grid, &[patches.into(), offsets.into(), y.into()], &params)
    }
}
