//! Cutting patches out of an image at given places, and the adjoint that puts them back.
//!
//! `y[b, k, c, i, j] = x[b, c, offsets[b, k, 0] + i, offsets[b, k, 1] + j]`, and 0 where that lies outside the image
//! (attention sampling: Katharopoulos and Fleuret, ICML 2019). Offsets may be negative or beyond the border.
//!
//! [`Corners`] turns positions of an attention map over a small view into offsets in the large image.

mod corners;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use corners::Corners;

use crate::{
    DType,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    spec::{In, Out, Real},
    tape::{Save, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// x (B, C, H, W), f32 or u8, and offsets (B, K, 2), i32, to (B, K, C, ph, pw).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtractPatches {
    /// Height and width of a patch.
    pub patch: [usize; 2],
}

impl Op for ExtractPatches {
    const NAME: &'static str = "extract_patches";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let dtype = if ins.first().is_some_and(|x| x.dtype == DType::U8) { DType::U8 } else { DType::F32 };
        check_dtypes(Self::NAME, ins, &[dtype, DType::I32])?;
        let [b, c, _, _] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let k = check_offsets(Self::NAME, &ins[1], b)?;
        check_sizes(Self::NAME, "patch", self.patch)?;
        Ok(smallvec![Meta::new([b, k, c, self.patch[0], self.patch[1]], dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::extract(&ins[0], &ins[1], &mut outs[0]);
    }
}

/// The adjoint of [`ExtractPatches`]: patches (B, K, C, ph, pw), f32, and offsets (B, K, 2), i32, to an image (B, C, H, W),
/// where each pixel has the sum of what the patches say about it, in their order; what lies outside is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacePatches {
    /// Height and width of the image.
    pub image: [usize; 2],
}

impl Op for PlacePatches {
    const NAME: &'static str = "place_patches";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32, DType::I32])?;
        let [b, patches, c, _, _] = axes(Self::NAME, "the patches", &ins[0], "(B, K, C, ph, pw)")?;
        let k = check_offsets(Self::NAME, &ins[1], b)?;
        check_sizes(Self::NAME, "image", self.image)?;
        if k != patches {
            return Err(Error::shape(Self::NAME, format!("{patches} patches and {k} offsets per image")));
        }
        Ok(smallvec![Meta::f32([b, c, self.image[0], self.image[1]])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::place(&ins[0], &ins[1], &mut outs[0]);
    }
}

/// K of offsets (B, K, 2).
fn check_offsets(op: &'static str, offsets: &Meta, batch: usize) -> Result<usize> {
    let [b, k, two] = axes(op, "offsets", offsets, "(B, K, 2)")?;
    if b != batch || two != 2 {
        let what = format!(
            "offsets of shape {} for a batch of {batch}: must be (B, K, 2), row and column",
            offsets.dims
        );
        return Err(Error::shape(op, what));
    }
    Ok(k)
}

/// Sizes that 32-bit offsets can be compared with.
fn check_sizes(op: &'static str, what: &str, sizes: [usize; 2]) -> Result<()> {
    if sizes.iter().any(|&size| size == 0 || i32::try_from(size).is_err()) {
        let what = format!("{what} {sizes:?}: sizes must be 1 to {}", i32::MAX);
        return Err(Error::argument(op, what));
    }
    Ok(())
}

/// Patches (B, K, C, ph, pw) of images `x (B, C, H, W)`, f32 or u8, whose top left corners (row, column) are `offsets
/// (B, K, 2)`, i32, in pixels. Patches may lie partly or wholly outside the image, which counts as 0 there.
/// Gradient of `x`: [`place_patches`]; offsets have none.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let image = Tensor::from_slice(&[1_u8, 2, 3, 4, 5, 6], [1, 1, 2, 3], &Device::Cpu)?;
/// let offsets = Tensor::from_slice(&[0, 1, -1, 0], [1, 2, 2], &Device::Cpu)?;
/// let patches = ops::extract_patches(&image, &offsets, [2, 2])?;
/// assert_eq!(patches.to_vec::<u8>()?, [2, 3, 5, 6, 0, 0, 1, 2]);
/// # Ok(()) }
/// ```
pub fn extract_patches(x: &Tensor, offsets: &Tensor, patch: [usize; 2]) -> Result<Tensor> {
    apply1(&ExtractPatches { patch }, &[x, offsets], |save: &Save| grad::ExtractGrad {
        image: [x.dims()[2], x.dims()[3]],
        offsets: save.input(1),
    })
}

/// An image (B, C, H, W) of size `image` with `patches (B, K, C, ph, pw)`, f32, added where their corners `offsets
/// (B, K, 2)`, i32, say: the adjoint of [`extract_patches`], which is its gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let patches = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [1, 2, 1, 1, 2], &Device::Cpu)?;
/// let offsets = Tensor::from_slice(&[0, 0, 0, 1], [1, 2, 2], &Device::Cpu)?;
/// let image = ops::place_patches(&patches, &offsets, [1, 3])?;
/// assert_eq!(image.to_vec::<f32>()?, [1.0, 5.0, 4.0]);
/// # Ok(()) }
/// ```
pub fn place_patches(patches: &Tensor, offsets: &Tensor, image: [usize; 2]) -> Result<Tensor> {
    apply1(&PlacePatches { image }, &[patches, offsets], |save: &Save| grad::PlaceGrad {
        patch: [patches.dims()[3], patches.dims()[4]],
        offsets: save.input(1),
    })
}
