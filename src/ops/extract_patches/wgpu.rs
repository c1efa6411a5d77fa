//! Extracting and placing patches through wgpu. Results larger than a binding are cut into runs of images, images larger
//! than a binding into runs of lines.

use super::{ExtractPatches, PlacePatches};
use crate::{
    DType,
    error::Result,
    wgpu::{Cx, In, Out, View},
};
use std::ops::Range;

const THREADS: usize = 128;

mod extract {
    crate::wgpu_params! {
        pub(super) struct ExtractPatchesParams {
            x_first: u32, offsets_first: u32, y_first: u32, count: u32, first_line: u32, lines: u32, patches: u32,
            channels: u32, height: u32, width: u32, patch_height: u32, patch_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "extract_patches", texts: ["common/grid", "extract_patches/extract_patches"],
        params: ExtractPatchesParams, tuning: [],
        WORDS = "extract_patches_words", tried with [[]];
        BYTES = "extract_patches_bytes", tried with [[]];
    }
}

mod place {
    crate::wgpu_params! {
        pub(super) struct PlacePatchesParams {
            patches_first: u32, offsets_first: u32, y_first: u32, count: u32, first_line: u32, patches: u32,
            channels: u32, height: u32, width: u32, patch_height: u32, patch_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "place_patches", texts: ["common/grid", "extract_patches/place_patches"], params: PlacePatchesParams,
        tuning: [],
        F32 = "place_patches_f32", tried with [[]];
    }
}

/// The elements of some images of a batch.
fn images(view: &View, run: &Range<usize>) -> Range<usize> {
    let image: usize = view.dims[1..].iter().product();
    run.start * image..run.end * image
}

impl ExtractPatches {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, offsets, y) = (&ins[0], &ins[1], &outs[0]);
        let [channels, height, width] = [x.dims[1], x.dims[2], x.dims[3]];
        let lines_of_image = channels * height;
        if y.dims.elements() == 0 {
            return Ok(());
        }
        for batch in cx.cut(y.dims[0], |run| [(*y, images(y, run)), (*offsets, images(offsets, run))])? {
            let all = batch.start * lines_of_image..batch.end * lines_of_image;
            let lines = |run: &Range<usize>| (all.start + run.start) * width..(all.start + run.end) * width;
            let mut runs = cx.cut(all.len(), |run| [(*x, lines(run))])?;
            if runs.is_empty() {
                // An image without pixels: every patch is outside of it.
                runs.push(0..0);
            }
            for run in runs {
                let slices = [
                    cx.bind_range(x, lines(&run))?,
                    cx.bind_range(offsets, images(offsets, &batch))?,
                    cx.bind_range(y, images(y, &batch))?,
                ];
                let count = images(y, &batch).len();
                let params = extract::ExtractPatchesParams {
                    x_first: slices[0].first,
                    offsets_first: slices[1].first,
                    y_first: slices[2].first,
                    count: count as u32,
                    first_line: run.start as u32,
                    lines: run.len() as u32,
                    patches: y.dims[1] as u32,
                    channels: channels as u32,
                    height: height as u32,
                    width: width as u32,
                    patch_height: self.patch[0] as u32,
                    patch_width: self.patch[1] as u32,
                };
                let (kernel, items) = match y.dtype {
                    DType::U8 => (&extract::BYTES, (slices[2].first as usize % 4 + count).div_ceil(4)),
                    _ => (&extract::WORDS, count),
                };
                cx.launch(kernel, &[], &params, &slices, cx.groups(items.div_ceil(THREADS))?)?;
            }
        }
        Ok(())
    }
}

impl PlacePatches {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (patches, offsets, y) = (&ins[0], &ins[1], &outs[0]);
        let [height, width] = self.image;
        let channels = patches.dims[2];
        let lines_of_image = channels * height;
        if y.dims.elements() == 0 {
            return Ok(());
        }
        let batch = |run: &Range<usize>| run.start / lines_of_image..run.end.div_ceil(lines_of_image);
        let needs = |run: &Range<usize>| {
            [(*y, run.start * width..run.end * width), (*patches, images(patches, &batch(run)))]
        };
        for run in cx.cut(y.dims[0] * lines_of_image, needs)? {
            let [(_, target), (_, source)] = needs(&run);
            let slices = [
                cx.bind_range(patches, source)?,
                cx.bind_range(offsets, images(offsets, &batch(&run)))?,
                cx.bind_range(y, target.clone())?,
            ];
            let params = place::PlacePatchesParams {
                patches_first: slices[0].first,
                offsets_first: slices[1].first,
                y_first: slices[2].first,
                count: target.len() as u32,
                first_line: (run.start % lines_of_image) as u32,
                patches: patches.dims[1] as u32,
                channels: channels as u32,
                height: height as u32,
                width: width as u32,
                patch_height: patches.dims[3] as u32,
                patch_width: patches.dims[4] as u32,
            };
            cx.launch(&place::F32, &[], &params, &slices, cx.groups(target.len().div_ceil(THREADS))?)?;
        }
        Ok(())
    }
}
