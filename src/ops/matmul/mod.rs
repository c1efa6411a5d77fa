//! The product of batches of matrices: `c[.., i, j] = Σ over l of a[.., i, l] · b[.., l, j]`.
//!
//! Either operand may be stored transposed, so that the gradients of a product are products of the same kind and nothing
//! is ever rearranged in memory.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod products;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DeviceKind, Dims, Precision,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{check_dtypes, elementwise, float},
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;

/// Batched matrix product. An element's sum runs over the inner axis in order, whatever the other sizes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatMul {
    /// The first operand is stored as `(.., K, M)` instead of `(.., M, K)`.
    pub transpose_a: bool,
    /// The second operand is stored as `(.., N, K)` instead of `(.., K, N)`.
    pub transpose_b: bool,
    /// How operands are rounded; `None`: as the device is set to.
    pub precision: Option<Precision>,
}

/// The sizes of one run.
struct Sizes {
    /// The leading axes of both operands and of the result.
    batch: [Dims; 3],
    m: usize,
    k: usize,
    n: usize,
}

impl MatMul {
    fn sizes(&self, a: Dims, b: Dims) -> Result<Sizes> {
        let cut = |dims: Dims, what: &str, transposed: bool| match *dims {
            [.., rows, columns] => {
                let batch = Dims::of(&dims[..dims.rank() - 2]);
                Ok((batch, if transposed { [columns, rows] } else { [rows, columns] }))
            }
            _ => Err(Error::shape(Self::NAME, format!("{what} of shape {dims} needs at least two axes"))),
        };
        let (a_batch, [m, k]) = cut(a, "the first operand", self.transpose_a)?;
        let (b_batch, [k_b, n]) = cut(b, "the second operand", self.transpose_b)?;
        if k != k_b {
            let flag = |t: bool| if t { " transposed" } else { "" };
            let what = format!(
                "{a}{} times {b}{}: the inner axes are {k} and {k_b}, they must agree",
                flag(self.transpose_a),
                flag(self.transpose_b)
            );
            return Err(Error::shape(Self::NAME, what));
        }
        let batch = elementwise::broadcast(Self::NAME, a_batch, b_batch)?;
        Ok(Sizes { batch: [a_batch, b_batch, batch], m, k, n })
    }
}

impl Op for MatMul {
    const NAME: &'static str = "matmul";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: a (.., M, K) and b (.., K, N), or transposed; the leading axes broadcast.
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 2])?;
        let sizes = self.sizes(ins[0].dims, ins[1].dims)?;
        Ok(smallvec![Meta::new(sizes.batch[2].join(&[sizes.m, sizes.n])?, ins[0].dtype)])
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
        spec::matmul(self, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// The matrix product of `a (.., M, K)` and `b (.., K, N)`, of shape `(.., M, N)`. Leading axes broadcast as in
/// [`add`](crate::ops::add), so that one matrix can meet a batch of others. Both operands are f32, or both f16, whose products are added up in f32.
///
/// An element has the same bits whatever the number of rows, columns and batches around it. Errors: operands with fewer
/// than two axes, inner axes that differ, leading axes that do not broadcast. Gradients: `da = dc bᵀ`, `db = aᵀ dc`,
/// summed over the axes along which an operand was repeated.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let a = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
/// let b = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, -1.0], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::matmul(&a, &b)?.to_vec::<f32>()?, [1.0, -2.0, 3.0, -4.0]);
/// # Ok(()) }
/// ```
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    matmul_with(MatMul::default(), a, b)
}

/// As [`matmul`], with operands that are stored transposed, or rounded.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let rows = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
/// let flags = ops::MatMul { transpose_b: true, ..Default::default() };
/// let inner_products = ops::matmul_with(flags, &rows, &rows)?;
/// assert_eq!(inner_products.to_vec::<f32>()?, [14.0, 32.0, 32.0, 77.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Those of [`matmul`], and [`Error::Unsupported`] for a precision that the device does not have.
pub fn matmul_with(flags: MatMul, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let precision = Some(Precision::resolve(MatMul::NAME, flags.precision, &a.device())?);
    let flags = MatMul { precision, ..flags };
    apply1(&flags, &[a, b], |save| grad::MatMulGrad {
        flags,
        a: save.wants(1).then(|| save.input(0)),
        b: save.wants(0).then(|| save.input(1)),
        dims: [a.dims(), b.dims()],
    })
}
