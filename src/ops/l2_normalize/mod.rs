//! Division of each row by its Euclidean norm: `y[r] = x[r] / √max(Σ x[r, i]², 1e-12)` over the last axis.

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
use smallvec::smallvec;

/// The least squared norm that is divided by: shorter rows are treated as having this one.
pub const FLOOR: f64 = 1e-12;

/// x (…, D) to y (…, D) with rows of norm 1.
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize;

impl Op for L2Normalize {
    const NAME: &'static str = "l2_normalize";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        check_rows(Self::NAME, ins[0].dims)?;
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(&ins[0], &mut outs[0]);
    }
}

/// The gradient: dy and x (…, D) to dx.
#[derive(Clone, Copy, Debug)]
pub struct L2NormalizeGrad;

impl Op for L2NormalizeGrad {
    const NAME: &'static str = "l2_normalize_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        check_rows(Self::NAME, ins[1].dims)?;
        if ins[0].dims != ins[1].dims {
            let what = format!("dy has shape {}, x has {}", ins[0].dims, ins[1].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![ins[1]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad(&ins[0], &ins[1], &mut outs[0]);
    }
}

fn check_rows(op: &'static str, x: Dims) -> Result<()> {
    if x.rank() == 0 {
        return Err(Error::shape(op, "x has no axes, must be (…, D)"));
    }
    Ok(())
}

/// Rows of `x (…, D)` divided by their Euclidean norm; a squared norm below [`FLOOR`]
/// counts as the floor, so that zero stays zero.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[3.0_f32, 4.0, 0.0, 0.0], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::l2_normalize(&x)?.to_vec::<f32>()?, [0.6, 0.8, 0.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn l2_normalize(x: &Tensor) -> Result<Tensor> {
    apply1(&L2Normalize, &[x], |save| grad::Record { x: save.input(0) })
}
