//! The entropy of each row: `H = −Σ p log(p + eps)` over the last axis; a probability of zero adds nothing.

use crate::{
    DType,
    cpu::{
        self, math,
        simd::{sum, vectorised},
    },
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{self, check_dtypes, elementwise::in_parallel},
    spec::{self, Real},
    tape::{Backward, Given, Gradients, apply1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// Entropy of each row: p (.., K) to (..).
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// Keeps the logarithm finite.
    pub eps: f64,
}

impl Op for Entropy {
    const NAME: &'static str = "entropy";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        if ins[0].dims.rank() == 0 {
            return Err(Error::shape(Self::NAME, "a scalar has no entropy: the last axis is summed over"));
        }
        if self.eps < 0.0 || !self.eps.is_finite() {
            return Err(Error::argument(Self::NAME, format!("eps is {}, must be 0 or positive", self.eps)));
        }
        Ok(smallvec![Meta::f32(ins[0].dims.without(ins[0].dims.rank() - 1))])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let size = ins[0].dims[ins[0].dims.rank() - 1];
        for (row, h) in outs[0].iter_mut().enumerate() {
            let p = ins[0][row * size..(row + 1) * size].iter().filter(|p| **p != T::zero());
            *h = p.fold(T::zero(), |h, &p| h - p * (p + T::of(self.eps)).ln());
        }
    }
}

/// Gradient of [`Entropy`]: operands dy (..) and p (.., K), result `−dy (log(p + eps) + p / (p + eps))`.
#[derive(Clone, Copy, Debug)]
pub struct EntropyGrad {
    /// As in [`Entropy`].
    pub eps: f64,
}

impl Op for EntropyGrad {
    const NAME: &'static str = "entropy_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
        let rows = Entropy { eps: self.eps }.infer(&ins[1..])?;
        if rows[0] != ins[0] {
            return Err(Error::shape(Self::NAME, format!("gradient {} for entropies {}", ins[0], rows[0])));
        }
        Ok(smallvec![ins[1]])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let (size, eps) = (ins[1].dims[ins[1].dims.rank() - 1], T::of(self.eps));
        for (at, to) in outs[0].iter_mut().enumerate() {
            let p = ins[1][at];
            *to = -ins[0][at / size] * ((p + eps).ln() + p / (p + eps));
        }
    }
}

vectorised! {
    fn row_entropy(p: &[f32], eps: f32) -> f64 {
        -sum(p, |p| if p == 0.0 { 0.0 } else { p * math::log(p + eps) })
    }

    fn row_gradient(p: &[f32], eps: f32, dy: f32, to: &mut [f32]) {
        for (to, &p) in to.iter_mut().zip(p) {
            *to = -dy * (math::log(p + eps) + p / (p + eps));
        }
    }
}

impl Entropy {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (p, size) = (ins[0].f32()?, ins[0].dims[ins[0].dims.rank() - 1]);
        for (row, h) in outs[0].f32()?.iter_mut().enumerate() {
            *h = row_entropy(&p[row * size..(row + 1) * size], self.eps as f32) as f32;
        }
        Ok(())
    }
}

impl EntropyGrad {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dy, p, size) = (ins[0].f32()?, ins[1].f32()?, ins[1].dims[ins[1].dims.rank() - 1]);
        if p.is_empty() {
            return Ok(());
        }
        in_parallel(outs[0].f32()?, size, |start, rows| {
            for (row, to) in rows.chunks_exact_mut(size).enumerate() {
                let at = start + row * size;
                row_gradient(&p[at..at + size], self.eps as f32, dy[at / size], to);
            }
        });
        Ok(())
    }
}

#[derive(Debug)]
struct EntropyBackward {
    eps: f64,
    p: Tensor,
}

impl Backward for EntropyBackward {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&EntropyGrad { eps: self.eps }, &[dy.one()?, &self.p]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.p]
    }
}

/// The entropy `−Σ p log(p + eps)` of each row of `p (.., K)`, of shape `(..)`, in nats.
///
/// Attention Sampling subtracts `λ` times its mean from the loss, with `eps = 1e-6`, to keep attention spread out
/// (Katharopoulos and Fleuret, ICML 2019, in the published code). Errors: a scalar; a negative `eps`.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = Tensor::from_slice(&[0.5_f32, 0.5, 1.0, 0.0], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::entropy(&p, 0.0)?.to_vec::<f32>()?, [std::f32::consts::LN_2, 0.0]);
/// # Ok(()) }
/// ```
pub fn entropy(p: &Tensor, eps: f64) -> Result<Tensor> {
    apply1(&Entropy { eps }, &[p], |save| EntropyBackward { eps, p: save.input(0) })
}

/// `(1 / B) Σ a log(a + 1e-6)` over attention maps a of shape (B, …): minus the mean entropy, so that adding a positive
/// multiple of it to a loss keeps attention spread out (Katharopoulos and Fleuret, ICML 2019).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let flat = Tensor::full(0.25_f32, [2, 4], &Device::Cpu)?;
/// assert!((ops::entropy_term(&flat)?.item::<f32>()? + 4.0_f32.ln()).abs() < 1e-4);
/// # Ok(()) }
/// ```
pub fn entropy_term(attention: &Tensor) -> Result<Tensor> {
    let Some(&batch) = attention.dims().first().filter(|_| attention.elements() > 0) else {
        let what = format!("attention maps of shape {}: they must be (B, …) and not empty", attention.dims());
        return Err(Error::shape("entropy_term", what));
    };
    let rows = ops::reshape(attention, [batch, attention.elements() / batch])?;
    ops::scale(&ops::sum_all(&entropy(&rows, 1e-6)?)?, -1.0 / batch as f64, 0.0)
}
