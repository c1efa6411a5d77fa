//! The same numbers in another float format: between f32, f16 and bf16.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
pub(in crate::ops) mod wgpu;

use crate::{
    DType,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
    tape::{Backward, Given, Gradients, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// `y = x` with elements of another float type: f32, f16 or bf16.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    /// The dtype of `y`.
    pub to: DType,
}

/// Whether tensors of this type are converted.
fn converts(dtype: DType) -> bool {
    dtype == DType::F32 || dtype.is_half()
}

impl Op for Convert {
    const NAME: &'static str = "convert";
    crate::arms!(cpu, wgpu, cuda);

    /// Operand: x, f32, f16 or bf16.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[ins.first().map_or(DType::F32, |x| x.dtype)])?;
        if !converts(ins[0].dtype) || !converts(self.to) {
            let what = format!("from {} to {}: it knows f32, f16 and bf16", ins[0].dtype, self.to);
            return Err(Error::dtype(Self::NAME, what));
        }
        Ok(smallvec![Meta::new(ins[0].dims, self.to)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        outs[0].x.copy_from_slice(ins[0].x);
    }
}

/// The gradient comes back in the operand's type.
#[derive(Debug)]
struct ConvertGrad {
    from: DType,
}

impl Backward for ConvertGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || convert(dy.one()?, self.from))
    }
}

/// `x` with elements of type `to`: from and to f32, f16 and bf16. Rounds to the nearest, ties to even; what is too large
/// becomes infinite, NaN stays NaN. Wider types hold the numbers exactly. The gradient is converted back.
///
/// So the weights of a network are kept and updated in f32 while its layers compute in f16. A tensor that has the type
/// already costs nothing; one of f64, the reference precision, stays what it is, so that functions that convert can be
/// checked in it.
///
/// ```
/// use foveate::{DType, Device, Tape, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let weight = Tensor::from_slice(&[0.1_f32, 70_000.0], [2], &Device::Cpu)?;
/// let tape = Tape::new();
/// let weight = tape.watch(&weight)?;
/// let short = ops::convert(&weight, DType::F16)?;
/// assert_eq!(short.to_vec::<half::f16>()?, [half::f16::from_f32(0.1), half::f16::INFINITY]);
/// let grads = tape.backward(&ops::sum_all(&ops::convert(&short, DType::F32)?)?)?;
/// assert_eq!(grads.of(&weight).unwrap().to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::DType`] for a tensor that is no float, or another type than these.
pub fn convert(x: &Tensor, to: DType) -> Result<Tensor> {
    if x.dtype() == to || x.dtype() == DType::F64 && converts(to) {
        return Ok(x.clone());
    }
    apply1(&Convert { to }, &[x], |_| ConvertGrad { from: x.dtype() })
}
