//! Softmax and its logarithm along an axis.
//!
//! `softmax(x)[i] = exp(x[i] − m) / Σⱼ exp(x[j] − m)` and `log_softmax(x)[i] = x[i] − m − log Σⱼ exp(x[j] − m)` with `m` the
//! largest element along the axis. A row without a finite or NaN-free maximum gives NaN: all −∞, a +∞, a NaN.

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
    DType, Dims,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{check_dtypes, scale},
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;

/// Defines an operation on rows along an axis and its gradient.
macro_rules! along_axis {
    ($($op:ident $name:literal $spec:ident $doc:literal; $grad:ident $grad_name:literal $grad_spec:ident $grad_doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug)]
        pub struct $op {
            /// The axis.
            pub axis: usize,
        }

        impl Op for $op {
            const NAME: &'static str = $name;
            crate::arms!(cpu, wgpu, cuda);

            fn infer(&self, ins: &[Meta]) -> Result<Metas> {
                check_dtypes(Self::NAME, ins, &[DType::F32])?;
                check_axis(Self::NAME, self.axis, ins[0].dims)?;
                Ok(smallvec![ins[0]])
            }

            fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
                spec::$spec(self.axis, &ins[0], &mut outs[0]);
            }
        }

        #[doc = $grad_doc]
        #[derive(Clone, Copy, Debug)]
        pub struct $grad {
            /// The axis.
            pub axis: usize,
        }

        impl Op for $grad {
            const NAME: &'static str = $grad_name;
            crate::arms!(cpu, wgpu, cuda);

            fn infer(&self, ins: &[Meta]) -> Result<Metas> {
                check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
                check_axis(Self::NAME, self.axis, ins[0].dims)?;
                if ins[0].dims != ins[1].dims {
                    let what = format!("dy has shape {}, y has {}", ins[0].dims, ins[1].dims);
                    return Err(Error::shape(Self::NAME, what));
                }
                Ok(smallvec![ins[0]])
            }

            fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
                spec::$grad_spec(self.axis, &ins[0], &ins[1], &mut outs[0]);
            }
        }
    )*};
}
along_axis! {
    Softmax "softmax" softmax "`y = softmax(x)` along an axis, f32.";
    SoftmaxGrad "softmax_grad" softmax_grad "`dx = y (dy − Σ dy y)` along an axis, from dy and y of one shape, f32.";
    LogSoftmax "log_softmax" log_softmax "`y = log softmax(x)` along an axis, f32.";
    LogSoftmaxGrad "log_softmax_grad" log_softmax_grad "`dx = dy − exp(y) Σ dy` along an axis, from dy and y of one shape, f32.";
}

fn check_axis(op: &'static str, axis: usize, dims: Dims) -> Result<()> {
    if axis >= dims.rank() {
        return Err(Error::argument(op, format!("axis {axis} of a tensor of shape {dims}")));
    }
    Ok(())
}

/// Softmax along `axis` (negative counts from the end): f32 of any shape with at least one axis.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1000.0_f32, 1000.0, f32::NEG_INFINITY], [1, 3], &Device::Cpu)?;
/// assert_eq!(ops::softmax(&x, -1)?.to_vec::<f32>()?, [0.5, 0.5, 0.0]);
/// # Ok(()) }
/// ```
pub fn softmax(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = x.dims().axis(Softmax::NAME, axis)?;
    apply1(&Softmax { axis }, &[x], |save| grad::SoftmaxRecord { axis, y: save.output(0) })
}

/// Logarithm of the softmax along `axis` (negative counts from the end): f32 of any shape with at least one axis.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[-500.0_f32, 500.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::log_softmax(&x, 0)?.to_vec::<f32>()?, [-1000.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn log_softmax(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = x.dims().axis(LogSoftmax::NAME, axis)?;
    apply1(&LogSoftmax { axis }, &[x], |save| grad::LogSoftmaxRecord { axis, y: save.output(0) })
}

/// Softmax mixed with the uniform distribution, `(1 − s) softmax(x) + s / K` for the `K` elements along `axis`: no
/// probability falls below `s / K`. `smoothing` is `s`, in 0..=1. Attention sampling draws from such a map (Katharopoulos
/// and Fleuret, "Processing megapixel images with deep attention-sampling models", ICML 2019; their implementation).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.0_f32, f32::NEG_INFINITY], [2], &Device::Cpu)?;
/// assert_eq!(ops::softmax_smoothed(&x, 0, 0.5)?.to_vec::<f32>()?, [0.75, 0.25]);
/// # Ok(()) }
/// ```
pub fn softmax_smoothed(x: &Tensor, axis: isize, smoothing: f64) -> Result<Tensor> {
    const OP: &str = "softmax_smoothed";
    let at = x.dims().axis(OP, axis)?;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::argument(OP, format!("smoothing {smoothing} must be in 0..=1")));
    }
    let y = softmax(x, axis)?;
    if smoothing == 0.0 {
        return Ok(y);
    }
    scale(&y, 1.0 - smoothing, smoothing / x.dims()[at].max(1) as f64)
}
