//! Normalisation through wgpu: a launch for each channel. Batches larger than a binding are cut into runs of images.

use super::NormalizeImage;
use crate::{
    error::Result,
    wgpu::{Cx, In, Out, times},
};

/// Elements of a workgroup.
const RUN: usize = 4 * 128;

mod kernels {
    crate::wgpu_params! {
        pub(super) struct NormalizeImageParams {
            x_first: u32, y_first: u32, count: u32, scale: f32, shift: f32, channel: u32, channels: u32, plane: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "normalize_image", texts: ["common/grid", "image/normalize_image"], params: NormalizeImageParams, tuning: [],
        F32 = "normalize_image_f32", tried with [[]];
    }
}

impl NormalizeImage {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let elements = x.dims.elements();
        let [channels, plane] = self.planes(&x.dims);
        // Without channels any run of elements will do.
        let image = if channels == 1 { 1 } else { channels * plane };
        if elements == 0 {
            return Ok(());
        }
        for run in cx.cut(elements / image, |run| [(*x, times(run, image)), (*y, times(run, image))])? {
            let slices = [cx.bind_range(x, times(&run, image))?, cx.bind_range(y, times(&run, image))?];
            let count = times(&run, image).len() / channels;
            for (channel, (scale, shift)) in self.scale.iter().zip(&self.shift).enumerate() {
                let params = kernels::NormalizeImageParams {
                    x_first: slices[0].first,
                    y_first: slices[1].first,
                    count: count as u32,
                    scale: *scale as f32,
                    shift: *shift as f32,
                    channel: channel as u32,
                    channels: channels as u32,
                    plane: if channels == 1 { count } else { plane } as u32,
                };
                cx.launch(&kernels::F32, &[], &params, &slices, cx.groups(count.div_ceil(RUN))?)?;
            }
        }
        Ok(())
    }
}
