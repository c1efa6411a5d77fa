//! Functions of each element by itself: `y = f(x)`, and the gradient `dx = f'(x) dy` as an operation of its own.

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    cpu::{self, math, simd::vectorised},
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{check_dtypes, elementwise::in_parallel, float},
    spec::{self, Real},
    tape::{Backward, Given, Gradients, apply1},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};
use std::{fmt::Debug, marker::PhantomData};

/// A function of a number, as a type: what [`Unary`] applies to each element and [`UnaryGrad`] differentiates.
pub trait Function: Debug + Send + Sync + Copy + Default + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// The function's number among those that have a kernel (`kernels/elementwise`).
    const NUMBER: u32;
    /// The name of its gradient.
    const GRAD: &'static str;
    /// Whether the derivative is computed from `y` rather than from `x`.
    const FROM_OUTPUT: bool;
    /// `f(x)`.
    fn f<T: Real>(x: T) -> T;
    /// `f'(x) dy`, where `v` is `y` or `x` as [`Function::FROM_OUTPUT`] says.
    fn df<T: Real>(v: T, dy: T) -> T;
    /// `f` as the CPU computes it: `f32` arithmetic that vectorises.
    fn fast(x: f32) -> f32;
    /// `df` as the CPU computes it.
    fn fast_df(v: f32, dy: f32) -> f32;
}

/// `name "name" "gradient's name" number from x|y "doc": |x| f, |v, dy| df; |x| fast, |v, dy| fast_df`.
macro_rules! functions {
    ($($kind:ident $name:literal $grad:literal $number:literal from $from:literal $doc:literal:
       |$x:ident| $f:expr, |$v:ident, $dy:ident| $df:expr;
       |$fx:ident| $fast:expr, |$fv:ident, $fdy:ident| $fast_df:expr;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $kind;
        impl Function for $kind {
            const NAME: &'static str = $name;
            const NUMBER: u32 = $number;
            const GRAD: &'static str = $grad;
            const FROM_OUTPUT: bool = matches!($from.as_bytes(), b"y");
            fn f<T: Real>($x: T) -> T { $f }
            fn df<T: Real>($v: T, $dy: T) -> T { $df }
            #[inline(always)]
            fn fast($fx: f32) -> f32 { $fast }
            #[inline(always)]
            fn fast_df($fv: f32, $fdy: f32) -> f32 { $fast_df }
        }
    )*};
}
functions! {
    Relu "relu" "relu_grad" 0 from "y" "`max(x, 0)`; NaN stays NaN.":
        |x| if x < T::zero() { T::zero() } else { x },
        |y, dy| if y <= T::zero() { T::zero() } else { dy };
        |x| relu_f32(x),
        |y, dy| if y <= 0.0 { 0.0 } else { dy };
    Tanh "tanh" "tanh_grad" 1 from "y" "The hyperbolic tangent.":
        |x| x.tanh(),
        |y, dy| dy * (T::one() - y * y);
        |x| math::tanh(x),
        |y, dy| dy * (1.0 - y * y);
    Sigmoid "sigmoid" "sigmoid_grad" 2 from "y" "The logistic function `1 / (1 + e⁻ˣ)`.":
        |x| logistic(x),
        |y, dy| dy * y * (T::one() - y);
        |x| math::sigmoid(x),
        |y, dy| dy * y * (1.0 - y);
    Exp "exp" "exp_grad" 3 from "y" "`eˣ`.":
        |x| x.exp(),
        |y, dy| dy * y;
        |x| math::exp(x),
        |y, dy| dy * y;
    Log "log" "log_grad" 4 from "x" "The natural logarithm.":
        |x| x.ln(),
        |x, dy| dy / x;
        |x| math::log(x),
        |x, dy| dy / x;
    Swish "swish" "swish_grad" 5 from "x" "`x / (1 + e⁻ˣ)`.":
        |x| x * logistic(x),
        |x, dy| { let s = logistic(x); dy * s * (T::one() + x * (T::one() - s)) };
        |x| x * math::sigmoid(x),
        |x, dy| { let s = math::sigmoid(x); dy * s * (1.0 + x * (1.0 - s)) };
    Sqrt "sqrt" "sqrt_grad" 6 from "y" "The square root.":
        |x| x.sqrt(),
        |y, dy| dy * T::of(0.5) / y;
        |x| x.sqrt(),
        |y, dy| dy * 0.5 / y;
    Square "square" "square_grad" 7 from "x" "`x²`.":
        |x| x * x,
        |x, dy| T::of(2.0) * x * dy;
        |x| x * x,
        |x, dy| 2.0 * x * dy;
}

/// `max(x, 0)`, with NaN kept, for loops that end in a ReLU.
#[inline(always)]
pub(crate) fn relu_f32(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

fn logistic<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// `y = f(x)` element by element, f32 or f16.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unary<F>(PhantomData<F>);

impl<F: Function> Op for Unary<F> {
    const NAME: &'static str = F::NAME;
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(F::NAME, ins, &[float(ins)])?;
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        for (y, &x) in outs[0].iter_mut().zip(ins[0].iter()) {
            *y = F::f(x);
        }
    }
}

/// `dx = f'(x) dy` from `dy` and the saved `x` or `y`, all of one shape, f32 or f16.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnaryGrad<F>(PhantomData<F>);

