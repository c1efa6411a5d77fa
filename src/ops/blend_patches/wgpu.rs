//! Blended patches and their gradients through wgpu. Batches larger than a binding are cut into runs of images.

use super::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    Dims,
    error::Result,
    ops::unfold::Grid,
    wgpu::{Cx, In, Kernel, Out, View},
};
use std::ops::Range;

const THREADS: usize = 64;

mod kernels {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct BlendPatchesParams {
            x_first: u32, weights_first: u32, dy_first: u32, y_first: u32, count: u32, patches: u32, windows: u32,
            columns: u32, rows: u32, channels: u32, height: u32, width: u32, patch_height: u32, patch_width: u32,
            stride_height: u32, stride_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "blend_patches", texts: ["common/grid", "blend_patches/blend_patches"], params: BlendPatchesParams,
        tuning: [HIT],
        FORWARD = "blend_patches_f32", tried with [[0]];
        GRAD_WEIGHTS = "blend_patches_grad_weights_f32", tried with [[0], [1]];
        GRAD_IMAGE = "blend_patches_grad_image_f32", tried with [[0]];
    }
}
use kernels::BlendPatchesParams;

/// Which operand a kernel's binding is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Weights,
    Dy,
    Result,
}

/// The elements of some images of a batch.
fn images(view: &View, run: &Range<usize>) -> Range<usize> {
    let image: usize = view.dims[1..].iter().product();
    run.start * image..run.end * image
}

/// Launches a kernel whose bindings are these views, the result last, for runs of images; `per_group` elements of the
/// result are the work of a group.
fn launch(
    cx: &Cx,
    kernel: &Kernel<BlendPatchesParams>,
    (hit, per_group): (bool, usize),
    (grid, image, k): (&Grid, Dims, usize),
    views: [(Role, &View); 3],
    more: Option<(Role, &View)>,
) -> Result<()> {
    let all: smallvec::SmallVec<[(Role, &View); 4]> = views.into_iter().chain(more).collect();
    let (_, y) = all[all.len() - 1];
    if y.dims.elements() == 0 {
        return Ok(());
    }
    let largest =
        |run: &Range<usize>| [0, 1, 2, all.len() - 1].map(|at: usize| (*all[at].1, images(all[at].1, run)));
    for run in cx.cut(y.dims[0], largest)? {
        let mut params = BlendPatchesParams {
            count: images(y, &run).len() as u32,
            patches: k as u32,
            windows: grid.patches() as u32,
            columns: grid.counts[1] as u32,
            rows: grid.counts[0] as u32,
            channels: image[1] as u32,
            height: image[2] as u32,
            width: image[3] as u32,
            patch_height: grid.patch[0] as u32,
            patch_width: grid.patch[1] as u32,
            stride_height: grid.stride[0] as u32,
            stride_width: grid.stride[1] as u32,
            ..Default::default()
        };
        let mut slices: smallvec::SmallVec<[crate::wgpu::Slice; 4]> = smallvec::SmallVec::new();
        for (role, view) in &all {
            let slice = cx.bind_range(view, images(view, &run))?;
            let first = match role {
                Role::Image => &mut params.x_first,
                Role::Weights => &mut params.weights_first,
                Role::Dy => &mut params.dy_first,
                Role::Result => &mut params.y_first,
            };
            *first = slice.first;
            slices.push(slice);
        }
        let groups = cx.groups((params.count as usize).div_ceil(per_group))?;
        cx.launch(kernel, &[hit.into()], &params, &slices, groups)?;
    }
    Ok(())
}

impl BlendPatches {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, weights, y) = (&ins[0], &ins[1], &outs[0]);
        let views = [(Role::Image, x), (Role::Weights, weights), (Role::Result, y)];
        let work = (&self.grid, x.dims, weights.dims[1]);
        launch(cx, &kernels::FORWARD, (false, THREADS), work, views, None)
    }
}

impl BlendPatchesGradIndicators {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, weights, dy) = (&ins[0], &ins[1], &ins[2]);
        let views = [(Role::Image, x), (Role::Weights, weights), (Role::Dy, dy)];
        let hit = self.gradient == IndicatorGradient::Hit;
        let work = (&self.grid, x.dims, weights.dims[1]);
        launch(cx, &kernels::GRAD_WEIGHTS, (hit, 1), work, views, Some((Role::Result, &outs[0])))
    }
}

impl BlendPatchesGradImage {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (weights, dy, dx) = (&ins[0], &ins[1], &outs[0]);
        let views = [(Role::Weights, weights), (Role::Dy, dy), (Role::Result, dx)];
        let work = (&self.grid, dx.dims, weights.dims[1]);
        launch(cx, &kernels::GRAD_IMAGE, (false, THREADS), work, views, None)
    }
}
