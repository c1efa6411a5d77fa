//! A convolution and the statistics that a batch norm behind it needs, from one pass: on CUDA every block keeps those of the
//! results it has in registers, and a second launch merges them, so that no kernel reads y for their sake. The CPU and wgpu
//! compute them from y.

use super::{Conv2d, grad};
use crate::{
    DeviceKind, cpu,
    device::{Meta, Metas, Op, run},
    error::{Error, Result},
    ops::batch_norm::{
        BatchNormConfig, BatchNormStatistics, BatchNormTensors, RunningStatistics, batch_norm_with,
    },
    spec::{In, Out, Real},
    tape::record1,
    tensor::Tensor,
};

/// x (B, C, H, W), weight (O, C / groups, kh, kw), running mean and running variance (O) to y (B, O, h, w), as [`Conv2d`]
/// gives it, and the results of [`BatchNormStatistics`] of y. All are f32.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dStatistics {
    /// The convolution.
    pub conv: Conv2d,
    /// The batch norm behind it.
    pub norm: BatchNormConfig,
}

impl Op for Conv2dStatistics {
    const NAME: &'static str = "conv2d_statistics";
    /// That of [`Conv2d`].
    const TOLERANCE: f64 = Conv2d::TOLERANCE;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let [x, weight, running @ ..] = ins else {
            return Err(Error::argument(Self::NAME, "takes x, weight, running mean and running variance"));
        };
        let mut results = self.conv.infer(&[*x, *weight])?;
        let of_y: Vec<Meta> = results.iter().chain(running).copied().collect();
        results.extend(BatchNormStatistics(self.norm).infer(&of_y)?);
        Ok(results)
    }

    #[allow(unused_variables)] // in a build for the CPU alone
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.cuda_scratch(ins),
            // What does not fit was refused before.
            _ => self.conv.infer(&ins[..2]).map_or(0, |y| BatchNormStatistics(self.norm).scratch(device, &y)),
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let (y, rest) = outs.split_at_mut(1);
        self.conv.spec(&ins[..2], y);
        let y = In { dims: y[0].dims, x: &*y[0].x, int: &*y[0].int };
        let running = |at: usize| In { dims: ins[at].dims, x: ins[at].x, int: ins[at].int };
        BatchNormStatistics(self.norm).spec(&[y, running(2), running(3)], rest);
    }
}

impl Conv2dStatistics {
    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (y, rest) = outs.split_at_mut(1);
        self.conv.cpu(&ins[..2], y)?;
        let y = cpu::In { dims: y[0].dims, dtype: y[0].dtype, bytes: &*y[0].bytes };
        let running = |at: usize| cpu::In { dims: ins[at].dims, dtype: ins[at].dtype, bytes: ins[at].bytes };
        BatchNormStatistics(self.norm).cpu(&[y, running(2), running(3)], rest)
    }

    #[cfg(feature = "wgpu")]
    fn on_wgpu(
        &self,
        cx: &crate::wgpu::Cx,
        ins: &[crate::wgpu::In],
        outs: &[crate::wgpu::Out],
    ) -> Result<()> {
        self.conv.wgpu(cx, &ins[..2], &outs[..1])?;
        BatchNormStatistics(self.norm).wgpu(cx, &[outs[0], ins[2], ins[3]], &outs[1..])
    }
}

/// `batch_norm(conv2d(x, weight))` in training, and the new running statistics: see [`conv2d`](super::conv2d) and
/// [`batch_norm`](crate::ops::batch_norm()). Gradients of x, weight, the batch norm's weight and bias, and the residual.
///
/// On CUDA the convolution's blocks keep the statistics of what they write; sums are then in the order of its tiles, so that
/// results agree with the two operations but for rounding. The CPU and wgpu give their bits.
///
/// # Errors
///
/// Those of the two operations.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::{BatchNormConfig, BatchNormTensors, Conv2d}};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 3.0, 5.0, 7.0], [1, 1, 2, 2], &Device::Cpu)?;
/// let weight = Tensor::full(2.0_f32, [1, 1, 1, 1], &Device::Cpu)?;
/// let (zero, one) = (Tensor::zeros([1], &Device::Cpu)?, Tensor::full(1.0_f32, [1], &Device::Cpu)?);
/// let tensors = BatchNormTensors { weight: &one, bias: &zero, running_mean: &zero, running_var: &one };
/// let config = BatchNormConfig { relu: true, ..Default::default() };
/// let (y, running) = ops::conv2d_batch_norm(&x, &weight, None, &tensors, Conv2d::new(1, 0), config)?;
/// assert_eq!(y.to_vec::<f32>()?[..2], [0.0; 2]);
/// assert_eq!(running.mean.to_vec::<f32>()?, [0.8]);
/// # Ok(()) }
/// ```
pub fn conv2d_batch_norm(
    x: &Tensor,
    weight: &Tensor,
    residual: Option<&Tensor>,
    tensors: &BatchNormTensors,
    conv: Conv2d,
    config: BatchNormConfig,
) -> Result<(Tensor, RunningStatistics)> {
    let conv = conv.on(Conv2dStatistics::NAME, &x.device())?;
    let op = Conv2dStatistics { conv, norm: config };
    let outs = run(&op, &[x, weight, tensors.running_mean, tensors.running_var])?;
    let [y, new_mean, new_var, mean, inv_std] = outs.as_slice() else {
        return Err(Error::shape(Conv2dStatistics::NAME, "the operation lacks results"));
    };
    let y = record1(Conv2d::NAME, &[x, weight], y.clone(), |save| grad::Conv2dGrad::new(conv, save))?;
    let y = batch_norm_with(&y, residual, tensors, [mean.clone(), inv_std.clone()], config)?;
    Ok((y, RunningStatistics { mean: new_mean.clone(), var: new_var.clone() }))
}
