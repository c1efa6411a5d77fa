//! Launches of blended patches and their gradients. Work larger than a binding is cut between planes of the image, lines
//! of pixels or patches.

use super::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    error::Result,
    wgpu::{Cx, In, Out},
};
use std::ops::Range;

mod blend {
    crate::wgpu_params! {
        pub(super) struct BlendParams {
            x_first: u32, w_first: u32, y_first: u32, first_channel: u32, planes: u32, channels: u32, height: u32,
            width: u32, patches: u32, rows: u32, cols: u32, patch_height: u32, patch_width: u32, stride_height: u32,
            stride_width: u32, chunks: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "blend_patches", texts: ["common/grid", "blend_patches/blend"], params: BlendParams, tuning: [],
        F32 = "blend_f32", tried with [[]];
    }
    /// Pixels of a workgroup.
    pub(super) const PIXELS: usize = 128 * 4;
}

mod grad_image {
    crate::wgpu_params! {
        pub(super) struct BlendGradImageParams {
            w_first: u32, dy_first: u32, dx_first: u32, count: u32, first_pixel: u32, channels: u32, height: u32,
            width: u32, patches: u32, rows: u32, cols: u32, patch_height: u32, patch_width: u32, stride_height: u32,
            stride_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "blend_patches_grad_image", texts: ["common/grid", "blend_patches/grad_image"],
        params: BlendGradImageParams, tuning: [],
        F32 = "blend_grad_image_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

mod grad_indicators {
    crate::wgpu_params! {
        pub(super) struct BlendGradIndicatorsParams {
            x_first: u32, w_first: u32, dy_first: u32, dw_first: u32, first_patch: u32, count: u32, channels: u32,
            height: u32, width: u32, patches: u32, rows: u32, cols: u32, patch_height: u32, patch_width: u32,
            stride_height: u32, stride_width: u32, hits: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "blend_patches_grad_indicators",
        texts: ["common/grid", "common/lanes", "blend_patches/grad_indicators"],
        params: BlendGradIndicatorsParams, tuning: [],
        F32 = "blend_grad_indicators_f32", tried with [[]];
    }
}

/// Rows of (rows, width).
fn of(run: &Range<usize>, width: usize) -> Range<usize> {
    run.start * width..run.end * width
}

impl BlendPatches {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, w, y, grid) = (&ins[0], &ins[1], &outs[0], &self.grid);
        let ([b, c, h, width], k, n) = ([0, 1, 2, 3].map(|axis| x.dims[axis]), w.dims[1], grid.patches());
        let pixels = grid.patch[0] * grid.patch[1];
        if y.dims.elements() == 0 {
            return Ok(());
        }
        let needs = |run: &Range<usize>| {
            let images = run.start / c..run.end.div_ceil(c);
            [(*x, of(run, h * width)), (*w, of(&images, k * n)), (*y, of(&images, k * c * pixels))]
        };
        for run in cx.cut(b * c, needs)? {
            let [x, w, y] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [x?, w?, y?];
            let chunks = pixels.div_ceil(blend::PIXELS);
            let params = blend::BlendParams {
                x_first: slices[0].first,
                w_first: slices[1].first,
                y_first: slices[2].first,
                first_channel: (run.start % c) as u32,
                planes: run.len() as u32,
                channels: c as u32,
                height: h as u32,
                width: width as u32,
                patches: k as u32,
                rows: grid.counts[0] as u32,
                cols: grid.counts[1] as u32,
                patch_height: grid.patch[0] as u32,
                patch_width: grid.patch[1] as u32,
                stride_height: grid.stride[0] as u32,
                stride_width: grid.stride[1] as u32,
                chunks: chunks as u32,
            };
            cx.launch(&blend::F32, &[], &params, &slices, cx.groups(run.len() * k * chunks)?)?;
        }
        Ok(())
    }
}

impl BlendPatchesGradImage {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (w, dy, dx, grid) = (&ins[0], &ins[1], &outs[0], &self.grid);
        let ([b, c, h, width], k, n) = ([0, 1, 2, 3].map(|axis| dx.dims[axis]), w.dims[1], grid.patches());
        if dx.dims.elements() == 0 {
            return Ok(());
        }
        let needs = |lines: &Range<usize>| {
            let images = lines.start / (c * h)..lines.end.div_ceil(c * h);
            let patches = of(&images, k * c * grid.patch[0] * grid.patch[1]);
            [(*w, of(&images, k * n)), (*dy, patches), (*dx, of(lines, width))]
        };
        for lines in cx.cut(b * c * h, needs)? {
            let [w, dy, dx] = needs(&lines).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [w?, dy?, dx?];
            let count = lines.len() * width;
            let params = grad_image::BlendGradImageParams {
                w_first: slices[0].first,
                dy_first: slices[1].first,
                dx_first: slices[2].first,
                count: count as u32,
                first_pixel: (lines.start % (c * h) * width) as u32,
                channels: c as u32,
                height: h as u32,
                width: width as u32,
                patches: k as u32,
                rows: grid.counts[0] as u32,
                cols: grid.counts[1] as u32,
                patch_height: grid.patch[0] as u32,
                patch_width: grid.patch[1] as u32,
                stride_height: grid.stride[0] as u32,
                stride_width: grid.stride[1] as u32,
            };
            let groups = cx.groups(count.div_ceil(grad_image::THREADS))?;
            cx.launch(&grad_image::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}

impl BlendPatchesGradIndicators {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, w, dy, dw, grid) = (&ins[0], &ins[1], &ins[2], &outs[0], &self.grid);
        let ([b, c, h, width], k, n) = ([0, 1, 2, 3].map(|axis| x.dims[axis]), w.dims[1], grid.patches());
        let patch = c * grid.patch[0] * grid.patch[1];
        if dw.dims.elements() == 0 {
            return Ok(());
        }
        let needs = |run: &Range<usize>| {
            let images = run.start / k..run.end.div_ceil(k);
            [(*x, of(&images, c * h * width)), (*w, of(run, n)), (*dy, of(run, patch)), (*dw, of(run, n))]
        };
        for run in cx.cut(b * k, needs)? {
            let [x, w, dy, dw] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [x?, w?, dy?, dw?];
            let params = grad_indicators::BlendGradIndicatorsParams {
                x_first: slices[0].first,
                w_first: slices[1].first,
                dy_first: slices[2].first,
                dw_first: slices[3].first,
                first_patch: (run.start % k) as u32,
                count: run.len() as u32,
                channels: c as u32,
                height: h as u32,
                width: width as u32,
                patches: k as u32,
                rows: grid.counts[0] as u32,
                cols: grid.counts[1] as u32,
                patch_height: grid.patch[0] as u32,
                patch_width: grid.patch[1] as u32,
                stride_height: grid.stride[0] as u32,
                stride_width: grid.stride[1] as u32,
                hits: (self.gradient == IndicatorGradient::Hit).into(),
            };
            let groups = cx.groups(run.len() * n)?;
            cx.launch(&grad_indicators::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}
