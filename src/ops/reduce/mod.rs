//! Sums, means and maxima over axes, and the position of a maximum.

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
    DType, DeviceKind, Dims,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{check_dtypes, convert, float, scale},
    spec::{In, Out, Real},
    tape::{apply, apply1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// For each axis, whether it is reduced.
type Marks = SmallVec<[bool; 6]>;

/// `y[kept axes] = Σ x over the other axes`; summed axes are dropped. f32, or f16 added up in f32. Order of summation is
/// fixed.
#[derive(Clone, Debug)]
pub struct Sum {
    /// For each axis of `x`, whether it is summed over.
    pub summed: SmallVec<[bool; 6]>,
}

impl Op for Sum {
    const NAME: &'static str = "sum";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins)])?;
        Ok(smallvec![Meta::new(kept(Self::NAME, ins[0].dims, &self.summed)?, ins[0].dtype)])
    }

    #[allow(unused_variables)] // in a build for the CPU alone
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "wgpu")]
            DeviceKind::Wgpu => self.wgpu_scratch(ins),
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.cuda_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::sum(self, &ins[0], &mut outs[0]);
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl Sum {
    /// Terms of one result.
    fn terms(&self, x: &Dims) -> usize {
        x.iter().zip(&self.summed).filter(|(_, summed)| **summed).map(|(size, _)| *size).product()
    }
}

/// Up to three merged axes of one fate, innermost last; sizes and strides of those that are missing are one and zero.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
struct Axes {
    size: [usize; 3],
    stride: [usize; 3],
}

/// The axes that are marked as `of`, merged where they are neighbours.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn merged(dims: &Dims, summed: &[bool], of: bool) -> Axes {
    let mut axes = Axes { size: [1; 3], stride: [0; 3] };
    let (mut slot, mut stride, mut open) = (3, 1, false);
    for axis in (0..dims.rank()).rev() {
        if summed[axis] == of {
            if !open {
                slot -= 1;
                axes.stride[slot] = stride;
            }
            axes.size[slot] *= dims[axis];
        }
        open = summed[axis] == of;
        stride *= dims[axis];
    }
    axes
}

/// `y[kept axes] = max x over the other axes`, which are dropped, and the position in `x` (row-major, i32) of the first
/// such element. NaN is smaller than any number.
#[derive(Clone, Debug)]
pub struct Max {
    /// For each axis of `x`, whether the maximum is over it.
    pub over: SmallVec<[bool; 6]>,
}

impl Op for Max {
    const NAME: &'static str = "max";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let dims = ins[0].dims;
        let y = kept(Self::NAME, dims, &self.over)?;
        if dims.iter().zip(&self.over).any(|(&size, &over)| over && size == 0) {
            return Err(Error::shape(
                Self::NAME,
                format!("shape {dims} has no element along a reduced axis"),
            ));
        }
        check_positions(Self::NAME, dims)?;
        Ok(smallvec![Meta::f32(y), Meta::new(y, DType::I32)])
    }

    #[cfg(feature = "cuda")]
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        if device == DeviceKind::Cuda { self.cuda_scratch(ins) } else { 0 }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::max(self, &ins[0], outs);
    }
}

/// `dx` of shape `dims` is zero, except `dx[at] = dy`: the gradient of [`Max`]. dy f32 and at i32 have one shape; the
/// positions differ from each other, as [`Max`] gives them; those outside `dims` lead nowhere.
#[derive(Clone, Debug)]
pub struct MaxGrad {
    /// The shape of `x`.
    pub dims: Dims,
}

impl Op for MaxGrad {
    const NAME: &'static str = "max_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32, DType::I32])?;
        if ins[0].dims != ins[1].dims {
            let what = format!("gradients of shape {} at positions of shape {}", ins[0].dims, ins[1].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32(self.dims)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        for (&dy, &at) in ins[0].iter().zip(ins[1].int) {
            if let Some(dx) = outs[0].get_mut(at as usize) {
                *dx = dy;
            }
        }
    }
}

/// Position along one axis, which is dropped, of the first maximum; i32. NaN is smaller than any number. No gradient.
#[derive(Clone, Debug)]
pub struct ArgMax {
    /// The axis.
    pub axis: usize,
}

impl Op for ArgMax {
    const NAME: &'static str = "argmax";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let dims = ins[0].dims;
        match dims.get(self.axis) {
            None => {
                Err(Error::argument(Self::NAME, format!("axis {} of a tensor of shape {dims}", self.axis)))
            }
            Some(0) => {
                let what = format!("shape {dims} has no element along axis {}", self.axis);
                Err(Error::shape(Self::NAME, what))
            }
            Some(_) => {
                check_positions(Self::NAME, dims)?;
                Ok(smallvec![Meta::new(dims.without(self.axis), DType::I32)])
            }
        }
    }

    #[cfg(feature = "cuda")]
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        if device == DeviceKind::Cuda { self.cuda_scratch(ins) } else { 0 }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::argmax(self, &ins[0], &mut outs[0]);
    }
}

