//! Batch normalisation (Ioffe and Szegedy, "Batch normalization", ICML 2015), with an optional residual sum and ReLU in
//! the same pass over memory.
//!
//! `y[b, c, i] = (x[b, c, i] − mean[c]) · inv_std[c] · weight[c] + bias[c]`, then `+ residual`, then `max(·, 0)`, where
//! `inv_std = 1 / √(var + eps)`. In training, mean and (biased) variance are those of the batch, over `b` and `i`, and
//! the running estimates move by `momentum` towards the mean and the unbiased variance; in evaluation they are the
//! running estimates.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod parts;
mod spec;
mod steps;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, DeviceKind, Dims,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
    tape::{apply, apply1, record1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[cfg(feature = "cuda")]
pub(crate) use cuda::merge_statistics;
pub use steps::{BatchNormApply, BatchNormGradApply, BatchNormGradSums, BatchNormStatistics};

/// Constants of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Share of the batch's statistics in the new running estimates.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
    /// Whether the result goes through a ReLU (after the residual sum, if there is one).
    pub relu: bool,
}

/// Momentum 0.1, eps 1e-5, no ReLU.
impl Default for BatchNormConfig {
    fn default() -> Self {
        BatchNormConfig { momentum: 0.1, eps: 1e-5, relu: false }
    }
}

impl BatchNormConfig {
    fn check(&self, op: &'static str) -> Result<()> {
        if self.eps.is_nan() || self.eps < 0.0 || self.eps.is_infinite() {
            return Err(Error::argument(op, format!("eps {} must be finite and not negative", self.eps)));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument(op, format!("momentum {} must be in 0..=1", self.momentum)));
        }
        Ok(())
    }
}

/// The four tensors of shape (C) of a batch normalisation.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormTensors<'a> {
    /// Scale, with gradient.
    pub weight: &'a Tensor,
    /// Shift, with gradient.
    pub bias: &'a Tensor,
    /// Running estimate of the mean.
    pub running_mean: &'a Tensor,
    /// Running estimate of the variance.
    pub running_var: &'a Tensor,
}

/// New running estimates, which no tape watches.
#[derive(Clone, Debug)]
pub struct RunningStatistics {
    /// Estimate of the mean, (C).
    pub mean: Tensor,
    /// Estimate of the variance, (C).
    pub var: Tensor,
}

/// Training: x (B, C, …), weight, bias, running mean, running variance (C) and, if there is one, a residual of the shape
/// of x, to y, the new running mean and variance, and the batch's mean and inverse deviation for the gradient.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm(pub BatchNormConfig);

impl Op for BatchNorm {
    const NAME: &'static str = "batch_norm";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        self.0.check(Self::NAME)?;
        let (x, per_channel) = check(Self::NAME, ins)?;
        Sizes::of(x.dims).check_training(Self::NAME, x.dims)?;
        Ok(smallvec![x, per_channel, per_channel, per_channel, per_channel])
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
        spec::train(&self.0, ins, outs);
    }
}

/// Evaluation: the operands of [`BatchNorm`], to y and the inverse deviation 1 / √(running variance + eps).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormEval(pub BatchNormConfig);

impl Op for BatchNormEval {
    const NAME: &'static str = "batch_norm_eval";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        self.0.check(Self::NAME)?;
        let (x, per_channel) = check(Self::NAME, ins)?;
        Ok(smallvec![x, per_channel])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::eval(&self.0, ins, outs);
    }
}

/// The gradient of both: dy, x (B, C, …), weight, bias, mean and inverse deviation (C) to dx, dweight and dbias.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGrad {
    /// Whether mean and deviation came from the batch, so that they depend on x.
    pub training: bool,
    /// Whether the result went through a ReLU; where it did not pass is found from x again. Not to be combined with a
    /// residual, which is not at hand: mask dy first.
    pub relu: bool,
}

impl Op for BatchNormGrad {
    const NAME: &'static str = "batch_norm_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 6])?;
        let per_channel = check_grad(Self::NAME, ins)?;
        Ok(smallvec![ins[1], per_channel, per_channel])
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
        spec::grad(self, ins, outs);
    }
}

/// The sizes that matter: a tensor (B, C, …) as (batch, channels, plane).
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    channels: usize,
    plane: usize,
}

impl Sizes {
    fn of(dims: Dims) -> Self {
        Sizes { batch: dims[0], channels: dims[1], plane: dims[2..].iter().product() }
    }

    /// Refuses a batch without a variance.
    fn check_training(self, op: &'static str, dims: Dims) -> Result<()> {
        let values = self.batch * self.plane;
        if values >= 2 || self.channels == 0 {
            return Ok(());
        }
        let what = format!(
            "training needs more than one value per channel, shape {dims} has {values}: \
             use a larger batch, or evaluation"
        );
        Err(Error::shape(op, what))
    }
}

/// Checks the operands of the forward operations; gives x and the shape of what is kept per channel.
fn check(op: &'static str, ins: &[Meta]) -> Result<(Meta, Meta)> {
    check_dtypes(op, ins, &[DType::F32; 6][..ins.len().clamp(5, 6)])?;
    let x = ins[0];
    let per_channel = check_channels(op, x.dims, &ins[1..5])?;
    if let Some(residual) = ins.get(5).filter(|r| r.dims != x.dims) {
        let what = format!("a residual of shape {} cannot join x of shape {}", residual.dims, x.dims);
        return Err(Error::shape(op, what));
    }
    Ok((x, per_channel))
}