impl<F: Function> Op for UnaryGrad<F> {
    const NAME: &'static str = F::GRAD;
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(F::GRAD, ins, &[float(ins); 2])?;
        if ins[0].dims != ins[1].dims {
            let what = format!("gradient of shape {} for values of shape {}", ins[0].dims, ins[1].dims);
            return Err(Error::shape(F::GRAD, what));
        }
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        for (i, dx) in outs[0].iter_mut().enumerate() {
            *dx = F::df(ins[1][i], ins[0][i]);
        }
    }
}

impl<F: Function> Unary<F> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::map(cx, F::NUMBER, [0.0; 2], &ins[0], &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::map(cx, F::NUMBER, &ins[0], &outs[0])
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let x = ins[0].f32()?;
        in_parallel(outs[0].f32()?, 1, |start, y| map::<F>(&x[start..start + y.len()], y));
        Ok(())
    }
}

impl<F: Function> UnaryGrad<F> {
    #[cfg(feature = "wgpu")]
    fn on_wgpu(&self, cx: &wgpu::Cx, ins: &[wgpu::In], outs: &[wgpu::Out]) -> Result<()> {
        super::wgpu::map_grad(cx, F::NUMBER, &ins[0], &ins[1], &outs[0])
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, cx: &cuda::Cx, ins: &[cuda::In], outs: &[cuda::Out]) -> Result<()> {
        super::cuda::map_grad(cx, F::NUMBER, &ins[0], &ins[1], &outs[0])
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dy, v) = (ins[0].f32()?, ins[1].f32()?);
        in_parallel(outs[0].f32()?, 1, |start, dx| {
            let part = start..start + dx.len();
            map_grad::<F>(&v[part.clone()], &dy[part], dx);
        });
        Ok(())
    }
}

vectorised! {
    fn map[F: Function](x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = F::fast(x);
        }
    }
    fn map_grad[F: Function](v: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &v), &dy) in dx.iter_mut().zip(v).zip(dy) {
            *dx = F::fast_df(v, dy);
        }
    }
}

/// The record of a [`Unary`]: what the derivative is computed from.
#[derive(Debug)]
struct Saved<F> {
    of: PhantomData<F>,
    value: Tensor,
}

impl<F: Function> Backward for Saved<F> {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&UnaryGrad::<F>(PhantomData), &[dy.one()?, &self.value]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.value]
    }
}

fn unary<F: Function>(x: &Tensor) -> Result<Tensor> {
    apply1(&Unary::<F>(PhantomData), &[x], |save| Saved::<F> {
        of: PhantomData,
        value: if F::FROM_OUTPUT { save.output(0) } else { save.input(0) },
    })
}

/// The rectified linear unit `max(x, 0)`: f32 or f16 of any shape. NaN stays NaN. The gradient at zero is zero.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[-1.5_f32, 0.0, 2.0], [3], &Device::Cpu)?;
/// assert_eq!(ops::relu(&x)?.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
/// # Ok(()) }
/// ```
pub fn relu(x: &Tensor) -> Result<Tensor> {
    unary::<Relu>(x)
}

/// The hyperbolic tangent: f32 or f16 of any shape, within 3 units in the last place.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.0_f32, 20.0, -20.0], [3], &Device::Cpu)?;
/// assert_eq!(ops::tanh(&x)?.to_vec::<f32>()?, [0.0, 1.0, -1.0]);
/// # Ok(()) }
/// ```
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    unary::<Tanh>(x)
}

/// The logistic function `1 / (1 + e⁻ˣ)`: f32 or f16 of any shape, within 3 units in the last place.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.0_f32, 100.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::sigmoid(&x)?.to_vec::<f32>()?, [0.5, 1.0]);
/// # Ok(()) }
/// ```
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    unary::<Sigmoid>(x)
}

/// `eˣ`: f32 or f16 of any shape, within 1 unit in the last place.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.0_f32, f32::NEG_INFINITY], [2], &Device::Cpu)?;
/// assert_eq!(ops::exp(&x)?.to_vec::<f32>()?, [1.0, 0.0]);
/// # Ok(()) }
/// ```
pub fn exp(x: &Tensor) -> Result<Tensor> {
    unary::<Exp>(x)
}

/// The natural logarithm: f32 or f16 of any shape, within 1 unit in the last place; −∞ at zero, NaN below.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 0.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::log(&x)?.to_vec::<f32>()?, [0.0, f32::NEG_INFINITY]);
/// # Ok(()) }
/// ```
pub fn log(x: &Tensor) -> Result<Tensor> {
    unary::<Log>(x)
}

/// Swish, also called SiLU: `x / (1 + e⁻ˣ)` (Ramachandran et al., "Searching for activation functions", 2017, with
/// β = 1): f32 or f16 of any shape.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.0_f32, 50.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::swish(&x)?.to_vec::<f32>()?, [0.0, 50.0]);
/// # Ok(()) }
/// ```
pub fn swish(x: &Tensor) -> Result<Tensor> {
    unary::<Swish>(x)
}

/// The square root: f32 or f16 of any shape; NaN below zero. The gradient at zero is infinite.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[9.0_f32, 2.25], [2], &Device::Cpu)?;
/// assert_eq!(ops::sqrt(&x)?.to_vec::<f32>()?, [3.0, 1.5]);
/// # Ok(()) }
/// ```
pub fn sqrt(x: &Tensor) -> Result<Tensor> {
    unary::<Sqrt>(x)
}

/// `x²`: f32 or f16 of any shape.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[3.0_f32, -0.5], [2], &Device::Cpu)?;
/// assert_eq!(ops::square(&x)?.to_vec::<f32>()?, [9.0, 0.25]);
/// # Ok(()) }
/// ```
pub fn square(x: &Tensor) -> Result<Tensor> {
    unary::<Square>(x)
}
