//! `y = factor · x + shift` with two constants.

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    cpu::{self, simd::vectorised},
    device::{Meta, Metas, Op, run1},
    error::Result,
    ops::{check_dtypes, elementwise::in_parallel, float},
    spec::{self, Real},
    tape::{Backward, Given, Gradients, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// `y = factor · x + shift`, rounded once, f32 or f16. The gradient is the same operation on `dy`, without the shift.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// What `x` is multiplied by.
    pub factor: f64,
    /// What is added.
    pub shift: f64,
}

impl Op for Scale {
    const NAME: &'static str = "scale";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins)])?;
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        for (y, &x) in outs[0].iter_mut().zip(ins[0].iter()) {
            *y = T::of(self.factor) * x + T::of(self.shift);
        }
    }
}

impl Scale {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::map(cx, super::wgpu::SCALE, [self.factor, self.shift], &ins[0], &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::scale(cx, [self.factor, self.shift], &ins[0], &outs[0])
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let x = ins[0].f32()?;
        let (factor, shift) = (self.factor as f32, self.shift as f32);
        in_parallel(outs[0].f32()?, 1, |start, y| affine(&x[start..start + y.len()], factor, shift, y));
        Ok(())
    }
}

vectorised! {
    fn affine(x: &[f32], factor: f32, shift: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x.mul_add(factor, shift);
        }
    }
}

#[derive(Debug)]
struct ScaleGrad {
    factor: f64,
}

impl Backward for ScaleGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&Scale { factor: self.factor, shift: 0.0 }, &[dy.one()?]))
    }
}

/// `factor · x + shift`: f32 or f16 of any shape. The constants are rounded to f32.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, -2.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::scale(&x, 0.5, 3.0)?.to_vec::<f32>()?, [3.5, 2.0]);
/// # Ok(()) }
/// ```
pub fn scale(x: &Tensor, factor: f64, shift: f64) -> Result<Tensor> {
    apply1(&Scale { factor, shift }, &[x], |_| ScaleGrad { factor })
}

/// `−x`: f32 or f16 of any shape.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, -2.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::neg(&x)?.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok(()) }
/// ```
pub fn neg(x: &Tensor) -> Result<Tensor> {
    scale(x, -1.0, 0.0)
}
