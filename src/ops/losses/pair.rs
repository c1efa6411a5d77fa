//! Losses of pairs of numbers: `loss = Σ ℓ(x, t) / n`, or the sum alone, over the `n` elements of `x` and `t`.
//!
//! * binary cross-entropy of logits: `ℓ = max(x, 0) − x t + log(1 + e^−|x|)`, which is `−t log σ(x) − (1−t) log(1−σ(x))`;
//! * binary cross-entropy of probabilities: `ℓ = −t log x − (1−t) log(1−x)`, logarithms no lower than −100;
//! * squared error: `ℓ = (x − t)²`.

use super::Reduction;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    DType, DeviceKind, Dims, cpu,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{check_dtypes, elementwise::in_parallel},
    spec::{self, Real},
    tape::{Backward, Given, Gradients, apply1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};
use std::{fmt::Debug, marker::PhantomData};

/// The loss of one pair, as a type.
pub trait PairKind: Debug + Send + Sync + Copy + Default + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// The name of its gradient.
    const GRAD: &'static str;
    /// The loss's number among those that have a kernel (`kernels/losses`).
    const NUMBER: u32;
    /// The loss of a pair.
    fn loss<T: Real>(x: T, t: T) -> T;
    /// Its derivative by `x`.
    fn dx<T: Real>(x: T, t: T) -> T;
    /// Its derivative by `t`.
    fn dt<T: Real>(x: T, t: T) -> T;
}

/// Binary cross-entropy of logits.
#[derive(Clone, Copy, Debug, Default)]
pub struct BceWithLogits;

impl PairKind for BceWithLogits {
    const NAME: &'static str = "bce_with_logits";
    const GRAD: &'static str = "bce_with_logits_grad";
    const NUMBER: u32 = 0;

    fn loss<T: Real>(x: T, t: T) -> T {
        let positive = if x < T::zero() { T::zero() } else { x };
        positive - x * t + (-x.abs()).exp().ln_1p()
    }

    fn dx<T: Real>(x: T, t: T) -> T {
        // σ(x) − t, from e^−|x| ≤ 1 so that nothing overflows.
        let z = (-x.abs()).exp();
        let sigmoid = if x < T::zero() { z / (T::one() + z) } else { T::one() / (T::one() + z) };
        sigmoid - t
    }

    fn dt<T: Real>(x: T, _: T) -> T {
        -x
    }
}

/// Binary cross-entropy of probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bce;

/// The logarithm, no lower than −100; NaN stays NaN.
fn clamped_ln<T: Real>(x: T) -> T {
    let (y, least) = (x.ln(), T::of(-100.0));
    if y < least { least } else { y }
}

impl PairKind for Bce {
    const NAME: &'static str = "bce";
    const GRAD: &'static str = "bce_grad";
    const NUMBER: u32 = 1;

    fn loss<T: Real>(x: T, t: T) -> T {
        -(t * clamped_ln(x) + (T::one() - t) * clamped_ln(T::one() - x))
    }

    fn dx<T: Real>(x: T, t: T) -> T {
        let (product, least) = (x * (T::one() - x), T::of(1e-12));
        (x - t) / if product < least { least } else { product }
    }

    fn dt<T: Real>(x: T, _: T) -> T {
        clamped_ln(T::one() - x) - clamped_ln(x)
    }
}

/// Squared error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mse;

impl PairKind for Mse {
    const NAME: &'static str = "mse";
    const GRAD: &'static str = "mse_grad";
    const NUMBER: u32 = 2;

    fn loss<T: Real>(x: T, t: T) -> T {
        (x - t) * (x - t)
    }

    fn dx<T: Real>(x: T, t: T) -> T {
        T::of(2.0) * (x - t)
    }

    fn dt<T: Real>(x: T, t: T) -> T {
        T::of(2.0) * (t - x)
    }
}

/// A loss of pairs. Operands: x and t, f32 of one shape; result: a scalar.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairLoss<K> {
    /// The loss of a pair.
    pub kind: PhantomData<K>,
    /// Mean or sum over the pairs.
    pub reduction: Reduction,
}

/// Which operand of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Operand {
    /// The first: the prediction.
    #[default]
    X,
    /// The second: the target.
    T,
}

/// Gradient of a [`PairLoss`] with respect to one operand: operands dy (scalar), x and t; result of their shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairLossGrad<K> {
    /// The loss.
    pub loss: PairLoss<K>,
    /// The operand.
    pub of: Operand,
}

fn check(op: &'static str, ins: &[Meta]) -> Result<Dims> {
    check_dtypes(op, ins, &[DType::F32; 2])?;
    if ins[0].dims != ins[1].dims {
        let what = format!("prediction {} and target {} must have one shape", ins[0].dims, ins[1].dims);
        return Err(Error::shape(op, what));
    }
    Ok(ins[0].dims)
}

impl<K: PairKind> Op for PairLoss<K> {
    const NAME: &'static str = K::NAME;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(K::NAME, ins)?;
        Ok(smallvec![Meta::f32(Dims::SCALAR)])
    }

    #[allow(unused_variables)] // in a build for the CPU alone
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "wgpu")]
            DeviceKind::Wgpu => super::wgpu::pair_scratch(ins[0].dims.elements()),
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => super::cuda::pair_scratch(ins[0].dims.elements()),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let sum = ins[0].iter().zip(ins[1].iter()).fold(T::zero(), |sum, (&x, &t)| sum + K::loss(x, t));
        outs[0][0] = sum * T::of(self.factor(ins[0].x.len()));
    }
}

