//! Normalisation on CUDA: `kernels/image/image.cu`, a launch for every four channels.

use super::NormalizeImage;
use crate::{
    cuda::{Argument, Cx, DivisorParams, Grid, In, NORMALIZE_IMAGE_1_F32, NORMALIZE_IMAGE_4_F32, Out},
    error::Result,
};
use bytemuck::NoUninit;

/// Channels of a launch: `CHANNELS` of the kernel.
const CHANNELS: usize = 4;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct NormalizeImageParams {
    count: u64,
    plane: DivisorParams,
    here: DivisorParams,
    channels: u64,
    first: u64,
    scale: [f64; 4],
    shift: [f64; 4],
}

impl NormalizeImage {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (Argument::from(&ins[0]), Argument::from(&outs[0]));
        let [channels, plane] = self.planes(&ins[0].dims);
        let images = ins[0].dims.elements() / (channels * plane).max(1);
        let wide = plane.is_multiple_of(4) && x.is_aligned(4) && y.is_aligned(16);
        let (kernel, width) = if wide { (NORMALIZE_IMAGE_4_F32, 4) } else { (NORMALIZE_IMAGE_1_F32, 1) };
        for first in (0..channels).step_by(CHANNELS) {
            let here = CHANNELS.min(channels - first);
            let count = images * here * (plane / width);
            let of = |constants: &[f64]| {
                std::array::from_fn(|at| constants.get(first + at).copied().unwrap_or(0.0))
            };
            let params = NormalizeImageParams {
                count: count as u64,
                plane: DivisorParams::new(cx, plane / width, count)?,
                here: DivisorParams::new(cx, here, count)?,
                channels: channels as u64,
                first: first as u64,
                scale: of(&self.scale),
                shift: of(&self.shift),
            };
            cx.launch(kernel, Grid::over(count, kernel.threads as usize), &[x, y], &params)?;
        }
        Ok(())
    }
}
