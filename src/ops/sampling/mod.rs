//! Drawing positions with the probabilities `softmax(logits)`, by perturbing the logits with Gumbel noise.
//!
//! Position n of row b gets the key `g[b, n] = logits[b, n] − log E[b, n]` with independent exponential `E`, which is
//! `logits + Gumbel noise`. The position of the largest key is a draw from the softmax; the positions of the k largest,
//! in descending order, are k draws one after another of which none is put back (Plackett-Luce; Kool, van Hoof and
//! Welling, "Stochastic beams and where to find them", ICML 2019). It is the exponential race of Efraimidis and Spirakis
//! (2006) in other words.
//!
//! `E` comes from one 32-bit word per position by the formula of `noise`, which has neither an infinity nor coarse
//! steps where winners are made; the word of position n of row b is number `b·N' + n` of the stretch that the call sets
//! aside, with N' = N rounded up to a multiple of 4. The noise is never stored, and most of it is never computed:
//! E ≥ the word's fraction, which rules nearly all positions out before any logarithm.
//!
//! Order: larger keys first, equal ones by position. A logit of −∞ is chosen after all finite ones, NaN after those; +∞
//! is chosen first.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub(crate) mod noise;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, DeviceKind,
    device::{Meta, Metas, Op, run, run1},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    rng::{Rng, Words},
    spec::{In, Out, Real},
    tensor::Tensor,
};
use smallvec::smallvec;

/// Logits (B, N), f32, to the positions (B, k), i32, of the k largest keys in descending order, and the next largest key
/// (B), f32, which is −∞ where k = N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GumbelTopK {
    /// How many are drawn.
    pub k: usize,
    /// `B · N'` words.
    pub words: Words,
}

impl Op for GumbelTopK {
    const NAME: &'static str = "gumbel_top_k";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let [b, n] = logits(Self::NAME, ins)?;
        if self.k == 0 || self.k > n {
            let what = format!("{} draws without replacement of {n} positions: must be 1 to {n}", self.k);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![Meta::new([b, self.k], DType::I32), Meta::f32([b])])
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
        spec::top_k(self, &ins[0], outs);
    }
}

/// Logits (B, N), f32, to positions (B, draws), i32: independent draws, each the position of the largest of keys of its own.
/// Draw d of row b uses the words of row `b · draws + d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GumbelMax {
    /// How many are drawn.
    pub draws: usize,
    /// `B · draws · N'` words.
    pub words: Words,
}

impl Op for GumbelMax {
    const NAME: &'static str = "gumbel_max";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let [b, n] = logits(Self::NAME, ins)?;
        if self.draws == 0 || n == 0 {
            let what = format!("{} draws of {n} positions: both must be at least 1", self.draws);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![Meta::new([b, self.draws], DType::I32)])
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
        spec::max(self, &ins[0], &mut outs[0]);
    }
}

fn logits(op: &'static str, ins: &[Meta]) -> Result<[usize; 2]> {
    check_dtypes(op, ins, &[DType::F32])?;
    let [b, n] = axes(op, "logits", &ins[0], "(B, N)")?;
    if i32::try_from(n).is_err() {
        return Err(Error::shape(op, format!("{n} positions, but indices are 32-bit")));
    }
    Ok([b, n])
}

/// N', the words set aside for a row of N positions.
fn row_words(n: usize) -> u64 {
    n.next_multiple_of(4) as u64
}

/// Draws k of N positions without replacement, with probabilities `softmax(logits)`: logits (B, N), f32, to positions
/// (B, k), i32, in the order in which they were drawn. k is 1 to N; positions with a logit of −∞ come last. No gradient:
/// see [`expectation`](crate::ops::expectation()).
///
/// ```
/// use foveate::{Device, Rng, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[0.0_f32, 1.0, f32::NEG_INFINITY, 2.0], [1, 4], &Device::Cpu)?;
/// let drawn = ops::gumbel_top_k(&logits, 3, &mut Rng::new(1))?.to_vec::<i32>()?;
/// assert!([0, 1, 3].iter().all(|position| drawn.contains(position)));
/// # Ok(()) }
/// ```
pub fn gumbel_top_k(logits: &Tensor, k: usize, rng: &mut Rng) -> Result<Tensor> {
    Ok(gumbel_top_k_threshold(logits, k, rng)?.0)
}

/// As [`gumbel_top_k`], with the (k + 1)-th largest key κ (B), f32, −∞ where k = N. Given κ, position n is among the k
/// drawn with probability `1 − exp(−exp(logits[n] − κ))`, which makes importance weights (Kool et al. 2019, section 4.1).
///
/// ```
/// use foveate::{Device, Rng, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::zeros([2, 100], &Device::Cpu)?;
/// let (drawn, threshold) = ops::gumbel_top_k_threshold(&logits, 5, &mut Rng::new(1))?;
/// assert_eq!(*drawn.dims(), [2, 5]);
/// assert_eq!(*threshold.dims(), [2]);
/// # Ok(()) }
/// ```
pub fn gumbel_top_k_threshold(logits: &Tensor, k: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let words = rng.reserve(words_of(logits, 1));
    let mut outs = run(&GumbelTopK { k, words }, &[logits])?.into_iter();
    match (outs.next(), outs.next()) {
        (Some(indices), Some(threshold)) => Ok((indices, threshold)),
        _ => Err(Error::shape(GumbelTopK::NAME, "the operation has two results")),
    }
}

/// Draws positions independently, with replacement, with probabilities `softmax(logits)`: logits (B, N), f32, to positions
/// (B, draws), i32. A row without any finite logit gives its first position of −∞. No gradient.
///
/// ```
/// use foveate::{Device, Rng, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0], [1, 2], &Device::Cpu)?;
/// assert_eq!(ops::gumbel_max(&logits, 3, &mut Rng::new(1))?.to_vec::<i32>()?, [1, 1, 1]);
/// # Ok(()) }
/// ```
pub fn gumbel_max(logits: &Tensor, draws: usize, rng: &mut Rng) -> Result<Tensor> {
    let words = rng.reserve(words_of(logits, draws));
    run1(&GumbelMax { draws, words }, &[logits])
}

/// Words for `draws` rounds over every row; zero for shapes that the operation then refuses.
fn words_of(logits: &Tensor, draws: usize) -> u64 {
    match *logits.dims() {
        [b, n] => (b as u64).saturating_mul(draws as u64).saturating_mul(row_words(n)),
        _ => 0,
    }
}