/// Checks dy, x and what is given per channel; gives its shape.
fn check_grad(op: &'static str, ins: &[Meta]) -> Result<Meta> {
    if ins[0].dims != ins[1].dims {
        return Err(Error::shape(op, format!("dy has shape {}, x has {}", ins[0].dims, ins[1].dims)));
    }
    check_channels(op, ins[1].dims, &ins[2..])
}

/// Checks that x has channels and that each of `tensors` has one value for each.
fn check_channels(op: &'static str, x: Dims, tensors: &[Meta]) -> Result<Meta> {
    if x.rank() < 2 {
        return Err(Error::shape(op, format!("x has shape {x}, must be (B, C) or (B, C, …)")));
    }
    let want = Dims::from([x[1]]);
    match tensors.iter().find(|t| t.dims != want) {
        Some(other) => Err(Error::shape(
            op,
            format!("x of shape {x} needs {want} values per tensor, got {}", other.dims),
        )),
        None => Ok(Meta::f32(want)),
    }
}

fn operands<'a>(
    x: &'a Tensor,
    residual: Option<&'a Tensor>,
    tensors: &BatchNormTensors<'a>,
) -> SmallVec<[&'a Tensor; 6]> {
    let mut all = smallvec![x, tensors.weight, tensors.bias, tensors.running_mean, tensors.running_var];
    all.extend(residual);
    all
}

/// Batch normalisation in training: `x (B, C)` or `(B, C, …)`, optionally a `residual` of the same shape, to `y` of that
/// shape and the new running statistics. One value per channel is too few and is an error.
///
/// Gradients go to x, weight, bias and residual; the running statistics have none. Mean and variance come from
/// two passes over parts that stay in cache, combined in `f64` in an order that depends on the shape alone.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::{BatchNormConfig, BatchNormTensors}};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 10.0, 3.0, 30.0], [2, 2], &Device::Cpu)?;
/// let (zeros, ones) = (Tensor::zeros([2], &Device::Cpu)?, Tensor::full(1.0_f32, [2], &Device::Cpu)?);
/// let tensors =
///     BatchNormTensors { weight: &ones, bias: &zeros, running_mean: &zeros, running_var: &ones };
/// let config = BatchNormConfig { eps: 0.0, ..Default::default() };
/// let (y, running) = ops::batch_norm(&x, None, &tensors, config)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, -1.0, 1.0, 1.0]);
/// assert_eq!(running.mean.to_vec::<f32>()?, [0.2, 2.0]);
/// assert_eq!(running.var.to_vec::<f32>()?, [1.1, 20.9]);
/// # Ok(()) }
/// ```
pub fn batch_norm(
    x: &Tensor,
    residual: Option<&Tensor>,
    tensors: &BatchNormTensors,
    config: BatchNormConfig,
) -> Result<(Tensor, RunningStatistics)> {
    let ins = operands(x, residual, tensors);
    let outs = apply(&BatchNorm(config), &ins, |save| {
        grad::Record::new(config, true, residual.is_some(), save, [save.output(3), save.output(4)])
    })?;
    match outs.as_slice() {
        [y, mean, var, ..] => {
            let running = RunningStatistics { mean: mean.detach(), var: var.detach() };
            Ok((y.clone(), running))
        }
        _ => Err(Error::shape(BatchNorm::NAME, "the operation lacks results")),
    }
}

/// Batch normalisation with the running statistics: `x (B, C)` or `(B, C, …)`, optionally a `residual` of the same
/// shape, to `y` of that shape. Each element depends on its own channel's four numbers alone, whatever the batch.
///
/// Gradients go to x, weight, bias and residual; the running statistics have none.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::{BatchNormConfig, BatchNormTensors}};
/// # fn main() -> foveate::Result<()> {
/// let of = |v: f32| Tensor::full(v, [1], &Device::Cpu);
/// let tensors = BatchNormTensors {
///     weight: &of(2.0)?, bias: &of(1.0)?, running_mean: &of(5.0)?, running_var: &of(4.0)?,
/// };
/// let x = Tensor::from_slice(&[5.0_f32, 7.0, 1.0], [3, 1], &Device::Cpu)?;
/// let config = BatchNormConfig { eps: 0.0, relu: true, ..Default::default() };
/// assert_eq!(ops::batch_norm_eval(&x, None, &tensors, config)?.to_vec::<f32>()?, [1.0, 3.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn batch_norm_eval(
    x: &Tensor,
    residual: Option<&Tensor>,
    tensors: &BatchNormTensors,
    config: BatchNormConfig,
) -> Result<Tensor> {
    let ins = operands(x, residual, tensors);
    apply1(&BatchNormEval(config), &ins, |save| {
        grad::Record::new(config, false, residual.is_some(), save, [save.input(3), save.output(1)])
    })
}

/// [`batch_norm`] with the batch's mean and inverse deviation (C) at hand, which whatever made x computed of it.
pub(crate) fn batch_norm_with(
    x: &Tensor,
    residual: Option<&Tensor>,
    tensors: &BatchNormTensors,
    [mean, inv_std]: [Tensor; 2],
    config: BatchNormConfig,
) -> Result<Tensor> {
    let mut given: SmallVec<[&Tensor; 6]> = smallvec![x, tensors.weight, tensors.bias, &mean, &inv_std];
    given.extend(residual);
    let y = run1(&BatchNormApply { relu: config.relu }, &given)?;
    let ins = operands(x, residual, tensors);
    record1(BatchNorm::NAME, &ins, y, |save| {
        grad::Record::new(config, true, residual.is_some(), save, [mean.clone(), inv_std.clone()])
    })
}
