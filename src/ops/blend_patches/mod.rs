//! Patches as weighted sums of windows: how differentiable patch selection (Cordonnier et al., "Differentiable patch
//! selection for image recognition", CVPR 2021) extracts the patches that soft indicators point to.
//!
//! `y[b, k, c, i, j] = Σ_n w[b, k, n] x[b, c, r_n·sh + i, q_n·sw + j]` over the windows of a grid, n = r·columns + q in
//! row-major order. Nearly all indicators are zero; those windows are skipped (so that even a NaN in them adds nothing).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes, unfold::Grid},
    spec::{In, Out, Real},
    tape::{Save, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// For which windows the indicators get a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IndicatorGradient {
    /// All: the derivative.
    #[default]
    Full,
    /// Those whose indicator is not zero, and zero for the others. It is all that the gradient of
    /// [`perturbed_top_k`](fn@crate::ops::perturbed_top_k) reads, and cheaper by the share of zeros.
    Hit,
}

/// Image (B, C, H, W) and indicators (B, K, N) to patches (B, K, C, ph, pw), all f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlendPatches {
    /// The N windows.
    pub grid: Grid,
}

impl Op for BlendPatches {
    const NAME: &'static str = "blend_patches";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        let [b, c, h, w] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let k = check_indicators(Self::NAME, &self.grid, [h, w], &ins[1], b)?;
        Ok(smallvec![Meta::f32([b, k, c, self.grid.patch[0], self.grid.patch[1]])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(&self.grid, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// Gradient of [`BlendPatches`] with respect to the indicators: image (B, C, H, W), indicators (B, K, N) and dy
/// (B, K, C, ph, pw) to (B, K, N).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlendPatchesGradIndicators {
    /// The N windows.
    pub grid: Grid,
    /// For which windows.
    pub gradient: IndicatorGradient,
}

impl Op for BlendPatchesGradIndicators {
    const NAME: &'static str = "blend_patches_grad_indicators";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 3])?;
        let [b, c, h, w] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let k = check_indicators(Self::NAME, &self.grid, [h, w], &ins[1], b)?;
        check_dy(Self::NAME, &ins[2], [b, k, c, self.grid.patch[0], self.grid.patch[1]])?;
        Ok(smallvec![ins[1]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_indicators(self, ins, &mut outs[0]);
    }
}

/// Gradient of [`BlendPatches`] with respect to the image: indicators (B, K, N) and dy (B, K, C, ph, pw) to (B, C, H, W).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlendPatchesGradImage {
    /// The N windows.
    pub grid: Grid,
    /// Height and width of the image.
    pub image: [usize; 2],
}

impl Op for BlendPatchesGradImage {
    const NAME: &'static str = "blend_patches_grad_image";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        let [b, _, c, _, _] = axes(Self::NAME, "dy", &ins[1], "(B, K, C, ph, pw)")?;
        let rows = check_indicators(Self::NAME, &self.grid, self.image, &ins[0], b)?;
        check_dy(Self::NAME, &ins[1], [b, rows, c, self.grid.patch[0], self.grid.patch[1]])?;
        Ok(smallvec![Meta::f32([b, c, self.image[0], self.image[1]])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_image(&self.grid, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// K of indicators (B, K, N) for the windows of a grid that must lie inside the image.
fn check_indicators(
    op: &'static str,
    grid: &Grid,
    image: [usize; 2],
    indicators: &Meta,
    batch: usize,
) -> Result<usize> {
    let possible = Grid::new(op, image, grid.patch, grid.stride)?.counts;
    if grid.counts.contains(&0) {
        return Err(Error::argument(op, format!("{grid:?} has no window")));
    }
    if grid.counts[0] > possible[0] || grid.counts[1] > possible[1] {
        let what = format!("{grid:?} needs a larger image than {image:?}: pad it, see score_grid");
        return Err(Error::shape(op, what));
    }
    let [b, k, n] = axes(op, "indicators", indicators, "(B, K, N)")?;
    if b != batch || n != grid.patches() {
        let what = format!(
            "indicators of shape {}, must be (B, K, N) with a batch of {batch} and {} windows",
            indicators.dims,
            grid.patches()
        );
        return Err(Error::shape(op, what));
    }
    Ok(k)
}

fn check_dy(op: &'static str, dy: &Meta, want: [usize; 5]) -> Result<()> {
    if *dy.dims == want {
        return Ok(());
    }
    Err(Error::shape(op, format!("dy has shape {}, must be {want:?}", dy.dims)))
}

/// Where the windows for a map of scores lie: one window of size `patch` around each of `counts` equal cells of an image,
/// and the zeros `[top, bottom, left, right]` to put around the image first (with [`pad2d`](crate::ops::pad2d)).
///
/// The stride is `image / counts`, rounded down; at the top and left `(patch − stride) / 2` zeros centre the window on its
/// cell; at the bottom and right there are as many as the last window needs, up to `counts · stride + patch − 1` pixels
/// in all. This is the layout of the published code of differentiable patch selection.
///
/// ```
/// # fn main() -> foveate::Result<()> {
/// let (grid, padding) = foveate::ops::score_grid([960, 1280], [39, 52], [100, 100])?;
/// assert_eq!((grid.stride, padding), ([24, 24], [38, 37, 38, 29]));
/// # Ok(()) }
/// ```
pub fn score_grid(image: [usize; 2], counts: [usize; 2], patch: [usize; 2]) -> Result<(Grid, [usize; 4])> {
    let reach = |a: usize| image[a].checked_add(patch[a]).filter(|end| *end <= i32::MAX as usize);
    if [0, 1].iter().any(|&a| counts[a] == 0 || counts[a] > image[a] || patch[a] == 0 || reach(a).is_none()) {
        let what = format!(
            "{counts:?} cells in an image of {image:?} with patches of {patch:?}: each needs a pixel, and sides are \
             below 2^31"
        );
        return Err(Error::argument("score_grid", what));
    }
    let stride = [0, 1].map(|a| image[a] / counts[a]);
    let before = [0, 1].map(|a| patch[a].saturating_sub(stride[a]) / 2);
    let after = [0, 1].map(|a| (counts[a] * stride[a] + patch[a] - 1).saturating_sub(before[a] + image[a]));
    Ok((Grid { patch, stride, counts }, [before[0], after[0], before[1], after[1]]))
}

/// Weighted sums of the windows of a grid: image `x (B, C, H, W)` and `indicators (B, K, N)`, N windows, both f32, to
/// patches (B, K, C, ph, pw). Both get gradients; `gradient` says for which windows the indicators need theirs.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::unfold::Grid};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0], [1, 1, 1, 3], &Device::Cpu)?;
/// let grid = Grid { patch: [1, 2], stride: [1, 1], counts: [1, 2] };
/// let w = Tensor::from_slice(&[0.5_f32, 0.5], [1, 1, 2], &Device::Cpu)?;
/// let y = ops::blend_patches(&x, &w, grid, ops::IndicatorGradient::Full)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.5, 2.5]);
/// # Ok(()) }
/// ```
pub fn blend_patches(
    x: &Tensor,
    indicators: &Tensor,
    grid: Grid,
    gradient: IndicatorGradient,
) -> Result<Tensor> {
    apply1(&BlendPatches { grid }, &[x, indicators], |save: &Save| grad::BlendGrad::new(grid, gradient, save))
}
