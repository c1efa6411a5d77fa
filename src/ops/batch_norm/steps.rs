//! The steps of batch normalisation as operations of their own, for batches of which only a part is in memory at a time:
//! [`BatchNormStatistics`] and [`BatchNormGradSums`] reduce, [`BatchNormApply`] and [`BatchNormGradApply`] treat every image
//! by itself. PyTorch cuts `SyncBatchNorm` at the same places.

use super::{BatchNormConfig, Sizes, check_channels, spec};
use crate::{
    DType, DeviceKind,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
};
use smallvec::smallvec;

/// Scratch of a reduction over the images of `x`, operand `at`.
macro_rules! scratch {
    () => {
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
    };
}

/// What training needs to know of a batch: x (B, C, …), running mean and running variance (C) to the new running mean and
/// variance, and the batch's mean and inverse deviation, as [`BatchNorm`](super::BatchNorm) computes them.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormStatistics(pub BatchNormConfig);

impl Op for BatchNormStatistics {
    const NAME: &'static str = "batch_norm_statistics";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        self.0.check(Self::NAME)?;
        check_dtypes(Self::NAME, ins, &[DType::F32; 3])?;
        let per_channel = check_channels(Self::NAME, ins[0].dims, &ins[1..])?;
        Sizes::of(ins[0].dims).check_training(Self::NAME, ins[0].dims)?;
        Ok(smallvec![per_channel; 4])
    }

    scratch!();

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::statistics(&self.0, &ins[0], [&ins[1], &ins[2]], outs);
    }
}

/// Normalisation with given statistics: x (B, C, …), weight, bias, mean and inverse deviation (C) and, if there is one, a
/// residual of the shape of x, to `y = (x − mean) · inv_std · weight + bias`, then `+ residual`, then `max(·, 0)` if asked for.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormApply {
    /// Whether the result goes through a ReLU (after the residual sum, if there is one).
    pub relu: bool,
}

impl Op for BatchNormApply {
    const NAME: &'static str = "batch_norm_apply";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        Ok(smallvec![super::check(Self::NAME, ins)?.0])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::normalise(self.relu, ins, &ins[3], &ins[4], &mut outs[0]);
    }
}

/// What the gradient of x needs to know of a batch: dy, x (B, C, …), weight, bias, mean and inverse deviation (C) to dweight
/// and dbias, as [`BatchNormGrad`](super::BatchNormGrad) computes them. Those of the parts of a batch add up to its own.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradSums {
    /// As in [`BatchNormGrad`](super::BatchNormGrad).
    pub relu: bool,
}

impl Op for BatchNormGradSums {
    const NAME: &'static str = "batch_norm_grad_sums";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 6])?;
        Ok(smallvec![super::check_grad(Self::NAME, ins)?; 2])
    }

    scratch!();

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let [dweight, dbias] = outs else { return };
        spec::grad_sums(self.relu, ins, dweight, dbias);
    }
}

/// The gradient of x in training: the operands of [`BatchNormGradSums`], and the whole batch's dweight and dbias (C), to dx.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradApply {
    /// As in [`BatchNormGrad`](super::BatchNormGrad).
    pub relu: bool,
    /// Values of a channel in the whole batch, of which x may be a part.
    pub values: usize,
}

impl BatchNormGradApply {
    /// What the sums are multiplied by.
    pub(super) fn share(&self) -> f64 {
        1.0 / self.values as f64
    }
}

impl Op for BatchNormGradApply {
    const NAME: &'static str = "batch_norm_grad_apply";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 8])?;
        super::check_grad(Self::NAME, ins)?;
        let sizes = Sizes::of(ins[1].dims);
        if self.values < sizes.batch * sizes.plane {
            let what =
                format!("x of shape {} is no part of {} values of a channel", ins[1].dims, self.values);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(smallvec![ins[1]])
    }

    #[allow(unused_variables)] // in a build without wgpu
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "wgpu")]
            DeviceKind::Wgpu => self.wgpu_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_x(self.relu, T::of(self.share()), ins, [&ins[6], &ins[7]], &mut outs[0]);
    }
}
