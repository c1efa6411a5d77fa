//! Cutting an image into a grid of patches, and the adjoint that adds patches back into an image.
//!
//! `y[b, n, c, i, j] = x[b, c, r·sh + i, q·sw + j]` where `n = r·columns + q`: patches in row-major order of a grid with
//! `rows = (H − ph) / sh + 1` and `columns = (W − pw) / sw + 1`; remainders at the right and bottom edge are dropped.

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
    ops::{axes, check_dtypes},
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;

/// Where the patches of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Height and width of a patch, in pixels.
    pub patch: [usize; 2],
    /// Vertical and horizontal distance of neighbouring patches, in pixels.
    pub stride: [usize; 2],
    /// Rows and columns of patches.
    pub counts: [usize; 2],
}

impl Grid {
    /// The grid over an image of `height` by `width` pixels.
    pub fn new(op: &'static str, image: [usize; 2], patch: [usize; 2], stride: [usize; 2]) -> Result<Self> {
        if patch.contains(&0) || stride.contains(&0) {
            let what = format!("patch {patch:?} and stride {stride:?} must be at least 1");
            return Err(Error::argument(op, what));
        }
        if patch[0] > image[0] || patch[1] > image[1] {
            return Err(Error::shape(op, format!("patch {patch:?} does not fit in an image of {image:?}")));
        }
        let counts = [0, 1].map(|a| (image[a] - patch[a]) / stride[a] + 1);
        Ok(Grid { patch, stride, counts })
    }

    /// Number of patches.
    pub fn patches(&self) -> usize {
        self.counts[0] * self.counts[1]
    }
}

/// Image to patches.
#[derive(Clone, Debug)]
pub struct Unfold {
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
}

impl Op for Unfold {
    const NAME: &'static str = "unfold";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let dtype = ins.first().map_or(DType::F32, |x| x.dtype);
        check_dtypes(Self::NAME, ins, &[if dtype == DType::U8 { DType::U8 } else { DType::F32 }])?;
        let [b, c, h, w] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let grid = Grid::new(Self::NAME, [h, w], self.patch, self.stride)?;
        Ok(smallvec![Meta::new([b, grid.patches(), c, self.patch[0], self.patch[1]], dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::unfold(self, &ins[0], &mut outs[0]);
    }
}

/// Patches to image: the adjoint of [`Unfold`]. Pixels covered by several patches get their sum, in patch order; pixels
/// covered by none are zero.
#[derive(Clone, Debug)]
pub struct Fold {
    /// Height and width of the image.
    pub image: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
}

impl Op for Fold {
    const NAME: &'static str = "fold";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let [b, n, c, ph, pw] = axes(Self::NAME, "the patches", &ins[0], "(B, N, C, ph, pw)")?;
        let grid = Grid::new(Self::NAME, self.image, [ph, pw], self.stride)?;
        if grid.patches() != n {
            let what = format!(
                "{n} patches of {ph} by {pw}, but an image of {:?} at stride {:?} has {}",
                self.image,
                self.stride,
                grid.patches()
            );
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32([b, c, self.image[0], self.image[1]])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::fold(self, &ins[0], &mut outs[0]);
    }
}

/// Patches of an image in row-major grid order: `x (B, C, H, W)`, f32 or u8, to `(B, N, C, ph, pw)` of the same dtype.
///
/// Patches that a network only looks at need not be made: selection reads them from the image
/// (see [`Grid`]). Gradient: [`fold`].
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let pixels: Vec<f32> = (0..12).map(|v| v as f32).collect();
/// let image = Tensor::from_slice(&pixels, [1, 1, 3, 4], &Device::Cpu)?;
/// let patches = ops::unfold(&image, [2, 2], [1, 2])?;
/// assert_eq!(*patches.dims(), [1, 4, 1, 2, 2]);
/// assert_eq!(patches.to_vec::<f32>()?[4..8], [2.0, 3.0, 6.0, 7.0]);
/// # Ok(()) }
/// ```
pub fn unfold(x: &Tensor, patch: [usize; 2], stride: [usize; 2]) -> Result<Tensor> {
    let image = |x: &Tensor| [x.dims()[2], x.dims()[3]];
    apply1(&Unfold { patch, stride }, &[x], |_| grad::UnfoldGrad { image: image(x), stride })
}

/// Adds patches `(B, N, C, ph, pw)` back into an image `(B, C, H, W)`: the adjoint of [`unfold`]. Gradient: [`unfold`].
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let ones = Tensor::full(1.0_f32, [1, 2, 1, 2, 2], &Device::Cpu)?;
/// let covered = ops::fold(&ones, [2, 3], [1, 1])?;
/// assert_eq!(covered.to_vec::<f32>()?, [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]);
/// # Ok(()) }
/// ```
pub fn fold(x: &Tensor, image: [usize; 2], stride: [usize; 2]) -> Result<Tensor> {
    let patch = |x: &Tensor| [x.dims()[3], x.dims()[4]];
    apply1(&Fold { image, stride }, &[x], |_| grad::FoldGrad { patch: patch(x), stride })
}
