//! A top-k that can be differentiated: the mean of the top-k indicators of many noisy copies of the scores (Berthet et al.,
//! "Learning with differentiable perturbed optimizers", NeurIPS 2020; Cordonnier et al., "Differentiable patch selection
//! for image recognition", CVPR 2021).
//!
//! With noise `Z_s ~ N(0, I)`, s = 1..S, let `i[s, 0] < … < i[s, k − 1]` be the positions of the k largest of
//! `scores + σ Z_s`, **sorted by position**. The result is `Y[j, n] = 1/S #{s : i[s, j] = n}`, (k, N): row j says how often
//! position n was the j-th. On equal values the earlier position is the larger one, and NaN is less than any number.
//!
//! The gradient is that of the expectation over the noise, estimated from the same samples:
//! `dL/dscores[n] = 1/(S σ) Σ_s Z[s, n] c_s`, `c_s = Σ_j G[j, i[s, j]]`. (Finite differences of the expectation confirm the
//! factor; a published port multiplies by k.) Only the positions (S, k) are kept for it; drawn noise is drawn again.
//!
//! Drawn noise comes from pairs of words by the formula of [`noise`](super::sampling), N' = N rounded up to a multiple of 4
//! words for each sample of each image.

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
    rng::{Rng, Words},
    spec::{In, Out, Real},
    tape::{Save, apply},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// Where the noise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// It is the last operand, (B, S, N), f32.
    Given,
    /// It is drawn.
    Drawn {
        /// S.
        samples: usize,
        /// `B · S · N'` words.
        words: Words,
    },
}

/// Scores (B, N) and, if given, noise (B, S, N) to indicators (B, k, N), f32, and the positions (B, S, k), i32, that they
/// are the means of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerturbedTopK {
    /// How many positions each sample chooses.
    pub k: usize,
    /// Scale of the noise.
    pub sigma: f32,
    /// Where the noise comes from.
    pub noise: Noise,
}

impl Op for PerturbedTopK {
    const NAME: &'static str = "perturbed_top_k";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2][..self.noise.operands(1)])?;
        let [b, n] = axes(Self::NAME, "scores", &ins[0], "(B, N)")?;
        let s = check_noise(Self::NAME, self.noise, self.sigma, ins.get(1), [b, n])?;
        if self.k == 0 || self.k > n || i32::try_from(n).is_err() {
            let what =
                format!("the top {} of {n} positions: must be 1 to {n}, and indices are 32-bit", self.k);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32([b, self.k, n]), Meta::new([b, s, self.k], DType::I32)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(self, ins, outs);
    }
}

/// Gradient of [`PerturbedTopK`]: dy (B, k, N), the positions (B, S, k) and, if given, the noise (B, S, N) to (B, N).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerturbedTopKGrad {
    /// Scale of the noise.
    pub sigma: f32,
    /// Where the noise comes from.
    pub noise: Noise,
}

impl Op for PerturbedTopKGrad {
    const NAME: &'static str = "perturbed_top_k_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32, DType::I32, DType::F32][..self.noise.operands(2)])?;
        let [b, k, n] = axes(Self::NAME, "dy", &ins[0], "(B, k, N)")?;
        let s = check_noise(Self::NAME, self.noise, self.sigma, ins.get(2), [b, n])?;
        if *ins[1].dims != [b, s, k] || k == 0 {
            let what =
                format!("positions of shape {}, must be {:?} with k at least 1", ins[1].dims, [b, s, k]);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::f32([b, n])])
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
        spec::grad(self, ins, &mut outs[0]);
    }
}

impl Noise {
    /// Operands in all, when there are `others` without the noise.
    fn operands(self, others: usize) -> usize {
        others + usize::from(self == Noise::Given)
    }
}

/// S, from the noise or its attributes.
fn check_noise(
    op: &'static str,
    noise: Noise,
    sigma: f32,
    given: Option<&Meta>,
    [b, n]: [usize; 2],
) -> Result<usize> {
    let samples = match (noise, given) {
        (Noise::Drawn { samples, .. }, _) => samples,
        (Noise::Given, Some(noise)) => {
            let [rows, s, columns] = axes(op, "the noise", noise, "(B, S, N)")?;
            if (rows, columns) != (b, n) {
                let what =
                    format!("noise of shape {}, must be (B, S, N) with B = {b} and N = {n}", noise.dims);
                return Err(Error::shape(op, what));
            }
            s
        }
        (Noise::Given, None) => 0,
    };
    if samples == 0 || !(sigma > 0.0 && sigma.is_finite()) {
        let what = format!("{samples} samples with noise of scale {sigma}: at least 1, and a positive scale");
        return Err(Error::argument(op, what));
    }
    Ok(samples)
}

/// Soft indicators (B, k, N), f32, of the k largest of `scores (B, N)`, f32: the mean over `samples` draws of noise of scale
/// `sigma` of hard indicators, rows sorted by position. Each row sums to 1. With gradient.
///
/// The noise is drawn anew in backward and never stored.
///
/// ```
/// use foveate::{Device, Rng, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let scores = Tensor::from_slice(&[0.0_f32, 9.0, 1.0, 8.0], [1, 4], &Device::Cpu)?;
/// let y = ops::perturbed_top_k(&scores, 2, 0.05, 100, &mut Rng::new(1))?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
/// # Ok(()) }
/// ```
pub fn perturbed_top_k(
    scores: &Tensor,
    k: usize,
    sigma: f32,
    samples: usize,
    rng: &mut Rng,
) -> Result<Tensor> {
    let rows = scores.dims().first().map_or(0, |&b| (b as u64).saturating_mul(samples as u64));
    let columns = scores.dims().last().map_or(0, |&n| row_words(n));
    let words = rng.reserve(rows.saturating_mul(columns));
    apply_noise(&PerturbedTopK { k, sigma, noise: Noise::Drawn { samples, words } }, &[scores])
}

/// As [`perturbed_top_k`], with the noise (B, S, N), f32, given. The noise gets no gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let scores = Tensor::from_slice(&[0.0_f32, 1.0], [1, 2], &Device::Cpu)?;
/// let noise = Tensor::from_slice(&[0.0_f32, 0.0, 3.0, 1.0], [1, 2, 2], &Device::Cpu)?;
/// let y = ops::perturbed_top_k_with(&scores, &noise, 1, 1.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(()) }
/// ```
pub fn perturbed_top_k_with(scores: &Tensor, noise: &Tensor, k: usize, sigma: f32) -> Result<Tensor> {
    apply_noise(&PerturbedTopK { k, sigma, noise: Noise::Given }, &[scores, &noise.detach()])
}

fn apply_noise(op: &PerturbedTopK, ins: &[&Tensor]) -> Result<Tensor> {
    let back = PerturbedTopKGrad { sigma: op.sigma, noise: op.noise };
    let outs = apply(op, ins, |save: &Save| {
        let mut kept: SmallVec<[Tensor; 2]> = smallvec![save.output(1)];
        kept.extend((op.noise == Noise::Given).then(|| save.input(1)));
        grad::PerturbedGrad { back, kept }
    })?;
    outs.into_iter().next().ok_or_else(|| Error::shape(PerturbedTopK::NAME, "the operation has two results"))
}

/// N', the words set aside for a row of N positions.
fn row_words(n: usize) -> u64 {
    n.next_multiple_of(4) as u64
}
