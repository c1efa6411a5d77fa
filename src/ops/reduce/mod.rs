//! Sums over axes.

mod cpu;
mod grad;
#[cfg(test)]
mod tests;

use crate::{
    DType, Dims,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{self, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// `y[kept axes] = Σ x over the other axes`; summed axes are dropped. Order of summation is fixed.
#[derive(Clone, Debug)]
pub struct Sum {
    /// For each axis of `x`, whether it is summed over.
    pub summed: SmallVec<[bool; 6]>,
}

impl Op for Sum {
    const NAME: &'static str = "sum";
    crate::arms!(cpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        if self.summed.len() != ins[0].dims.rank() {
            let what = format!("{} axes marked for a tensor of shape {}", self.summed.len(), ins[0].dims);
            return Err(Error::argument(Self::NAME, what));
        }
        let kept: SmallVec<[usize; 6]> = ins[0]
            .dims
            .iter()
            .zip(&self.summed)
            .filter(|(_, summed)| !**summed)
            .map(|(size, _)| *size)
            .collect();
        Ok(smallvec![Meta::f32(Dims::new(&kept)?)])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let dims = ins[0].dims;
        for (i, &x) in ins[0].iter().enumerate() {
            let (mut rest, mut to, mut stride) = (i, 0, 1);
            for axis in (0..dims.rank()).rev() {
                if !self.summed[axis] {
                    to += rest % dims[axis] * stride;
                    stride *= dims[axis];
                }
                rest /= dims[axis];
            }
            outs[0][to] += x;
        }
    }
}

/// Sum over the given axes (negative counts from the end), which are dropped.
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
    let mut summed: SmallVec<[bool; 6]> = smallvec![false; x.dims().rank()];
    for &axis in axes {
        summed[x.dims().axis(Sum::NAME, axis)?] = true;
    }
    apply1(&Sum { summed: summed.clone() }, &[x], |_| grad::SumGrad { dims: x.dims(), summed })
}

/// Sum of all elements, a scalar.
pub fn sum_all(x: &Tensor) -> Result<Tensor> {
    let axes: SmallVec<[isize; 6]> = (0..x.dims().rank() as isize).collect();
    sum(x, &axes)
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
