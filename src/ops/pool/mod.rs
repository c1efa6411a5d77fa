//! Pooling over the pixels of each channel: maxima of windows, the maximum of all pixels, the mean of all pixels.
//!
//! `y[b, c, r, q] = max over i, j of x[b, c, r·sh + i − pv, q·sw + j − ph]`; padding counts as −∞. A tie goes to the pixel
//! that comes first in scan order, and so does the gradient; a NaN is the maximum of its window.

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
    DType, Tensor,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{self, axes, check_dtypes},
    spec::{In, Out, Real},
    tape::apply,
};
use smallvec::smallvec;

/// Maxima of windows. Operand: x (B, C, H, W). Results: y (B, C, h, w), and u8 codes of the same shape that tell which
/// position `i · kw + j` of its window each maximum has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding above and below, and left and right; at most half a window, so that no window is all padding.
    pub padding: [usize; 2],
}

impl MaxPool2d {
    /// Rows and columns of the result.
    fn output(&self, op: &'static str, image: [usize; 2]) -> Result<[usize; 2]> {
        let wrong = |axis: usize| {
            self.kernel[axis] == 0
                || self.stride[axis] == 0
                || self.padding[axis] > self.kernel[axis] / 2
                || image[axis] == 0
                || image[axis].saturating_add(2 * self.padding[axis]) < self.kernel[axis]
        };
        if wrong(0) || wrong(1) {
            let what = format!(
                "{self:?} over {image:?} pixels: kernel and stride must be at least 1, padding at most half the kernel, \
                 and a window must fit"
            );
            return Err(Error::argument(op, what));
        }
        if self.kernel[0].saturating_mul(self.kernel[1]) > 256 {
            let what = format!(
                "windows of {:?} have more than 256 positions: pool twice, or use global_max_pool",
                self.kernel
            );
            return Err(Error::argument(op, what));
        }
        Ok([0, 1].map(|a| (image[a] + 2 * self.padding[a] - self.kernel[a]) / self.stride[a] + 1))
    }
}

impl Op for MaxPool2d {
    const NAME: &'static str = "max_pool2d";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let [b, c, h, w] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let [oh, ow] = self.output(Self::NAME, [h, w])?;
        Ok(smallvec![Meta::f32([b, c, oh, ow]), Meta::new([b, c, oh, ow], DType::U8)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(self, &ins[0], outs);
    }
}

/// Gradient of [`MaxPool2d`]: operands dy (B, C, h, w) and the codes, result (B, C, H, W).
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2dGrad {
    /// The pooling.
    pub pool: MaxPool2d,
    /// Height and width of the image.
    pub image: [usize; 2],
}

impl Op for MaxPool2dGrad {
    const NAME: &'static str = "max_pool2d_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32, DType::U8])?;
        let [b, c, oh, ow] = axes(Self::NAME, "dy", &ins[0], "(B, C, h, w)")?;
        if ins[1].dims != ins[0].dims || self.pool.output(Self::NAME, self.image)? != [oh, ow] {
            let what = format!(
                "dy {}, codes {}, image {:?}: they do not belong together",
                ins[0].dims, ins[1].dims, self.image
            );
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32([b, c, self.image[0], self.image[1]])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad(self, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// Maxima of windows of `x (B, C, H, W)`, to (B, C, h, w).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 5.0, 2.0, 3.0], [1, 1, 2, 2], &Device::Cpu)?;
/// assert_eq!(ops::max_pool2d(&x, [2, 2], [2, 2], [0, 0])?.to_vec::<f32>()?, [5.0]);
/// # Ok(()) }
/// ```
pub fn max_pool2d(x: &Tensor, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Tensor> {
    let pool = MaxPool2d { kernel, stride, padding };
    let outs = apply(&pool, &[x], |save| grad::MaxPoolGrad {
        op: MaxPool2dGrad { pool, image: [x.dims()[2], x.dims()[3]] },
        codes: save.output(1),
    })?;
    outs.into_iter().next().ok_or_else(|| Error::shape(MaxPool2d::NAME, "the operation has no result"))
}

/// Mean over the pixels of each channel: x (B, C, H, W) to (B, C).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 5.0, 2.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
/// assert_eq!(ops::global_avg_pool(&x)?.to_vec::<f32>()?, [3.0]);
/// # Ok(()) }
/// ```
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let _: [usize; 4] =
        axes("global_avg_pool", "the image", &Meta::new(x.dims(), x.dtype()), "(B, C, H, W)")?;
    ops::mean(x, &[2, 3])
}

/// Maximum over the pixels of each channel: x (B, C, H, W) to (B, C).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 5.0, 2.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
/// assert_eq!(ops::global_max_pool(&x)?.to_vec::<f32>()?, [5.0]);
/// # Ok(()) }
/// ```
pub fn global_max_pool(x: &Tensor) -> Result<Tensor> {
    let _: [usize; 4] =
        axes("global_max_pool", "the image", &Meta::new(x.dims(), x.dtype()), "(B, C, H, W)")?;
    ops::max(x, &[2, 3])
}

/// How the pixels of a feature map become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GlobalPool {
    /// Their mean, as in the published encoders.
    #[default]
    Mean,
    /// Their maximum, which learns faster where a small object fills a small part of its patch.
    Max,
}

/// [`global_avg_pool`] or [`global_max_pool`]: x (B, C, H, W) to (B, C).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 5.0, 2.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
/// assert_eq!(ops::global_pool(&x, ops::GlobalPool::Max)?.to_vec::<f32>()?, [5.0]);
/// # Ok(()) }
/// ```
pub fn global_pool(x: &Tensor, pool: GlobalPool) -> Result<Tensor> {
    match pool {
        GlobalPool::Mean => global_avg_pool(x),
        GlobalPool::Max => global_max_pool(x),
    }
}
