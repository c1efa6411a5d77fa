//! Axes in another order: `y[i₀, i₁, ..] = x[j₀, j₁, ..]` where `j[permutation[a]] = i[a]`.

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
    ops::check_dtypes,
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// Axis `a` of the result is axis `permutation[a]` of the operand.
#[derive(Clone, Debug)]
pub struct Transpose {
    /// Every axis of the operand once.
    pub permutation: SmallVec<[usize; 6]>,
}

impl Transpose {
    /// The permutation that undoes this one.
    fn inverse(&self) -> SmallVec<[usize; 6]> {
        let mut inverse: SmallVec<[usize; 6]> = smallvec![0; self.permutation.len()];
        for (to, &from) in self.permutation.iter().enumerate() {
            inverse[from] = to;
        }
        inverse
    }
}

impl Op for Transpose {
    const NAME: &'static str = "transpose";
    crate::arms!(cpu, wgpu, cuda);

    /// Operand: x of any dtype.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[ins.first().map_or(DType::F32, |x| x.dtype)])?;
        let dims = ins[0].dims;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..dims.rank()) {
            let what =
                format!("{:?} is no order of the {} axes of shape {dims}", self.permutation, dims.rank());
            return Err(Error::argument(Self::NAME, what));
        }
        let turned: SmallVec<[usize; 6]> = self.permutation.iter().map(|&axis| dims[axis]).collect();
        Ok(smallvec![Meta::new(Dims::new(&turned)?, ins[0].dtype)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::transpose(self, &ins[0], &mut outs[0]);
    }
}

/// `x` with its axes in another order: axis `a` of the result is axis `permutation[a]` of `x`. Any dtype.
///
/// Errors: a permutation that does not name every axis once. Gradient: the inverse permutation.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3], &Device::Cpu)?;
/// let y = ops::transpose(&x, &[0, 2, 1])?;
/// assert_eq!(*y.dims(), [1, 3, 2]);
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// # Ok(()) }
/// ```
pub fn transpose(x: &Tensor, permutation: &[usize]) -> Result<Tensor> {
    let op = Transpose { permutation: permutation.into() };
    apply1(&op, &[x], |_| grad::TransposeGrad { back: Transpose { permutation: op.inverse() } })
}
