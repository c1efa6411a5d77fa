//! Images of another size: `y[b, c, i, j] = Σ_r Σ_q u[i, r] v[j, q] x[b, c, r, q]`, with weights for each axis on its own.
//!
//! [`ResizeMode::Area`]: output i is the mean of inputs `⌊i·H/h⌋ .. ⌈(i+1)·H/h⌉` (PyTorch's adaptive average pooling).
//! [`ResizeMode::Bilinear`]: output i samples the input at `(i + ½)·H/h − ½`, moved into the image, between its two
//! neighbours: half-pixel centres, no antialiasing (PyTorch's `align_corners=False`, OpenCV's `INTER_LINEAR`).

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
use smallvec::{SmallVec, smallvec};

/// How pixels of another size are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeMode {
    /// Means over the area that an output pixel covers.
    Area,
    /// Linear interpolation between the nearest pixels, on both axes.
    Bilinear,
}

impl ResizeMode {
    /// The first input that output `i` of `small` reads on an axis of `large` inputs, and the weights from there on.
    pub(crate) fn taps(self, i: usize, small: usize, large: usize) -> (usize, SmallVec<[f64; 2]>) {
        match self {
            ResizeMode::Area => {
                let (start, end) = (i * large / small, ((i + 1) * large).div_ceil(small));
                (start, smallvec![1.0 / (end - start) as f64; end - start])
            }
            ResizeMode::Bilinear => {
                let at = ((i as f64 + 0.5) * large as f64 / small as f64 - 0.5).max(0.0);
                let first = (at as usize).min(large - 1);
                let part = at - first as f64;
                match first + 1 < large {
                    true => (first, smallvec![1.0 - part, part]),
                    false => (first, smallvec![1.0]),
                }
            }
        }
    }
}

/// x (B, C, H, W) to (B, C, h, w), f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Height and width of the result.
    pub size: [usize; 2],
    /// How.
    pub mode: ResizeMode,
}

impl Op for Resize {
    const NAME: &'static str = "resize";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        resized(Self::NAME, ins, self.size)
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let x = &ins[0];
        spec::each_product(self.mode, x.dims, outs[0].dims, |from, to, weight: T| {
            outs[0][to] += weight * x[from]
        });
    }
}

/// The adjoint of [`Resize`]: dy (B, C, h, w) to (B, C, H, W), f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeGrad {
    /// Height and width of the image that was resized.
    pub image: [usize; 2],
    /// How it was.
    pub mode: ResizeMode,
}

impl Op for ResizeGrad {
    const NAME: &'static str = "resize_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        resized(Self::NAME, ins, self.image)
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let dy = &ins[0];
        spec::each_product(self.mode, outs[0].dims, dy.dims, |to, from, weight: T| {
            outs[0][to] += weight * dy[from]
        });
    }
}

fn resized(op: &'static str, ins: &[Meta], size: [usize; 2]) -> Result<Metas> {
    check_dtypes(op, ins, &[DType::F32])?;
    let [b, c, h, w] = axes(op, "the image", &ins[0], "(B, C, H, W)")?;
    if [h, w, size[0], size[1]].contains(&0) {
        return Err(Error::argument(op, format!("from {h} by {w} to {size:?}: no size may be 0")));
    }
    Ok(smallvec![Meta::f32([b, c, size[0], size[1]])])
}

/// `x (B, C, H, W)`, f32, at another `size` [h, w], larger or smaller: (B, C, h, w). With gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::ResizeMode};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 6.0], [1, 1, 1, 4], &Device::Cpu)?;
/// assert_eq!(ops::resize(&x, [1, 2], ResizeMode::Area)?.to_vec::<f32>()?, [1.5, 4.5]);
/// assert_eq!(ops::resize(&x, [1, 1], ResizeMode::Bilinear)?.to_vec::<f32>()?, [2.5]);
/// # Ok(()) }
/// ```
pub fn resize(x: &Tensor, size: [usize; 2], mode: ResizeMode) -> Result<Tensor> {
    apply1(&Resize { size, mode }, &[x], |_| {
        grad::Back(ResizeGrad { image: [x.dims()[2], x.dims()[3]], mode })
    })
}
