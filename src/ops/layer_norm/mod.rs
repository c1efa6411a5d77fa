//! Layer normalisation over the last axis (Ba, Kiros and Hinton, "Layer normalization", 2016), with or without weight and
//! bias.
//!
//! `y[r, i] = (x[r, i] − mean[r]) / √(var[r] + eps) · weight[i] + bias[i]`, with the mean and biased variance of row `r`.

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
    DType, DeviceKind, Dims,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
    tape::apply1,
    tensor::Tensor,
};
use smallvec::smallvec;

/// x (…, D) and, if there are any, weight and bias (D) to y (…, D).
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for LayerNorm {
    const NAME: &'static str = "layer_norm";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let affine = ins.len() > 1;
        check_dtypes(Self::NAME, ins, &[DType::F32; 3][..if affine { 3 } else { 1 }])?;
        check_row(Self::NAME, self.eps, ins[0].dims, &ins[1..])?;
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(self.eps, ins, &mut outs[0]);
    }
}

/// The gradient: dy, x (…, D) and, if there is one, weight (D), to dx and, with a weight, dweight and dbias.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGrad {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for LayerNormGrad {
    const NAME: &'static str = "layer_norm_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 3][..ins.len().clamp(2, 3)])?;
        if ins[0].dims != ins[1].dims {
            let what = format!("dy has shape {}, x has {}", ins[0].dims, ins[1].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        check_row(Self::NAME, self.eps, ins[1].dims, &ins[2..])?;
        Ok(match ins.get(2) {
            Some(weight) => smallvec![ins[1], *weight, *weight],
            None => smallvec![ins[1]],
        })
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
        spec::grad(self.eps, ins, outs);
    }
}

/// Checks eps, that x has a last axis that is not empty, and that `tensors` have its size.
fn check_row(op: &'static str, eps: f64, x: Dims, tensors: &[Meta]) -> Result<()> {
    if eps.is_nan() || eps < 0.0 || eps.is_infinite() {
        return Err(Error::argument(op, format!("eps {eps} must be finite and not negative")));
    }
    let Some(&size) = x.last().filter(|size| **size > 0) else {
        return Err(Error::shape(op, format!("x has shape {x}, must be (…, D) with D at least 1")));
    };
    let want = Dims::from([size]);
    match tensors.iter().find(|t| t.dims != want) {
        Some(other) => {
            let what = format!("x of shape {x} needs weight and bias of shape {want}, got {}", other.dims);
            Err(Error::shape(op, what))
        }
        None => Ok(()),
    }
}

/// Layer normalisation of `x (…, D)` over its last axis; `affine` is weight and bias, both (D). Gradients go to all three.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 3.0, -4.0, 4.0], [2, 2], &Device::Cpu)?;
/// assert_eq!(ops::layer_norm(&x, None, 0.0)?.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
/// let weight = Tensor::from_slice(&[2.0_f32, 3.0], [2], &Device::Cpu)?;
/// let bias = Tensor::from_slice(&[1.0_f32, 1.0], [2], &Device::Cpu)?;
/// let y = ops::layer_norm(&x, Some((&weight, &bias)), 0.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 4.0, -1.0, 4.0]);
/// # Ok(()) }
/// ```
pub fn layer_norm(x: &Tensor, affine: Option<(&Tensor, &Tensor)>, eps: f64) -> Result<Tensor> {
    let op = LayerNorm { eps };
    match affine {
        None => apply1(&op, &[x], |save| grad::Record { eps, x: save.input(0), weight: None }),
        Some((weight, bias)) => apply1(&op, &[x, weight, bias], |save| grad::Record {
            eps,
            x: save.input(0),
            weight: Some(save.input(1)),
        }),
    }
}
