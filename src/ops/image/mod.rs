//! Bytes of an image to floats: `y = (x / 255 − mean) / deviation`, per channel.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, Tensor,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
};
use smallvec::{SmallVec, smallvec};

/// u8 (…, C, H, W) to f32 of the same shape, `x · scale + shift` with a scale and shift per channel, or one for all.
#[derive(Clone, Debug)]
pub struct NormalizeImage {
    /// Per channel, or one for all: 1 / (255 · deviation).
    pub scale: SmallVec<[f64; 4]>,
    /// Per channel, or one for all: −mean / deviation.
    pub shift: SmallVec<[f64; 4]>,
}

impl NormalizeImage {
    /// Channels and pixels per channel of one image of shape `dims`; a single constant serves all as one channel.
    fn planes(&self, dims: &[usize]) -> [usize; 2] {
        match dims {
            [.., c, h, w] if self.scale.len() > 1 => [*c, h * w],
            _ => [1, dims.iter().product::<usize>().max(1)],
        }
    }
}

impl Op for NormalizeImage {
    const NAME: &'static str = "normalize_image";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::U8])?;
        let [channels, _] = self.planes(&ins[0].dims);
        if self.scale.is_empty() || self.scale.len() != self.shift.len() || channels != self.scale.len() {
            let what = format!(
                "{} means and deviations for an image of shape {}: one for each channel of (…, C, H, W), or one for all",
                self.scale.len(),
                ins[0].dims
            );
            return Err(Error::shape(Self::NAME, what));
        }
        if self.scale.iter().chain(&self.shift).any(|v| !v.is_finite()) {
            return Err(Error::argument(Self::NAME, "means must be finite and deviations not zero"));
        }
        Ok(smallvec![Meta::f32(ins[0].dims)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::normalize(self, &ins[0], &mut outs[0]);
    }
}

/// Bytes (…, C, H, W) to `(x / 255 − mean) / deviation`, f32 of the same shape, with a mean and deviation per channel.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let image = Tensor::from_slice(&[0_u8, 255], [2, 1, 1], &Device::Cpu)?;
/// let y = ops::normalize_image(&image, &[0.5, 0.0], &[0.5, 2.0])?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 0.5]);
/// # Ok(()) }
/// ```
pub fn normalize_image(x: &Tensor, mean: &[f64], deviation: &[f64]) -> Result<Tensor> {
    if mean.len() != deviation.len() {
        let what = format!("{} means and {} deviations", mean.len(), deviation.len());
        return Err(Error::argument(NormalizeImage::NAME, what));
    }
    let scale = deviation.iter().map(|d| 1.0 / (255.0 * d)).collect();
    let shift = mean.iter().zip(deviation).map(|(m, d)| -m / d).collect();
    run1(&NormalizeImage { scale, shift }, &[x])
}

/// Bytes to f32 between 0 and 1: `x / 255`.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let image = Tensor::from_slice(&[0_u8, 51, 255], [3], &Device::Cpu)?;
/// assert_eq!(ops::to_unit(&image)?.to_vec::<f32>()?, [0.0, 0.2, 1.0]);
/// # Ok(()) }
/// ```
pub fn to_unit(x: &Tensor) -> Result<Tensor> {
    run1(&NormalizeImage { scale: smallvec![1.0 / 255.0], shift: smallvec![0.0] }, &[x])
}
