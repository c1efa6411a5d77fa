//! Losses that are sums over elements: binary cross-entropy from logits and from probabilities, the mean squared error,
//! and the entropy term of attention sampling.

use super::{LossGrad, Reduction, same_shape, terms};
use crate::{
    DType, Dims, Tensor, cpu,
    device::{Meta, Metas, Op},
    error::Result,
    ops::{self, check_dtypes},
    spec::{In, Out, Real},
    tape::{Save, apply1},
};
use smallvec::smallvec;

/// Writes a loss `Σ f(x, t)` (or the mean) over elements, and its gradient operation `f'(x, t)`.
macro_rules! element_loss {
    ($loss:ident $grad:ident $name:literal $grad_name:literal $f:path, $derivative:path, $doc:literal) => {
        #[doc = $doc]
        /// Operands: x and target t, f32 of one shape.
        #[derive(Clone, Copy, Debug)]
        pub struct $loss {
            /// Mean or sum over elements.
            pub reduction: Reduction,
        }

        #[doc = concat!("Gradient of [`", stringify!($loss), "`] with respect to x. Operands: dy (a scalar), x, t.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $grad {
            /// Of the loss.
            pub reduction: Reduction,
        }

        impl Op for $loss {
            const NAME: &'static str = $name;
            crate::arms!(cpu);

            fn infer(&self, ins: &[Meta]) -> Result<Metas> {
                check_dtypes(Self::NAME, ins, &[DType::F32; 2])?;
                same_shape(Self::NAME, &ins[0], &ins[1])?;
                Ok(smallvec![Meta::f32(Dims::SCALAR)])
            }

            fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
                let sum = ins[0].iter().zip(ins[1].iter()).fold(T::of(0.0), |sum, (&x, &t)| sum + $f(x, t));
                outs[0][0] = sum / T::of(self.reduction.divisor(ins[0].len()));
            }
        }

        impl $loss {
            fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
                let pairs = ins[0].f32()?.iter().zip(ins[1].f32()?);
                let sum: f64 = pairs.map(|(&x, &t)| f64::from($f(x, t))).sum();
                outs[0].f32()?[0] = (sum / self.reduction.divisor(ins[0].dims.elements())) as f32;
                Ok(())
            }
        }

        impl Op for $grad {
            const NAME: &'static str = $grad_name;
            crate::arms!(cpu);

            fn infer(&self, ins: &[Meta]) -> Result<Metas> {
                check_dtypes(Self::NAME, ins, &[DType::F32; 3])?;
                same_shape(Self::NAME, &ins[1], &ins[2])?;
                Ok(smallvec![ins[1]])
            }

            fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
                let scale = ins[0][0] / T::of(self.reduction.divisor(ins[1].len()));
                for (i, dx) in outs[0].iter_mut().enumerate() {
                    *dx = scale * $derivative(ins[1][i], ins[2][i]);
                }
            }
        }

        impl $grad {
            fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
                let (x, t) = (ins[1].f32()?, ins[2].f32()?);
                let scale = ins[0].f32()?[0] / self.reduction.divisor(x.len()) as f32;
                for ((dx, &x), &t) in outs[0].f32()?.iter_mut().zip(x).zip(t) {
                    *dx = scale * $derivative(x, t);
                }
                Ok(())
            }
        }
    };
}

element_loss!(BceWithLogits BceWithLogitsGrad "bce_with_logits" "bce_with_logits_grad"
    terms::bce_with_logits, terms::bce_with_logits_derivative,
    "Binary cross-entropy of logits x: `log(1 + exp(x)) − x t`, computed without overflow.");
element_loss!(Bce BceGrad "bce" "bce_grad" terms::bce, terms::bce_derivative,
    "Binary cross-entropy of probabilities x: `−t log x − (1 − t) log(1 − x)`, logarithms not below −100.");

impl Reduction {
    /// What the sum over `elements` terms is divided by.
    fn divisor(self, elements: usize) -> f64 {
        match self {
            Reduction::Mean => elements as f64,
            Reduction::Sum => 1.0,
        }
    }
}

/// Binary cross-entropy of `logits` against `target`, f32 of one shape. The target has no gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let logits = Tensor::from_slice(&[0.0_f32, 100.0], [2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[1.0_f32, 1.0], [2], &Device::Cpu)?;
/// let loss = ops::bce_with_logits(&logits, &target, ops::Reduction::Sum)?;
/// assert!((loss.item::<f32>()? - 2.0_f32.ln()).abs() < 1e-6);
/// # Ok(()) }
/// ```
pub fn bce_with_logits(logits: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply1(&BceWithLogits { reduction }, &[logits, target], |save: &Save| LossGrad {
        op: BceWithLogitsGrad { reduction },
        operands: smallvec![save.input(0), save.input(1)],
    })
}

/// Mean binary cross-entropy of probabilities against `target`, f32 of one shape. The target has no gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = Tensor::from_slice(&[0.5_f32, 0.0], [2], &Device::Cpu)?;
/// let target = Tensor::from_slice(&[1.0_f32, 1.0], [2], &Device::Cpu)?;
/// assert!((ops::bce(&p, &target)?.item::<f32>()? - (2.0_f32.ln() + 100.0) / 2.0).abs() < 1e-4);
/// # Ok(()) }
/// ```
pub fn bce(probabilities: &Tensor, target: &Tensor) -> Result<Tensor> {
    let reduction = Reduction::Mean;
    apply1(&Bce { reduction }, &[probabilities, target], |save: &Save| LossGrad {
        op: BceGrad { reduction },
        operands: smallvec![save.input(0), save.input(1)],
    })
}

/// Mean squared error of two tensors of one shape; both have gradients.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let a = Tensor::from_slice(&[1.0_f32, 2.0], [2], &Device::Cpu)?;
/// let b = Tensor::from_slice(&[1.0_f32, 5.0], [2], &Device::Cpu)?;
/// assert_eq!(ops::mse(&a, &b)?.item::<f32>()?, 4.5);
/// # Ok(()) }
/// ```
pub fn mse(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let meta = |t: &Tensor| Meta::new(t.dims(), t.dtype());
    same_shape("mse", &meta(a), &meta(b))?;
    let difference = ops::sub(a, b)?;
    ops::scale(&ops::sum_all(&ops::mul(&difference, &difference)?)?, 1.0 / a.elements() as f64, 0.0)
}

/// `(1 / B) Σ a log(a + 1e-6)` over attention maps a of shape (B, …): minus the mean entropy, so that adding a positive
/// multiple of it to a loss keeps attention spread out (Katharopoulos and Fleuret, ICML 2019).
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let flat = Tensor::full(0.25_f32, [2, 4], &Device::Cpu)?;
/// assert!((ops::entropy_term(&flat)?.item::<f32>()? + 4.0_f32.ln()).abs() < 1e-4);
/// # Ok(()) }
/// ```
pub fn entropy_term(attention: &Tensor) -> Result<Tensor> {
    let meta = Meta::new(attention.dims(), attention.dtype());
    same_shape("entropy_term", &meta, &meta)?;
    let batch = attention.dims().first().copied().unwrap_or(1);
    let log = ops::log(&ops::scale(attention, 1.0, 1e-6)?)?;
    ops::scale(&ops::sum_all(&ops::mul(attention, &log)?)?, 1.0 / batch as f64, 0.0)
}