/// The sizes of the axes that are not marked.
fn kept(op: &'static str, dims: Dims, marks: &[bool]) -> Result<Dims> {
    if marks.len() != dims.rank() {
        let what = format!("{} axes marked for a tensor of shape {dims}", marks.len());
        return Err(Error::argument(op, what));
    }
    let sizes: SmallVec<[usize; 6]> =
        dims.iter().zip(marks).filter(|(_, marked)| !**marked).map(|(size, _)| *size).collect();
    Dims::new(&sizes)
}

/// Refuses tensors whose positions do not fit in an i32.
fn check_positions(op: &'static str, dims: Dims) -> Result<()> {
    if dims.elements() > i32::MAX as usize {
        return Err(Error::shape(op, format!("shape {dims} has more positions than an i32 counts")));
    }
    Ok(())
}

fn marks(op: &'static str, x: &Tensor, axes: &[isize]) -> Result<Marks> {
    let mut marks: Marks = smallvec![false; x.dims().rank()];
    for &axis in axes {
        marks[x.dims().axis(op, axis)?] = true;
    }
    Ok(marks)
}

/// Every axis of a tensor.
fn all_axes(x: &Tensor) -> SmallVec<[isize; 6]> {
    (0..x.dims().rank() as isize).collect()
}

/// Sum over the given axes (negative counts from the end), which are dropped: f32, or f16 added up in f32.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// assert_eq!(ops::sum(&x, &[0])?.to_vec::<f32>()?, [5.0, 7.0, 9.0]);
/// assert_eq!(ops::sum(&x, &[-1])?.to_vec::<f32>()?, [6.0, 15.0]);
/// # Ok(()) }
/// ```
pub fn sum(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    let summed = marks(Sum::NAME, x, axes)?;
    apply1(&Sum { summed: summed.clone() }, &[x], |_| grad::SumGrad { dims: x.dims(), summed })
}

/// Sum of all elements, a scalar.
pub fn sum_all(x: &Tensor) -> Result<Tensor> {
    sum(x, &all_axes(x))
}

/// Mean over the given axes (negative counts from the end), which are dropped. An axis without elements is an error.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// assert_eq!(ops::mean(&x, &[1])?.to_vec::<f32>()?, [2.0, 5.0]);
/// # Ok(()) }
/// ```
pub fn mean(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    let marked = marks("mean", x, axes)?;
    let count: usize = x.dims().iter().zip(&marked).filter(|(_, m)| **m).map(|(size, _)| *size).product();
    if count == 0 {
        return Err(Error::shape("mean", format!("shape {} has no element along axes {axes:?}", x.dims())));
    }
    // A sum may be too large for f16 where the mean is not.
    let wide = if x.dtype().is_half() { convert(x, DType::F32)? } else { x.clone() };
    convert(&scale(&sum(&wide, axes)?, 1.0 / count as f64, 0.0)?, x.dtype())
}

/// Mean of all elements, a scalar.
pub fn mean_all(x: &Tensor) -> Result<Tensor> {
    mean(x, &all_axes(x))
}

/// Maximum over the given axes (negative counts from the end), which are dropped. NaN is smaller than any number; an
/// axis without elements is an error. The gradient goes to the first maximum in row-major order.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 7.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// assert_eq!(ops::max(&x, &[0])?.to_vec::<f32>()?, [4.0, 7.0, 6.0]);
/// assert_eq!(ops::max(&x, &[0, 1])?.item::<f32>()?, 7.0);
/// # Ok(()) }
/// ```
pub fn max(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    let over = marks(Max::NAME, x, axes)?;
    let record = |save: &crate::tape::Save| grad::MaxRecord { dims: x.dims(), at: save.output(1) };
    let outs = apply(&Max { over }, &[x], record)?;
    outs.into_iter().next().ok_or_else(|| Error::shape(Max::NAME, "the operation has no result"))
}

/// Position of the first maximum along an axis (negative counts from the end), which is dropped: i32. NaN is smaller
/// than any number; an axis without elements is an error. There is no gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 7.0, 3.0, 4.0, 5.0, 5.0], [2, 3], &Device::Cpu)?;
/// assert_eq!(ops::argmax(&x, -1)?.to_vec::<i32>()?, [1, 1]);
/// # Ok(()) }
/// ```
pub fn argmax(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = x.dims().axis(ArgMax::NAME, axis)?;
    crate::device::run1(&ArgMax { axis }, &[x])
}

/// Sums `x` over the axes along which a tensor of shape `dims` was repeated to get the shape of `x`.
pub(crate) fn sum_to(x: &Tensor, dims: Dims) -> Result<Tensor> {
    if x.dims() == dims {
        return Ok(x.clone());
    }
    let missing = x.dims().rank() - dims.rank();
    let repeated = |axis: usize| axis < missing || (dims[axis - missing] == 1 && x.dims()[axis] != 1);
    let axes: SmallVec<[isize; 6]> =
        (0..x.dims().rank()).filter(|&a| repeated(a)).map(|a| a as isize).collect();
    crate::ops::reshape(&sum(x, &axes)?, dims)
}