impl<K: PairKind> Op for PairLossGrad<K> {
    const NAME: &'static str = K::GRAD;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let dims = check(K::GRAD, ins.get(1..).unwrap_or_default())?;
        if ins[0] != Meta::f32(Dims::SCALAR) {
            return Err(Error::shape(K::GRAD, format!("the gradient of a scalar loss is {}", ins[0])));
        }
        Ok(smallvec![Meta::f32(dims)])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let scale = ins[0][0] * T::of(self.loss.factor(ins[1].x.len()));
        for (i, y) in outs[0].iter_mut().enumerate() {
            let (x, t) = (ins[1][i], ins[2][i]);
            *y = scale * if self.of == Operand::X { K::dx(x, t) } else { K::dt(x, t) };
        }
    }
}

impl<K: PairKind> PairLoss<K> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::pair_loss::<K>(cx, self.factor(ins[0].dims.elements()), ins, &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::pair_loss::<K>(cx, self.factor(ins[0].dims.elements()), ins, &outs[0])
    }

    /// What the sum over `n` pairs is multiplied by.
    fn factor(&self, n: usize) -> f64 {
        if self.reduction == Reduction::Mean { 1.0 / n as f64 } else { 1.0 }
    }

    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, t) = (ins[0].f32()?, ins[1].f32()?);
        let sum = x.iter().zip(t).fold(0.0, |sum, (&x, &t)| sum + f64::from(K::loss(x, t)));
        outs[0].f32()?[0] = if x.is_empty() && self.reduction == Reduction::Mean {
            f32::NAN
        } else {
            (sum * self.factor(x.len())) as f32
        };
        Ok(())
    }
}

impl<K: PairKind> PairLossGrad<K> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::pair_loss_grad::<K>(cx, self.loss.factor(ins[1].dims.elements()), self.of, ins, &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::pair_loss_grad::<K>(cx, self.loss.factor(ins[1].dims.elements()), self.of, ins, &outs[0])
    }

    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, t) = (ins[1].f32()?, ins[2].f32()?);
        let scale = (f64::from(ins[0].f32()?[0]) * self.loss.factor(x.len())) as f32;
        in_parallel(outs[0].f32()?, 1, |start, y| {
            let end = start + y.len();
            for ((y, &x), &t) in y.iter_mut().zip(&x[start..end]).zip(&t[start..end]) {
                *y = scale * if self.of == Operand::X { K::dx(x, t) } else { K::dt(x, t) };
            }
        });
        Ok(())
    }
}

#[derive(Debug)]
struct PairGrad<K> {
    loss: PairLoss<K>,
    x: Tensor,
    t: Tensor,
}

impl<K: PairKind> Backward for PairGrad<K> {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        for (at, of) in [Operand::X, Operand::T].into_iter().enumerate() {
            to.give(at, || run1(&PairLossGrad { loss: self.loss, of }, &[dy.one()?, &self.x, &self.t]))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.x, &self.t]
    }
}

fn apply<K: PairKind>(x: &Tensor, t: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let loss = PairLoss::<K> { kind: PhantomData, reduction };
    apply1(&loss, &[x, t], |save| PairGrad { loss, x: save.input(0), t: save.input(1) })
}

/// Binary cross-entropy of `logits` and `target` probabilities of the same shape, averaged or summed to a scalar; finite for
/// any finite logit. Gradients: `σ(x) − t` for the logits, `−x` for the target.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[0.0_f32, -500.0], [2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[1.0_f32, 1.0], [2], &Device::Cpu)?;
/// let loss = ops::bce_with_logits(&logits, &target, ops::Reduction::Sum)?;
/// assert_eq!(loss.item::<f32>()?, 500.0 + std::f32::consts::LN_2);
/// # Ok(()) }
/// ```
pub fn bce_with_logits(logits: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply::<BceWithLogits>(logits, target, reduction)
}

/// Binary cross-entropy of `probabilities` and `target` probabilities of the same shape, averaged or summed to a scalar.
/// Logarithms are clamped at −100, as PyTorch does, so that a probability of 0 or 1 costs at most 100. Gradient of the
/// probabilities: `(p − t) / max(p (1 − p), 1e-12)`.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = Tensor::from_slice(&[0.5_f32, 0.0], [2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[0.0_f32, 1.0], [2], &Device::Cpu)?;
/// let loss = ops::bce(&p, &target, ops::Reduction::Mean)?;
/// assert_eq!(loss.item::<f32>()?, (100.0 + std::f32::consts::LN_2) / 2.0);
/// # Ok(()) }
/// ```
pub fn bce(probabilities: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply::<Bce>(probabilities, target, reduction)
}

/// Squared error of `x` and `target` of the same shape, averaged or summed to a scalar. Gradients: `2 (x − t)` and its
/// negative.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 4.0], [2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[0.0_f32, 2.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::mse(&x, &target, ops::Reduction::Mean)?.item::<f32>()?, 2.5);
/// # Ok(()) }
/// ```
pub fn mse(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply::<Mse>(x, target, reduction)
}
