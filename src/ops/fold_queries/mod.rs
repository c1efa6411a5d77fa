//! Queries and key projection of multi-head attention folded into one matrix: `u[h·T + t] = W_k,hᵀ (W_q,h q_t) / √d_k`.
//!
//! The attention logit of query `t`, head `h` and input `x` is `⟨W_q,h q_t, W_k,h x⟩ / √d_k = ⟨u[h·T + t], x⟩`: with few
//! queries, scoring an input costs `H·T` products of length `D` instead of a projection to keys.

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
    DeviceKind,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes, float},
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;

/// The fold. Operands: q (T, D), wq (H·dk, D), wk (H·dk, D); result: u (H·T, D), row `h·T + t`.
#[derive(Clone, Copy, Debug)]
pub struct FoldQueries {
    /// Number of heads H.
    pub heads: usize,
}

/// Sizes of a fold.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    queries: usize,
    features: usize,
    heads: usize,
    /// Length of a key: rows of the projections that belong to a head.
    key: usize,
}

impl Sizes {
    /// `1 / √d_k`.
    fn scale(&self) -> f64 {
        1.0 / (self.key as f64).sqrt()
    }
}

impl FoldQueries {
    fn sizes(&self, op: &'static str, ins: &[Meta]) -> Result<Sizes> {
        check_dtypes(op, ins, &[float(ins); 3])?;
        let [queries, features] = axes(op, "the queries", &ins[0], "(T, D)")?;
        let wq: [usize; 2] = axes(op, "wq", &ins[1], "(H·dk, D)")?;
        let wk: [usize; 2] = axes(op, "wk", &ins[2], "(H·dk, D)")?;
        if wq != wk || wq[1] != features {
            let what =
                format!("queries {}, wq {wq:?}, wk {wk:?}: must be (T, D) and twice (H·dk, D)", ins[0].dims);
            return Err(Error::shape(op, what));
        }
        let key = split_heads(op, self.heads, wq[0], "wq and wk")?;
        Ok(Sizes { queries, features, heads: self.heads, key })
    }
}

/// The rows of a projection that belong to one head.
pub(crate) fn split_heads(op: &'static str, heads: usize, rows: usize, what: &str) -> Result<usize> {
    if heads == 0 || rows == 0 || !rows.is_multiple_of(heads) {
        let what =
            format!("{heads} heads for the {rows} rows of {what}: each head needs as many, at least one");
        return Err(Error::argument(op, what));
    }
    Ok(rows / heads)
}

impl Op for FoldQueries {
    const NAME: &'static str = "fold_queries";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let sizes = self.sizes(Self::NAME, ins)?;
        Ok(smallvec![Meta::new([sizes.heads * sizes.queries, sizes.features], ins[0].dtype)])
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
        spec::fold(self.heads, ins, &mut outs[0]);
    }
}

/// Gradient of [`FoldQueries`]. Operands: du (H·T, D), q, wq, wk; results: dq, dwq, dwk.
#[derive(Clone, Copy, Debug)]
pub struct FoldQueriesGrad {
    /// The fold.
    pub fold: FoldQueries,
}

impl Op for FoldQueriesGrad {
    const NAME: &'static str = "fold_queries_grad";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 4])?;
        let sizes = self.fold.sizes(Self::NAME, &ins[1..])?;
        let want = [sizes.heads * sizes.queries, sizes.features];
        if *ins[0].dims != want {
            let what = format!("gradient of shape {} for a fold of shape {want:?}", ins[0].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(ins[1..].iter().copied().collect())
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
        spec::gradient(self.fold.heads, ins, outs);
    }
}

/// Queries `q (T, D)` and the projections `wq`, `wk (H·dk, D)` folded into `u (H·T, D)`, whose row `h·T + t` gives the
/// attention logits of query `t` and head `h`: `linear(x, u, None)` is `(.., H·T)` logits, scaled by `1 / √dk`.
/// All f32, or all f16.
///
/// Errors: shapes that do not fit; a number of heads that does not divide the rows of the projections. Gradients for all
/// three operands.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let q = Tensor::from_slice(&[1.0_f32, 2.0], [1, 2], &Device::Cpu)?;
/// let identity = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0], [2, 2], &Device::Cpu)?;
/// // Two heads of keys of length 1: each sees one feature of the query.
/// let u = ops::fold_queries(&q, &identity, &identity, 2)?;
/// assert_eq!(u.to_vec::<f32>()?, [1.0, 0.0, 0.0, 2.0]);
/// # Ok(()) }
/// ```
pub fn fold_queries(q: &Tensor, wq: &Tensor, wk: &Tensor, heads: usize) -> Result<Tensor> {
    let fold = FoldQueries { heads };
    apply1(&fold, &[q, wq, wk], |save| grad::FoldGrad { fold, ins: [0, 1, 2].map(|at| save.input(at)) })
}
