//! A convolution with everything that follows it in evaluation mode, in one pass over memory: bias (into which batch norm
//! is folded), a residual, a ReLU. It reads bytes of an image as well as floats.

use super::{Conv2d, spec};
use crate::{
    DType, DeviceKind,
    cpu::{self, Scratch},
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{check_dtypes, elementwise, float},
    spec::{In, Out, Real},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// `y = f(conv(x) + bias + residual)`, where `f` is `max(·, 0)` if asked for and the residual may be missing. x is f32 or
/// u8, whose values count as 0 to 255; weight (O, C / groups, kh, kw), bias (O) and residual (B, O, h, w) are f32. All may
/// be f16 instead, but for bytes; `y` is then, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dFused {
    /// The convolution.
    pub conv: Conv2d,
    /// Whether negative results become zero.
    pub relu: bool,
}

impl Op for Conv2dFused {
    const NAME: &'static str = "conv2d_fused";
    /// That of [`Conv2d`].
    const TOLERANCE: f64 = Conv2d::TOLERANCE;
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let bytes = ins.first().is_some_and(|x| x.dtype == DType::U8);
        let of = float(ins.get(usize::from(bytes)..).unwrap_or_default());
        let want = [if bytes { DType::U8 } else { of }, of, of, of];
        check_dtypes(Self::NAME, ins, &want[..ins.len().clamp(3, 4)])?;
        let x = Meta::new(ins[0].dims, of);
        let y = self.conv.infer(&[x, ins[1], ins[2]])?;
        match ins.get(3) {
            Some(residual) if residual.dims != y[0].dims => {
                let what = format!("a residual of shape {} for a result of {}", residual.dims, y[0].dims);
                Err(Error::shape(Self::NAME, what))
            }
            _ => Ok(y),
        }
    }

    #[allow(unused_variables)] // in a build without CUDA
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.conv.cuda_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let floats: Vec<T> = ins[0].int.iter().map(|&byte| T::of(byte as f64)).collect();
        let x = if floats.is_empty() { ins[0] } else { In { x: &floats, int: &[], ..ins[0] } };
        spec::forward(&self.conv, &[x, ins[1], ins[2]], &mut outs[0]);
        for (i, y) in outs[0].iter_mut().enumerate() {
            *y += ins.get(3).map_or(T::zero(), |residual| residual[i]);
            *y = if self.relu && *y < T::zero() { T::zero() } else { *y };
        }
    }
}

impl Conv2dFused {
    /// The convolution of the CPU, with the rest in a second pass.
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        if ins[0].dtype == DType::U8 {
            let bytes = ins[0].u8()?;
            let mut floats = Scratch::<f32>::new(bytes.len(), Self::NAME)?;
            floats.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = f32::from(byte));
            let x = cpu::In { dtype: DType::F32, bytes: bytemuck::cast_slice(&floats), ..ins[0] };
            self.conv.on_cpu(&[x, ins[1], ins[2]], outs)?;
        } else {
            self.conv.on_cpu(&ins[..3], outs)?;
        }
        let residual = ins.get(3).map(cpu::In::f32).transpose()?;
        elementwise::in_parallel(outs[0].f32()?, 1, |start, y| {
            if let Some(residual) = residual {
                y.iter_mut().zip(&residual[start..]).for_each(|(y, r)| *y += r);
            }
            if self.relu {
                y.iter_mut().for_each(|y| *y = elementwise::relu_f32(*y));
            }
        });
        Ok(())
    }
}

/// `max(conv2d(x) + bias + residual, 0)` (or without the maximum) in one operation: what evaluation mode makes of a
/// convolution, its batch norm folded into weight and bias, and a residual block's sum.
///
/// All are f32, or all f16, with sums in f32; x may also be u8 with values 0 to 255: fold `1 / 255` into the weight. There is no gradient: an operand on a tape is an
/// error.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let pixels = Tensor::from_slice(&[10_u8, 200], [1, 1, 1, 2], &Device::Cpu)?;
/// let weight = Tensor::from_slice(&[0.5_f32], [1, 1, 1, 1], &Device::Cpu)?;
/// let bias = Tensor::from_slice(&[-50.0_f32], [1], &Device::Cpu)?;
/// let y = ops::conv2d_fused(&pixels, &weight, &bias, None, ops::Conv2d::new(1, 0), true)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 50.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Shapes as for [`conv2d`](super::conv2d); a residual of another shape than the result; an operand that is watched.
pub fn conv2d_fused(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    conv: Conv2d,
    relu: bool,
) -> Result<Tensor> {
    let mut ins: SmallVec<[&Tensor; 4]> = smallvec![x, weight, bias];
    ins.extend(residual);
    if ins.iter().any(|operand| operand.is_watched()) {
        let what =
            "conv2d_fused has no gradient: use conv2d, batch_norm and add_relu, or detach the operands";
        return Err(Error::tape(what));
    }
    let conv = conv.on(Conv2dFused::NAME, &x.device())?;
    run1(&Conv2dFused { conv, relu }, &ins)
}
