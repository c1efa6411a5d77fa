//! Losses against one true class per row: cross-entropy from logits, and the negative log-likelihood of probabilities.

use super::{LossGrad, Reduction, terms::log_sum_exp};
use crate::{
    DType, Dims, Tensor, cpu,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::axes,
    spec::{In, Out, Real},
    tape::{Save, apply1},
};
use smallvec::{SmallVec, smallvec};

/// Checks x (N, C), target i32 (N) and, if there is one, the class weights (C).
fn check(op: &'static str, ins: &[Meta]) -> Result<[usize; 2]> {
    if !(2..=3).contains(&ins.len()) {
        return Err(Error::argument(op, format!("{} operands, must be 2 or 3", ins.len())));
    }
    let wanted = [DType::F32, DType::I32, DType::F32];
    crate::ops::check_dtypes(op, ins, &wanted[..ins.len()])?;
    let [n, c] = axes(op, "the first operand", &ins[0], "(N, C)")?;
    let [targets] = axes(op, "the target", &ins[1], "(N)")?;
    if targets != n || n == 0 || c == 0 {
        return Err(Error::shape(
            op,
            format!("{targets} targets for {}: one for each row, at least one", ins[0].dims),
        ));
    }
    if let Some(weights) = ins.get(2) {
        let [size] = axes(op, "the class weights", weights, "(C)")?;
        if size != c {
            return Err(Error::shape(op, format!("{size} class weights for {c} classes")));
        }
    }
    Ok([n, c])
}

/// A target outside `0..classes` is an error on the CPU. (On a GPU it gives NaN: the host does not see it.)
fn check_targets(op: &'static str, targets: &[i32], classes: usize) -> Result<()> {
    match targets.iter().find(|t| **t < 0 || **t as usize >= classes) {
        Some(bad) => Err(Error::argument(op, format!("target {bad} is not one of {classes} classes"))),
        None => Ok(()),
    }
}

/// `Σ w_t (log Σ exp(x) − x_t)`, divided by `Σ w_t` for the mean. Operands: logits (N, C), target i32 (N), perhaps class
/// weights (C).
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// Mean or sum over rows.
    pub reduction: Reduction,
}

/// Gradient of [`CrossEntropy`] with respect to the logits. Operands: dy (a scalar), then those of the loss.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropyGrad {
    /// Of the loss.
    pub reduction: Reduction,
}

/// The loss over rows of logits; `weight(class)` and `target(row)` say the rest.
fn cross_entropy_value<T: Real>(
    reduction: Reduction,
    logits: &[T],
    classes: usize,
    target: impl Fn(usize) -> usize,
    weight: impl Fn(usize) -> T,
) -> T {
    let (mut sum, mut weights) = (T::of(0.0), T::of(0.0));
    for (n, row) in logits.chunks(classes).enumerate() {
        let w = weight(target(n));
        sum += w * (log_sum_exp(row) - row[target(n)]);
        weights += w;
    }
    if reduction == Reduction::Mean { sum / weights } else { sum }
}

fn cross_entropy_gradient<T: Real>(
    reduction: Reduction,
    (dy, logits, dx): (T, &[T], &mut [T]),
    classes: usize,
    target: impl Fn(usize) -> usize,
    weight: impl Fn(usize) -> T,
) {
    let rows = logits.len() / classes;
    let total = (0..rows).map(|n| weight(target(n))).fold(T::of(0.0), |a, b| a + b);
    let scale = if reduction == Reduction::Mean { dy / total } else { dy };
    for (n, (row, dx)) in logits.chunks(classes).zip(dx.chunks_mut(classes)).enumerate() {
        let (log_sum, w) = (log_sum_exp(row), weight(target(n)) * scale);
        for (c, (x, dx)) in row.iter().zip(dx).enumerate() {
            let indicator = if c == target(n) { T::of(1.0) } else { T::of(0.0) };
            *dx = w * ((*x - log_sum).exp() - indicator);
        }
    }
}

impl Op for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    crate::arms!(cpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(Self::NAME, ins)?;
        Ok(smallvec![Meta::f32(Dims::SCALAR)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let target = |n: usize| ins[1].int[n] as usize;
        let weight = |c: usize| ins.get(2).map_or(T::of(1.0), |w| w[c]);
        outs[0][0] = cross_entropy_value(self.reduction, &ins[0], ins[0].dims[1], target, weight);
    }
}

impl CrossEntropy {
    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, target, classes) = (ins[0].f32()?, ins[1].i32()?, ins[0].dims[1]);
        check_targets(Self::NAME, target, classes)?;
        let weights = ins.get(2).map(|w| w.f32()).transpose()?;
        let weight = |c: usize| weights.map_or(1.0, |w| w[c]);
        outs[0].f32()?[0] = cross_entropy_value(self.reduction, x, classes, |n| target[n] as usize, weight);
        Ok(())
    }
}

