//! Losses of a class index: `loss = Σ w[t] ℓ(x[row], t) / Σ w[t]`, or the sum alone, over the rows of `x`, where `t` is the
//! row's class and `w` the class weights (1 where none are given).
//!
//! Cross-entropy: `ℓ = log Σ exp(x) − x[t]`. Negative log likelihood of probabilities: `ℓ = −log(p[t] + eps)`.

use super::Reduction;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    DType, Dims,
    cpu::{
        self, math,
        simd::{self, vectorised},
    },
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{self, Real},
    tape::{Backward, Given, Gradients, Save, apply1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};
use std::fmt::Debug;

/// The loss of one row, as a type.
pub trait ClassKind: Debug + Send + Sync + Copy + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// The name of its gradient.
    const GRAD: &'static str;
    /// The loss's number among those that have a kernel (`kernels/losses`).
    const NUMBER: u32;
    /// What is added to a probability before its logarithm.
    fn eps(&self) -> f64 {
        0.0
    }
    /// The loss of a row whose class is `class`.
    fn loss<T: Real>(&self, row: &[T], class: usize) -> T;
    /// `scale` times the gradient of the loss with respect to the row.
    fn gradient<T: Real>(&self, row: &[T], class: usize, scale: T, to: &mut [T]);
    /// As [`ClassKind::loss`], the CPU's way.
    fn fast(&self, row: &[f32], class: usize) -> f64;
    /// As [`ClassKind::gradient`], the CPU's way.
    fn fast_gradient(&self, row: &[f32], class: usize, scale: f32, to: &mut [f32]);
}

/// Cross-entropy of logits. Takes the largest logit out first, so nothing overflows.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl ClassKind for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    const GRAD: &'static str = "cross_entropy_grad";
    const NUMBER: u32 = 0;

    fn loss<T: Real>(&self, row: &[T], class: usize) -> T {
        let largest = row.iter().fold(T::neg_infinity(), |a, &b| a.max(b));
        let sum = row.iter().fold(T::zero(), |sum, &x| sum + (x - largest).exp());
        sum.ln() + (largest - row[class])
    }

    fn gradient<T: Real>(&self, row: &[T], class: usize, scale: T, to: &mut [T]) {
        let largest = row.iter().fold(T::neg_infinity(), |a, &b| a.max(b));
        let sum = row.iter().fold(T::zero(), |sum, &x| sum + (x - largest).exp());
        for (at, (to, &x)) in to.iter_mut().zip(row).enumerate() {
            let own = if at == class { T::one() } else { T::zero() };
            *to = scale * ((x - largest).exp() / sum - own);
        }
    }

    fn fast(&self, row: &[f32], class: usize) -> f64 {
        let largest = simd::largest(row);
        sum_exp(row, largest).ln() + f64::from(largest - row[class])
    }

    fn fast_gradient(&self, row: &[f32], class: usize, scale: f32, to: &mut [f32]) {
        softmax_gradient(row, class, scale, to);
    }
}

vectorised! {
    /// `Σ exp(x − largest)`
    fn sum_exp(row: &[f32], largest: f32) -> f64 {
        simd::sum(row, |x| math::exp(x - largest))
    }

    /// `scale (softmax(row) − onehot(class))`
    fn softmax_gradient(row: &[f32], class: usize, scale: f32, to: &mut [f32]) {
        let largest = simd::largest(row);
        for (to, &x) in to.iter_mut().zip(row) {
            *to = math::exp(x - largest);
        }
        let own = to[class];
        to[class] = 0.0;
        // p − 1 cancels when p is near 1; minus the sum of the others does not.
        let others = simd::sum(to, |e| e);
        let factor = f64::from(scale) / (others + f64::from(own));
        to.iter_mut().for_each(|to| *to *= factor as f32);
        to[class] = (-factor * others) as f32;
    }
}

/// Negative log likelihood of probabilities, `−log(p + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct Nll {
    /// Keeps the logarithm finite.
    pub eps: f64,
}

impl ClassKind for Nll {
    const NAME: &'static str = "nll";
    const GRAD: &'static str = "nll_grad";
    const NUMBER: u32 = 1;

    fn eps(&self) -> f64 {
        self.eps
    }

    fn loss<T: Real>(&self, row: &[T], class: usize) -> T {
        -(row[class] + T::of(self.eps)).ln()
    }

    fn gradient<T: Real>(&self, row: &[T], class: usize, scale: T, to: &mut [T]) {
        to.fill(T::zero());
        to[class] = -scale / (row[class] + T::of(self.eps));
    }

    fn fast(&self, row: &[f32], class: usize) -> f64 {
        -(f64::from(row[class]) + self.eps).ln()
    }

    fn fast_gradient(&self, row: &[f32], class: usize, scale: f32, to: &mut [f32]) {
        self.gradient(row, class, scale, to);
    }
}

