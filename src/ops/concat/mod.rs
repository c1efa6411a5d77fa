//! Joining tensors along an axis, cutting a range out of one, and its adjoint, which pads with zeros.

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
    ops::{check_dtypes, float},
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;
use std::ops::Range;

/// The operands one behind the other along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Concat {
    /// The axis along which they are joined.
    pub axis: usize,
}

impl Op for Concat {
    const NAME: &'static str = "concat";
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: one or more, of one dtype and of shapes that differ in the axis alone.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let Some(first) = ins.first() else {
            return Err(Error::argument(Self::NAME, "nothing to join: give at least one tensor"));
        };
        check_axis(Self::NAME, self.axis, first)?;
        let mut size = 0;
        for (at, other) in ins.iter().enumerate() {
            if other.dtype != first.dtype {
                let what = format!("operand {at} is {}, operand 0 is {}", other.dtype, first.dtype);
                return Err(Error::dtype(Self::NAME, what));
            }
            let fits = other.dims.rank() == first.dims.rank()
                && other.dims.without(self.axis) == first.dims.without(self.axis);
            if !fits {
                let what = format!(
                    "operand {at} of shape {} does not continue {} along axis {}: the other axes must agree",
                    other.dims, first.dims, self.axis
                );
                return Err(Error::shape(Self::NAME, what));
            }
            size = other.dims[self.axis].saturating_add(size);
        }
        Ok(smallvec![Meta::new(first.dims.with(self.axis, size), first.dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::concat(self.axis, ins, &mut outs[0]);
    }
}

/// A range of an axis.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// The axis.
    pub axis: usize,
    /// Where the range starts.
    pub start: usize,
    /// How many elements it has.
    pub size: usize,
}

impl Op for Narrow {
    const NAME: &'static str = "narrow";
    crate::arms!(cpu, wgpu, cuda);

    /// Operand: x of any dtype.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[ins.first().map_or(DType::F32, |x| x.dtype)])?;
        check_axis(Self::NAME, self.axis, &ins[0])?;
        let (dims, end) = (ins[0].dims, self.start.saturating_add(self.size));
        if end > dims[self.axis] {
            let what = format!("range {}..{end} of axis {} of shape {dims}", self.start, self.axis);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![Meta::new(dims.with(self.axis, self.size), ins[0].dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::narrow(self, &ins[0], &mut outs[0]);
    }
}

/// Zeros, except that the operand stands in a range of an axis: the adjoint of [`Narrow`].
#[derive(Clone, Copy, Debug)]
pub struct Pad {
    /// The axis.
    pub axis: usize,
    /// Zeros before the operand.
    pub before: usize,
    /// Size of the axis in the result.
    pub size: usize,
}

impl Op for Pad {
    const NAME: &'static str = "pad";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    /// Operand: x, f32 or f16.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins)])?;
        check_axis(Self::NAME, self.axis, &ins[0])?;
        let dims = ins[0].dims;
        if self.before.saturating_add(dims[self.axis]) > self.size {
            let what = format!(
                "axis {} of shape {dims} behind {} zeros does not fit in {}",
                self.axis, self.before, self.size
            );
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![Meta::new(dims.with(self.axis, self.size), ins[0].dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::pad(self, &ins[0], &mut outs[0]);
    }
}

fn check_axis(op: &'static str, axis: usize, meta: &Meta) -> Result<()> {
    if axis < meta.dims.rank() {
        return Ok(());
    }
    Err(Error::argument(op, format!("axis {axis} of shape {}", meta.dims)))
}

/// Tensors one behind the other along `axis` (negative counts from the end). Any dtype, the same for all; the other axes
/// must agree. Gradient: each tensor gets its range.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let a = Tensor::from_slice(&[1.0_f32, 2.0], [2, 1], &Device::Cpu)?;
/// let b = Tensor::from_slice(&[3.0_f32, 4.0, 5.0, 6.0], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::concat(&[&a, &b], 1)?.to_vec::<f32>()?, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// # Ok(()) }
/// ```
pub fn concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let axis = match tensors.first() {
        Some(first) => first.dims().axis(Concat::NAME, axis)?,
        None => 0,
    };
    apply1(&Concat { axis }, tensors, |_| grad::ConcatGrad {
        axis,
        sizes: tensors.iter().map(|t| t.dims()[axis]).collect(),
    })
}

/// The elements `range` of `axis` (negative counts from the end). Any dtype. Ranges of the leading axis cost nothing with
/// [`slice`](crate::ops::slice). Gradient: zeros around.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// assert_eq!(ops::narrow(&x, -1, 1..3)?.to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);
/// # Ok(()) }
/// ```
pub fn narrow(x: &Tensor, axis: isize, range: Range<usize>) -> Result<Tensor> {
    let axis = x.dims().axis(Narrow::NAME, axis)?;
    if range.start > range.end {
        return Err(Error::argument(Narrow::NAME, format!("range {range:?} ends before it starts")));
    }
    let whole = x.dims()[axis];
    let op = Narrow { axis, start: range.start, size: range.len() };
    apply1(&op, &[x], |_| grad::NarrowGrad { back: Pad { axis, before: range.start, size: whole } })
}

/// `x` (f32) with zeros along `axis` (negative counts from the end): `before` of them first, then `x`, then as many as make
/// `size`. Gradient: the range where `x` stands.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0], [1, 2], &Device::Cpu)?;
/// assert_eq!(ops::pad(&x, 1, 1, 4)?.to_vec::<f32>()?, [0.0, 1.0, 2.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn pad(x: &Tensor, axis: isize, before: usize, size: usize) -> Result<Tensor> {
    let axis = x.dims().axis(Pad::NAME, axis)?;
    let op = Pad { axis, before, size };
    apply1(&op, &[x], |_| grad::PadGrad { back: Narrow { axis, start: before, size: x.dims()[axis] } })
}