impl Op for CrossEntropyGrad {
    const NAME: &'static str = "cross_entropy_grad";
    crate::arms!(cpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(Self::NAME, &ins[1..])?;
        Ok(smallvec![ins[1]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let target = |n: usize| ins[2].int[n] as usize;
        let weight = |c: usize| ins.get(3).map_or(T::of(1.0), |w| w[c]);
        let data = (ins[0][0], &*ins[1], &mut *outs[0].x);
        cross_entropy_gradient(self.reduction, data, ins[1].dims[1], target, weight);
    }
}

impl CrossEntropyGrad {
    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dy, x, target, classes) = (ins[0].f32()?[0], ins[1].f32()?, ins[2].i32()?, ins[1].dims[1]);
        check_targets(Self::NAME, target, classes)?;
        let weights = ins.get(3).map(|w| w.f32()).transpose()?;
        let weight = |c: usize| weights.map_or(1.0, |w| w[c]);
        let data = (dy, x, outs[0].f32()?);
        cross_entropy_gradient(self.reduction, data, classes, |n| target[n] as usize, weight);
        Ok(())
    }
}

/// Cross-entropy of `logits (N, C)` against the classes `target`, i32 (N), with optional class weights (C); the mean is
/// then the weighted mean.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::zeros([2, 4], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[1, 3], [2], &Device::Cpu)?;
/// let loss = ops::cross_entropy(&logits, &target, None, ops::Reduction::Mean)?;
/// assert!((loss.item::<f32>()? - 4.0_f32.ln()).abs() < 1e-6);
/// # Ok(()) }
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    target: &Tensor,
    weights: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    let ins: SmallVec<[&Tensor; 3]> = [Some(logits), Some(target), weights].into_iter().flatten().collect();
    apply1(&CrossEntropy { reduction }, &ins, |save: &Save| LossGrad {
        op: CrossEntropyGrad { reduction },
        operands: (0..ins.len()).map(|at| save.input(at)).collect(),
    })
}

/// `mean of −log(p_t + ε)`. Operands: probabilities (N, C), target i32 (N).
#[derive(Clone, Copy, Debug)]
pub struct Nll {
    /// ε.
    pub eps: f64,
}

/// Gradient of [`Nll`] with respect to the probabilities. Operands: dy (a scalar), then those of the loss.
#[derive(Clone, Copy, Debug)]
pub struct NllGrad {
    /// Of the loss.
    pub eps: f64,
}

impl Op for Nll {
    const NAME: &'static str = "nll";
    crate::arms!(cpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(Self::NAME, &ins[..ins.len().min(2)])?;
        Ok(smallvec![Meta::f32(Dims::SCALAR)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let rows = ins[0].chunks(ins[0].dims[1]).zip(ins[1].int);
        let sum =
            rows.map(|(row, &t)| -(row[t as usize] + T::of(self.eps)).ln()).fold(T::of(0.0), |a, b| a + b);
        outs[0][0] = sum / T::of(ins[0].dims[0] as f64);
    }
}

impl Nll {
    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (p, target, classes) = (ins[0].f32()?, ins[1].i32()?, ins[0].dims[1]);
        check_targets(Self::NAME, target, classes)?;
        let rows = p.chunks(classes).zip(target);
        let sum: f32 = rows.map(|(row, &t)| -(row[t as usize] + self.eps as f32).ln()).sum();
        outs[0].f32()?[0] = sum / target.len() as f32;
        Ok(())
    }
}

impl Op for NllGrad {
    const NAME: &'static str = "nll_grad";
    crate::arms!(cpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check(Self::NAME, &ins[1..])?;
        Ok(smallvec![ins[1]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let [n, c] = [ins[1].dims[0], ins[1].dims[1]];
        for (row, &t) in ins[2].int.iter().enumerate() {
            let at = row * c + t as usize;
            outs[0][at] = -ins[0][0] / T::of(n as f64) / (ins[1][at] + T::of(self.eps));
        }
    }
}

impl NllGrad {
    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dy, p, target, classes) = (ins[0].f32()?[0], ins[1].f32()?, ins[2].i32()?, ins[1].dims[1]);
        check_targets(Self::NAME, target, classes)?;
        let dp = outs[0].f32()?;
        dp.fill(0.0);
        for (row, &t) in target.iter().enumerate() {
            let at = row * classes + t as usize;
            dp[at] = -dy / target.len() as f32 / (p[at] + self.eps as f32);
        }
        Ok(())
    }
}

/// Mean negative log-likelihood `−log(p_t + ε)` of probabilities (N, C) against the classes `target`, i32 (N). With ε =
/// 1e-6 this is the loss of the published Iterative Patch Selection.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = Tensor::from_slice(&[0.25_f32, 0.75], [1, 2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[1], [1], &Device::Cpu)?;
/// assert!((ops::nll(&p, &target, 1e-6)?.item::<f32>()? + 0.75_f32.ln()).abs() < 1e-5);
/// # Ok(()) }
/// ```
pub fn nll(probabilities: &Tensor, target: &Tensor, eps: f64) -> Result<Tensor> {
    apply1(&Nll { eps }, &[probabilities, target], |save: &Save| LossGrad {
        op: NllGrad { eps },
        operands: smallvec![save.input(0), save.input(1)],
    })
}
