//! One-dimensional convolution and padding of images, composed of other operations.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    ops::{Conv2d, conv2d, narrow, pad, reshape},
    tensor::Tensor,
};

/// The geometry of a one-dimensional convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// Distance of neighbouring outputs.
    pub stride: usize,
    /// Zeros before and after the sequence.
    pub padding: [usize; 2],
    /// Groups of channels that do not mix; 1 for an ordinary convolution, the number of channels for a depthwise one.
    pub groups: usize,
}

/// Convolution of sequences `x (B, C, L)` with `weight (O, C / groups, k)`, plus `bias (O)` if given, to (B, O, l):
/// `y[b, o, i] = bias[o] + Σ over c, j of x[b, c, i·stride + j − padding[0]] · weight[o, c, j]`. All gradients.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::Conv1d};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [1, 1, 4], &Device::Cpu)?;
/// let weight = Tensor::from_slice(&[1.0_f32, 0.0, -1.0], [1, 1, 3], &Device::Cpu)?;
/// let y = ops::conv1d(&x, &weight, None, Conv1d { stride: 1, padding: [1, 0], groups: 1 })?;
/// assert_eq!(y.to_vec::<f32>()?, [-2.0, -2.0, -2.0]);
/// # Ok(()) }
/// ```
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv1d) -> Result<Tensor> {
    let ([b, c, length], [out, per_group, k]) = (three("the sequence", x)?, three("the weight", weight)?);
    let conv = Conv2d {
        stride: [1, conv.stride],
        padding: [0, 0, conv.padding[0], conv.padding[1]],
        groups: conv.groups,
        ..Conv2d::new(1, 0)
    };
    let y = conv2d(&reshape(x, [b, c, 1, length])?, &reshape(weight, [out, per_group, 1, k])?, bias, conv)?;
    reshape(&y, [b, out, y.dims()[3]])
}

fn three(what: &str, t: &Tensor) -> Result<[usize; 3]> {
    let wrong = |_| Error::shape("conv1d", format!("{what} has shape {}, must have three axes", t.dims()));
    <[usize; 3]>::try_from(&*t.dims()).map_err(wrong)
}

/// Images `x (B, C, H, W)`, f32, with zeros around: `[top, bottom, left, right]` rows and columns of them. Gradient:
/// [`crop2d`].
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::full(1.0_f32, [1, 1, 1, 2], &Device::Cpu)?;
/// let y = ops::pad2d(&x, [1, 0, 0, 2])?;
/// assert_eq!(*y.dims(), [1, 1, 2, 4]);
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn pad2d(x: &Tensor, [top, bottom, left, right]: [usize; 4]) -> Result<Tensor> {
    let [_, _, h, w] = four("pad2d", x)?;
    let size = |parts: [usize; 3]| {
        let whole = parts.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
        whole.ok_or_else(|| {
            Error::argument("pad2d", format!("padding {parts:?} has no size that fits in memory"))
        })
    };
    let (height, width) = (size([top, h, bottom])?, size([left, w, right])?);
    pad(&pad(x, 2, top, height)?, 3, left, width)
}

/// Images `x (B, C, H, W)` without `[top, bottom, left, right]` rows and columns at their borders: undoes [`pad2d`], which
/// is its gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
/// assert_eq!(ops::crop2d(&x, [1, 0, 0, 1])?.to_vec::<f32>()?, [3.0]);
/// # Ok(()) }
/// ```
pub fn crop2d(x: &Tensor, [top, bottom, left, right]: [usize; 4]) -> Result<Tensor> {
    let [_, _, h, w] = four("crop2d", x)?;
    let rest = |before: usize, size: usize, after: usize| {
        let end = size.checked_sub(after).filter(|&end| end >= before);
        end.ok_or_else(|| {
            Error::argument("crop2d", format!("{before} and {after} pixels off a side of {size}"))
        })
    };
    let (rows, columns) = (top..rest(top, h, bottom)?, left..rest(left, w, right)?);
    narrow(&narrow(x, 2, rows)?, 3, columns)
}

fn four(op: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(&*x.dims())
        .map_err(|_| Error::shape(op, format!("the image has shape {}, must be (B, C, H, W)", x.dims())))
}
