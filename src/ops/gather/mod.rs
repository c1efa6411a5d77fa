//! Picking rows by index, and the adjoint that adds rows back where they came from.
//!
//! `gather`: `y[b, k, ..] = x[b, indices[b, k], ..]`; `scatter_add`: `y[b, n, ..] = Σ x[b, k, ..]` over the `k` with
//! `indices[b, k] = n`, in the order of `k`. `b` stands for any number of leading axes, none included.

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

/// The sizes of one run: `batch` tables of rows with `inner` elements each, and `picks` indices per table.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    picks: usize,
    inner: usize,
}

/// Checks that `indices (.., K)` pick along the axis of `x` that follows the shared leading axes, and gives that axis.
fn picked_axis(op: &'static str, x: Dims, indices: Dims) -> Result<usize> {
    match indices.rank().checked_sub(1) {
        Some(axis) if axis < x.rank() && x[..axis] == indices[..axis] => Ok(axis),
        _ => {
            let what = format!(
                "indices of shape {indices} for rows of shape {x}: their axes before the last must be the leading \
                 axes of the rows, (B.., K) for (B.., N, ..)"
            );
            Err(Error::shape(op, what))
        }
    }
}

/// Rows picked by index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gather;

impl Op for Gather {
    const NAME: &'static str = "gather";
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: x (B.., N, ..) of any dtype, indices (B.., K) i32.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let dtype = ins.first().map_or(DType::F32, |x| x.dtype);
        check_dtypes(Self::NAME, ins, &[dtype, DType::I32])?;
        let (x, indices) = (ins[0].dims, ins[1].dims);
        let axis = picked_axis(Self::NAME, x, indices)?;
        Ok(smallvec![Meta::new(x.with(axis, indices[axis]), dtype)])
    }

    fn validate(&self, ins: &[crate::cpu::In]) -> Result<()> {
        cpu::check(Self::NAME, ins[1].i32()?, ins[0].dims[ins[1].dims.rank() - 1])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::gather(&ins[0], &ins[1], &mut outs[0]);
    }
}

/// Rows added up by index: the adjoint of [`Gather`].
#[derive(Clone, Copy, Debug)]
pub struct ScatterAdd {
    /// Rows of the result.
    pub rows: usize,
}

impl Op for ScatterAdd {
    const NAME: &'static str = "scatter_add";
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: x (B.., K, ..) f32, indices (B.., K) i32.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32, DType::I32])?;
        let (x, indices) = (ins[0].dims, ins[1].dims);
        let axis = picked_axis(Self::NAME, x, indices)?;
        if x[axis] != indices[axis] {
            let what = format!("{} rows in {x}, but {} indices in {indices}", x[axis], indices[axis]);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32(x.with(axis, self.rows))])
    }

    fn validate(&self, ins: &[crate::cpu::In]) -> Result<()> {
        cpu::check(Self::NAME, ins[1].i32()?, self.rows)
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::scatter_add(&ins[0], &ins[1], &mut outs[0]);
    }
}

/// Picks rows: `x (B.., N, ..)` of any dtype and `indices (B.., K)` i32 to `(B.., K, ..)`, each batch entry from its own
/// rows. With `indices (K)` and `x (N, ..)` it picks rows of one table.
///
/// Errors: leading axes that differ; on the CPU, an index outside `0..N` (kernels of other devices write zeros there).
/// Gradient: [`scatter_add`].
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// let indices = Tensor::from_slice(&[2, 0, 1, 1], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::gather(&x, &indices)?.to_vec::<f32>()?, [3.0, 1.0, 5.0, 5.0]);
/// let rows = Tensor::from_slice(&[1], [1], &Device::Cpu)?;
/// assert_eq!(ops::gather(&x, &rows)?.to_vec::<f32>()?, [4.0, 5.0, 6.0]);
/// # Ok(()) }
/// ```
pub fn gather(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    apply1(&Gather, &[x, indices], |save| grad::GatherGrad {
        indices: save.input(1),
        rows: x.dims()[indices.dims().rank() - 1],
    })
}

/// Adds rows up: `x (B.., K, ..)` f32 and `indices (B.., K)` i32 to `(B.., rows, ..)`, where row `n` is the sum of the
/// rows with index `n`, in their order, and zero if there is none.
///
/// Errors: shapes that do not fit; on the CPU, an index outside `0..rows` (kernels of other devices leave such rows out).
/// Gradient: [`gather`].
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 4.0], [3, 1], &Device::Cpu)?;
/// let indices = Tensor::from_slice(&[1, 3, 1], [3], &Device::Cpu)?;
/// assert_eq!(ops::scatter_add(&x, &indices, 4)?.to_vec::<f32>()?, [0.0, 5.0, 0.0, 2.0]);
/// # Ok(()) }
/// ```
pub fn scatter_add(x: &Tensor, indices: &Tensor, rows: usize) -> Result<Tensor> {
    apply1(&ScatterAdd { rows }, &[x, indices], |save| grad::ScatterAddGrad { indices: save.input(1) })
}
