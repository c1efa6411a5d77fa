//! The expectation `Σ_i a_i f_i` over many positions, estimated from K sampled ones (Katharopoulos and Fleuret, "Processing
//! megapixel images with deep attention-sampling models", ICML 2019).
//!
//! With replacement, `y = 1/K Σ_i f_i`. Without replacement, samples in the order in which they were drawn: the mass that
//! remained before draw i is `r_i = 1 − Σ_{j<i} a_j`, and
//! `y = 1/K Σ_i F_i` with `F_i = Σ_{j<i} a_j f_j + r_i f_i`.
//! Both are unbiased. As a weighted sum, `y = Σ_m c_m f_m` with `c_m = (r_m + a_m (K − m)) / K`, m from 1.
//!
//! **Gradients**, with `G = dL/dy`, `p_m = ⟨G, f_m⟩`, `h_m = ⟨G, F_m⟩`. Of the features: `dL/df_m = c_m G`, the derivative of
//! the formula above. Of the attention: not the derivative of that formula, but an estimate of the gradient of the
//! *expected* loss, which also counts that a larger `a_m` makes m more likely to be drawn (so finite differences say
//! nothing about it, enumeration of all samples does):
//! * with replacement `dL/da_m = p_m / (K a_m)`;
//! * without, [`Estimator::Official`], the published code: `(h_m r_m / a_m + Σ_{j<m} p_j − (m − 1) p_m) / K`, which is
//!   biased;
//! * without, [`Estimator::Unbiased`]: `(h_m / a_m + Σ_{i>m} (h_i / r_i + p_m − p_i)) / K`, whose expectation, taken
//!   through the softmax that made the attention, is exact.
//!
//! What remains before a draw holds at least the drawn one, so `r_i` counts as at least `a_i`; divisions are by at least
//! 1e-30, since a drawn position may have a probability of 0 where fewer than K have one.

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
    DType, DeviceKind,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    spec::{In, Out, Real},
    tape::{Save, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// Which gradient the attention gets from samples without replacement. See [`expectation`](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Estimator {
    /// That of the published code, to reproduce its results: biased.
    Official,
    /// The unbiased one.
    #[default]
    Unbiased,
}

/// Attention (B, K) and features (B, K, D) of samples in draw order to the estimate (B, D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whether a position could be drawn more than once.
    pub replace: bool,
}

impl Op for Expectation {
    const NAME: &'static str = "expectation";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        let [b, _, d] = samples(Self::NAME, &ins[0], &ins[1])?;
        Ok(smallvec![Meta::f32([b, d])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(self.replace, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// Gradient of [`Expectation`] with respect to the features: attention (B, K) and dy (B, D) to (B, K, D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectationGradFeatures {
    /// As in [`Expectation`].
    pub replace: bool,
}

impl Op for ExpectationGradFeatures {
    const NAME: &'static str = "expectation_grad_features";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        let [b, k] = axes(Self::NAME, "the attention", &ins[0], "(B, K)")?;
        let [rows, d] = axes(Self::NAME, "dy", &ins[1], "(B, D)")?;
        if rows != b {
            let what = format!("attention {} and dy {} must be (B, K) and (B, D)", ins[0].dims, ins[1].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32([b, k, d])])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_features(self.replace, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// Estimated gradient with respect to the attention: attention (B, K), features (B, K, D) and dy (B, D) to (B, K).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectationGradAttention {
    /// As in [`Expectation`].
    pub replace: bool,
    /// Which estimate; of no consequence with replacement.
    pub estimator: Estimator,
}

impl Op for ExpectationGradAttention {
    const NAME: &'static str = "expectation_grad_attention";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 3])?;
        let [b, k, d] = samples(Self::NAME, &ins[0], &ins[1])?;
        if *ins[2].dims != [b, d] {
            return Err(Error::shape(
                Self::NAME,
                format!("dy has shape {}, must be {:?}", ins[2].dims, [b, d]),
            ));
        }
        Ok(smallvec![Meta::f32([b, k])])
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
        spec::grad_attention(self, ins, &mut outs[0]);
    }
}

/// `[B, K, D]` of attention (B, K) and features (B, K, D).
fn samples(op: &'static str, attention: &Meta, features: &Meta) -> Result<[usize; 3]> {
    let [rows, samples] = axes(op, "the attention", attention, "(B, K)")?;
    let [b, k, d] = axes(op, "the features", features, "(B, K, D)")?;
    if (rows, samples) != (b, k) || k == 0 {
        let what = format!(
            "attention {} and features {} must be (B, K) and (B, K, D) with K at least 1",
            attention.dims, features.dims
        );
        return Err(Error::shape(op, what));
    }
    Ok([b, k, d])
}

/// Estimates `Σ a_i f_i` over all positions from K sampled ones: attention (B, K), their probabilities under the softmax
/// over all positions, and features (B, K, D), both in draw order, to (B, D). `replace` says how they were drawn:
/// [`gumbel_max`](crate::ops::gumbel_max) or [`gumbel_top_k`](crate::ops::gumbel_top_k).
///
/// Both operands get gradients; that of the attention estimates the gradient of the expected loss, by
/// [`expectation`](self)'s formulas, and `estimator` chooses among them.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let attention = Tensor::from_slice(&[0.5_f32, 0.25], [1, 2], &Device::Cpu)?;
/// let features = Tensor::from_slice(&[1.0_f32, 3.0], [1, 2, 1], &Device::Cpu)?;
/// let y = ops::expectation(&attention, &features, false, ops::Estimator::Unbiased)?;
/// assert_eq!(y.to_vec::<f32>()?, [(1.0 + (0.5 * 1.0 + 0.5 * 3.0)) / 2.0]);
/// # Ok(()) }
/// ```
pub fn expectation(
    attention: &Tensor,
    features: &Tensor,
    replace: bool,
    estimator: Estimator,
) -> Result<Tensor> {
    apply1(&Expectation { replace }, &[attention, features], |save: &Save| {
        grad::ExpectationGrad::new(replace, estimator, save)
    })
}