/// A loss of class indices. Operands: scores (.., C) f32, classes (..) i32 and, if given, weights (C) f32; result: a
/// scalar.
#[derive(Clone, Copy, Debug)]
pub struct ClassLoss<K> {
    /// The loss of a row.
    pub kind: K,
    /// Mean or sum over the rows.
    pub reduction: Reduction,
}

/// Gradient of a [`ClassLoss`]: operands dy (scalar), scores, classes and, if given, weights; result of the scores' shape.
#[derive(Clone, Copy, Debug)]
pub struct ClassLossGrad<K> {
    /// The loss.
    pub loss: ClassLoss<K>,
}

fn check(op: &'static str, ins: &[Meta]) -> Result<()> {
    check_dtypes(op, ins, &[DType::F32, DType::I32, DType::F32][..ins.len().clamp(2, 3)])?;
    let (scores, classes) = (ins[0].dims, ins[1].dims);
    let Some(&count) = scores.last() else {
        return Err(Error::shape(op, "scores without axes: the last axis is that of the classes"));
    };
    if scores[..scores.rank() - 1] != *classes {
        let what = format!("scores {scores} need one class per row, classes have shape {classes}");
        return Err(Error::shape(op, what));
    }
    match ins.get(2).map(|weights| weights.dims) {
        Some(weights) if *weights != [count] => {
            Err(Error::shape(op, format!("class weights of shape {weights} for {count} classes")))
        }
        _ => Ok(()),
    }
}

impl<K: ClassKind> Op for ClassLoss<K> {
    const NAME: &'static str = K::NAME;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(K::NAME, ins)?;
        Ok(smallvec![Meta::f32(Dims::SCALAR)])
    }

    fn validate(&self, ins: &[cpu::In]) -> Result<()> {
        check_classes(K::NAME, ins)
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let mut sum = T::zero();
        each_row(ins, |row, class, weight| sum += weight * self.kind.loss(row, class));
        outs[0][0] = sum / self.divisor(ins);
    }
}

impl<K: ClassKind> Op for ClassLossGrad<K> {
    const NAME: &'static str = K::GRAD;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let rest = ins.get(1..).unwrap_or_default();
        check(K::GRAD, rest)?;
        if ins[0] != Meta::f32(Dims::SCALAR) {
            return Err(Error::shape(K::GRAD, format!("the gradient of a scalar loss is {}", ins[0])));
        }
        Ok(smallvec![rest[0]])
    }

    fn validate(&self, ins: &[cpu::In]) -> Result<()> {
        check_classes(K::GRAD, &ins[1..])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        let (dy, ins) = (ins[0][0], &ins[1..]);
        let (divisor, mut at) = (self.loss.divisor(ins), 0);
        each_row(ins, |row, class, weight| {
            let to = &mut outs[0].x[at..at + row.len()];
            self.loss.kind.gradient(row, class, dy * weight / divisor, to);
            at += row.len();
        });
    }
}

/// Calls `f` with every row, its class and that class's weight.
fn each_row<T: Real>(ins: &[spec::In<T>], mut f: impl FnMut(&[T], usize, T)) {
    let count = ins[0].dims[ins[0].dims.rank() - 1];
    for (at, &class) in ins[1].int.iter().enumerate() {
        let weight = ins.get(2).map_or(T::one(), |weights| weights[class as usize]);
        f(&ins[0][at * count..(at + 1) * count], class as usize, weight);
    }
}

impl<K: ClassKind> ClassLoss<K> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::class_loss(cx, &self.kind, self.reduction, ins, &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::class_loss(cx, &self.kind, self.reduction, ins, &outs[0])
    }

    /// What the sum is divided by.
    fn divisor<T: Real>(&self, ins: &[spec::In<T>]) -> T {
        let mut total = T::zero();
        each_row(ins, |_, _, weight| total += weight);
        if self.reduction == Reduction::Mean { total } else { T::one() }
    }

    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let rows = Rows::new(ins)?;
        let mut sum = 0.0;
        rows.each(|_, row, class, weight| sum += weight * self.kind.fast(row, class));
        outs[0].f32()?[0] = (sum / rows.divisor(self.reduction)) as f32;
        Ok(())
    }
}

impl<K: ClassKind> ClassLossGrad<K> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::class_loss_grad(cx, &self.loss.kind, self.loss.reduction, ins, &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::class_loss_grad(cx, &self.loss.kind, self.loss.reduction, ins, &outs[0])
    }

    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let dy = f64::from(ins[0].f32()?[0]);
        let rows = Rows::new(&ins[1..])?;
        let scale = dy / rows.divisor(self.loss.reduction);
        let to = outs[0].f32()?;
        rows.each(|at, row, class, weight| {
            self.loss.kind.fast_gradient(row, class, (scale * weight) as f32, &mut to[at..at + row.len()]);
        });
        Ok(())
    }
}

/// Refuses classes outside those of the scores; `ins` are scores and classes.
fn check_classes(op: &'static str, ins: &[cpu::In]) -> Result<()> {
    let (classes, count) = (ins[1].i32()?, ins[0].dims[ins[0].dims.rank() - 1]);
    match classes.iter().position(|&class| class < 0 || class as usize >= count) {
        None => Ok(()),
        Some(at) => {
            Err(Error::argument(op, format!("class {} (row {at}) is not in 0..{count}", classes[at])))
        }
    }
}

