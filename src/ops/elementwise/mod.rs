//! Operations on each element by itself, and on pairs of elements with broadcasting.

mod binary;
#[cfg(feature = "cuda")]
mod cuda;
mod scale;
#[cfg(test)]
mod tests;
mod unary;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use binary::{Add, AddRelu, Binary, Div, Kind, Mul, Sub, add, add_relu, div, mul, sub};
pub(crate) use binary::{broadcast, common_row, in_parallel, source, still};
pub use scale::{Scale, neg, scale};
pub(crate) use unary::relu_f32;
pub use unary::{
    Exp, Function, Log, Relu, Sigmoid, Sqrt, Square, Swish, Tanh, Unary, UnaryGrad, exp, log, relu, sigmoid,
    sqrt, square, swish, tanh,
};

use crate::{
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

/// A tensor of the same shape, precision and device, filled with one value.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::zeros([2, 3], &Device::Cpu)?;
/// assert_eq!(ops::full_like(&x, 0.5)?.to_vec::<f32>()?, [0.5; 6]);
/// # Ok(()) }
/// ```
pub fn full_like(x: &Tensor, value: f64) -> Result<Tensor> {
    match x.dtype() {
        DType::F64 => Tensor::full(value, x.dims(), &x.device()),
        DType::F32 => Tensor::full(value as f32, x.dims(), &x.device()),
        DType::F16 => Tensor::full(half::f16::from_f64(value), x.dims(), &x.device()),
        other => Err(Error::dtype("full_like", format!("takes f32 or f16, got {other}"))),
    }
}
