//! The running choice of the M best of N candidates that Iterative Patch Selection makes (Bergner et al., "Iterative
//! patch selection for high-resolution image recognition", ICLR 2023), replayed over cached logits.
//!
//! The first M candidates are kept. Each next chunk of I candidates joins them; a candidate's score is the mean over R
//! rows (heads times queries) of its softmax among the candidates present, `s[n] = 1/R Σ_r exp(l[n, r]) / Σ_k exp(l[k, r])`;
//! the M best stay, best first. Since the softmax runs over the candidates present, the list is scored anew with every
//! chunk, and for R > 1 the outcome depends on the order in which candidates arrive: it is not the M best of all N.
//!
//! Candidates stand in a line: the kept ones, best first, then the chunk. On equal scores the one that stands earlier
//! wins. A logit of −∞ has probability 0. A candidate with a logit of NaN or +∞ is left out of every softmax and ranks
//! behind all others, by position. A merge is a function of that line alone, so merging M + I candidates at a time,
//! chunk by chunk, gives the same indices as one call over all N.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, DeviceKind,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    spec::{In, Out, Real},
    tensor::Tensor,
};
use smallvec::smallvec;

/// Logits (B, N, R) to the indices (B, min(M, N)) of the candidates that a running selection keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopMMerge {
    /// M, how many candidates are kept.
    pub keep: usize,
    /// I, how many candidates join at a time.
    pub chunk: usize,
}

impl Op for TopMMerge {
    const NAME: &'static str = "top_m_merge";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let [b, n, r] = axes(Self::NAME, "logits", &ins[0], "(B, N, R)")?;
        if self.keep == 0 || self.chunk == 0 {
            let what = format!("keep {} and chunk {} must be at least 1", self.keep, self.chunk);
            return Err(Error::argument(Self::NAME, what));
        }
        if r == 0 {
            let what = format!("logits of shape {} have no row to score candidates by", ins[0].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        if i32::try_from(n).is_err() {
            return Err(Error::shape(Self::NAME, format!("{n} candidates, but indices are 32-bit")));
        }
        Ok(smallvec![Meta::new([b, self.keep.min(n)], DType::I32)])
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
        spec::merge(self, &ins[0], &mut outs[0]);
    }
}

/// Indices (B, min(M, N)), i32, of the candidates kept by a running selection over logits (B, N, R), f32, that sees `chunk`
/// candidates at a time and keeps the M = `keep` best: best first, by the scores of the last merge. With N ≤ M, all of
/// them in order. Ties, infinities and NaN are ruled on in [`top_m_merge`](self). No gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[0.0_f32, 5.0, 1.0, 9.0, 5.0], [1, 5, 1], &Device::Cpu)?;
/// assert_eq!(ops::top_m_merge(&logits, 3, 1)?.to_vec::<i32>()?, [3, 1, 4]);
/// # Ok(()) }
/// ```
pub fn top_m_merge(logits: &Tensor, keep: usize, chunk: usize) -> Result<Tensor> {
    run1(&TopMMerge { keep, chunk }, &[logits])
}