/// The rows of one run on the CPU.
struct Rows<'a> {
    /// (rows, count)
    scores: &'a [f32],
    /// (rows)
    classes: &'a [i32],
    /// (count)
    weights: Option<&'a [f32]>,
    count: usize,
}

impl<'a> Rows<'a> {
    fn new(ins: &[cpu::In<'a>]) -> Result<Self> {
        let count = ins[0].dims[ins[0].dims.rank() - 1];
        let weights = ins.get(2).map(cpu::In::f32).transpose()?;
        Ok(Rows { scores: ins[0].f32()?, classes: ins[1].i32()?, weights, count })
    }

    fn each(&self, mut f: impl FnMut(usize, &[f32], usize, f64)) {
        for (row, &class) in self.classes.iter().enumerate() {
            let (at, class) = (row * self.count, class as usize);
            let weight = self.weights.map_or(1.0, |weights| f64::from(weights[class]));
            f(at, &self.scores[at..at + self.count], class, weight);
        }
    }

    fn divisor(&self, reduction: Reduction) -> f64 {
        let mut total = 0.0;
        self.each(|_, _, _, weight| total += weight);
        if reduction == Reduction::Mean { total } else { 1.0 }
    }
}

#[derive(Debug)]
struct ClassGrad<K> {
    op: ClassLossGrad<K>,
    /// Scores, classes and, if given, weights.
    ins: SmallVec<[Tensor; 3]>,
}

impl<K: ClassKind> Backward for ClassGrad<K> {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || {
            let mut ins: SmallVec<[&Tensor; 4]> = smallvec![dy.one()?];
            ins.extend(&self.ins);
            run1(&self.op, &ins)
        })
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.ins.iter().collect()
    }
}

fn apply<K: ClassKind>(
    loss: ClassLoss<K>,
    scores: &Tensor,
    classes: &Tensor,
    weights: Option<&Tensor>,
) -> Result<Tensor> {
    if weights.is_some_and(Tensor::is_watched) {
        return Err(Error::tape(format!("{}: class weights have no gradient, detach them", K::NAME)));
    }
    let mut ins: SmallVec<[&Tensor; 3]> = smallvec![scores, classes];
    ins.extend(weights);
    apply1(&loss, &ins, |save: &Save| ClassGrad {
        op: ClassLossGrad { loss },
        ins: (0..ins.len()).map(|at| save.input(at)).collect(),
    })
}

/// Cross-entropy of `logits (.., C)` and classes `(..)` i32, as a scalar: `−w[t] log softmax(logits)[t]`, averaged (with
/// `weights (C)`: divided by the sum of the weights met) or summed.
///
/// Errors: shapes that do not fit; on the CPU, a class outside `0..C`. Gradient of the logits:
/// `w[t] (softmax(logits) − onehot(t))`, over the same divisor.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[0.0_f32, 0.0, 1000.0, 0.0], [2, 2], &Device::Cpu)?;
/// let classes = Tensor::from_slice(&[1, 0], [2], &Device::Cpu)?;
/// let loss = ops::cross_entropy(&logits, &classes, None, ops::Reduction::Sum)?;
/// assert_eq!(loss.item::<f32>()?, std::f32::consts::LN_2);
/// # Ok(()) }
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    classes: &Tensor,
    weights: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    apply(ClassLoss { kind: CrossEntropy, reduction }, logits, classes, weights)
}

/// Negative log likelihood of `probabilities (.., C)` and classes `(..)` i32, as a scalar: `−w[t] log(p[t] + eps)`, averaged
/// (with `weights (C)`: divided by the sum of the weights met) or summed. Iterative Patch Selection trains with
/// `eps = 1e-6` (Bergner, Lippert, Mahendran, ICLR 2023, in its published code).
///
/// Errors: shapes that do not fit; a negative `eps`; on the CPU, a class outside `0..C`. Gradient of the probabilities:
/// `−w[t] / (p[t] + eps)` at the class, zero elsewhere, over the same divisor.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = Tensor::from_slice(&[0.25_f32, 0.75, 1.0, 0.0], [2, 2], &Device::Cpu)?;
/// let classes = Tensor::from_slice(&[0, 0], [2], &Device::Cpu)?;
/// let loss = ops::nll(&p, &classes, None, 0.0, ops::Reduction::Mean)?;
/// assert_eq!(loss.item::<f32>()?, 4.0_f32.ln() / 2.0);
/// # Ok(()) }
/// ```
pub fn nll(
    probabilities: &Tensor,
    classes: &Tensor,
    weights: Option<&Tensor>,
    eps: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    if eps < 0.0 || !eps.is_finite() {
        return Err(Error::argument(Nll::NAME, format!("eps is {eps}, it must be zero or positive")));
    }
    apply(ClassLoss { kind: Nll { eps }, reduction }, probabilities, classes, weights)
}
