//! Views that cost nothing (`reshape`, `slice` of the leading axis) and their relatives that copy (`expand`, and
//! `pad_rows`, the gradient of a slice).

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod grad;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
pub(crate) mod wgpu;

use crate::{
    Dims,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{check_dtypes, elementwise, float},
    spec::{self, Real},
    tape::{apply1, record1},
    tensor::Tensor,
};
use smallvec::smallvec;
use std::ops::Range;

/// The same elements in another shape. Costs nothing on any device.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::zeros([2, 6], &Device::Cpu)?;
/// assert_eq!(*ops::reshape(&x, [3, 4])?.dims(), [3, 4]);
/// # Ok(()) }
/// ```
pub fn reshape(x: &Tensor, dims: impl Into<Dims>) -> Result<Tensor> {
    let y = x.view(dims.into())?;
    record1("reshape", &[x], y, |_| grad::ReshapeGrad { dims: x.dims() })
}

/// Rows `range` of the leading axis. Costs nothing on any device.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], &Device::Cpu)?;
/// assert_eq!(ops::slice(&x, 1..3)?.to_vec::<f32>()?, [3.0, 4.0, 5.0, 6.0]);
/// # Ok(()) }
/// ```
pub fn slice(x: &Tensor, range: Range<usize>) -> Result<Tensor> {
    let y = x.rows(range.clone())?;
    record1("slice", &[x], y, |_| grad::SliceGrad { before: range.start, rows: x.dims()[0] })
}

/// `x` repeated along axes it lacks or where it has size 1, to shape `dims` (the broadcasting rules of [`add`](crate::ops::add)).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0], [2, 1], &Device::Cpu)?;
/// assert_eq!(ops::expand(&x, [2, 3])?.to_vec::<f32>()?, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
/// # Ok(()) }
/// ```
pub fn expand(x: &Tensor, dims: impl Into<Dims>) -> Result<Tensor> {
    let dims = dims.into();
    if x.dims() == dims {
        return Ok(x.clone());
    }
    apply1(&Expand { dims }, &[x], |_| grad::ExpandGrad { dims: x.dims() })
}

/// `y = x`, repeated to shape `dims`.
#[derive(Clone, Debug)]
pub struct Expand {
    /// The shape of `y`.
    pub dims: Dims,
}

impl Op for Expand {
    const NAME: &'static str = "expand";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins)])?;
        if elementwise::broadcast(Self::NAME, ins[0].dims, self.dims)? != self.dims {
            let what = format!("shape {} does not repeat to {}", ins[0].dims, self.dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::new(self.dims, ins[0].dtype)])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        for i in 0..self.dims.elements() {
            outs[0][i] = ins[0][elementwise::source(i, self.dims, ins[0].dims)];
        }
    }
}

/// `y` has `rows` rows: zeros, except that `x` stands from row `before` on.
#[derive(Clone, Debug)]
pub struct PadRows {
    /// Rows of zeros before `x`.
    pub before: usize,
    /// Rows in all.
    pub rows: usize,
}

impl Op for PadRows {
    const NAME: &'static str = "pad_rows";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins)])?;
        match ins[0].dims.first() {
            Some(rows) if self.before.saturating_add(*rows) <= self.rows => {
                Ok(smallvec![Meta::new(ins[0].dims.with(0, self.rows), ins[0].dtype)])
            }
            _ => Err(Error::shape(Self::NAME, format!("{} does not fit in {} rows", ins[0].dims, self.rows))),
        }
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let row: usize = ins[0].dims[1..].iter().product();
        for (i, &x) in ins[0].iter().enumerate() {
            outs[0][self.before * row + i] = x;
        }
    }
}
