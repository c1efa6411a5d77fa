//! Dropout: each element is kept with probability `1 − p` and then divided by it, or set to zero (Srivastava et al.,
//! JMLR 2014). Element `i` is kept when random word `i` is at least `p · 2³²`, so the mask is a function of the counter:
//! it is the same on every device, and backward computes it again instead of storing it.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, Rng, Tensor,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::check_dtypes,
    rng::Words,
    spec::{In, Out, Real},
    tape::{Backward, Given, Gradients, apply1},
};
use smallvec::smallvec;

/// `y = x · kept / (1 − p)`. It is linear in x and its own gradient.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Probability of dropping an element, at least 0 and less than 1.
    pub p: f32,
    /// One random word per element.
    pub words: Words,
}

impl Dropout {
    /// Words below this drop their element.
    pub(crate) fn threshold(&self) -> u32 {
        (f64::from(self.p) * 4_294_967_296.0) as u32
    }

    /// What kept elements are multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (1.0 - f64::from(self.p))
    }
}

impl Op for Dropout {
    const NAME: &'static str = "dropout";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(Error::argument(
                Self::NAME,
                format!("p = {} must be at least 0 and less than 1", self.p),
            ));
        }
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        for (i, y) in outs[0].iter_mut().enumerate() {
            let kept = self.words.word(i as u64) >= self.threshold();
            *y = if kept { ins[0][i] * T::of(self.scale()) } else { T::of(0.0) };
        }
    }
}

#[derive(Debug)]
struct DropoutGrad {
    op: Dropout,
}

impl Backward for DropoutGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.op, &[dy.one()?]))
    }
}

/// Dropout of `x`, f32 of any shape, with probability `p`; the random words come from `rng`, which moves on.
///
/// ```
/// use foveate::{Device, Rng, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::full(1.0_f32, [1000], &Device::Cpu)?;
/// let y = ops::dropout(&x, 0.25, &mut Rng::new(0))?.to_vec::<f32>()?;
/// assert!(y.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
/// # Ok(()) }
/// ```
pub fn dropout(x: &Tensor, p: f32, rng: &mut Rng) -> Result<Tensor> {
    let op = Dropout { p, words: rng.reserve(x.elements() as u64) };
    apply1(&op, &[x], |_| DropoutGrad { op })
}
