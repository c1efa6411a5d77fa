//! The fully connected layer: `y = x Wᵀ + b`.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::device::{Matrix, Product};
use crate::{
    DeviceKind, Precision,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes, float},
    spec::{In, Out, Real},
    tape::{Save, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

/// `y[.., o] = bias[o] + Σ over i of x[.., i] · weight[o, i]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linear {
    /// How its operands are rounded; `None`: as the device is set to.
    pub precision: Option<Precision>,
}

impl Op for Linear {
    const NAME: &'static str = "linear";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: x (.., I), weight (O, I) and, if there is one, bias (O).
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 3][..ins.len().clamp(2, 3)])?;
        let [outputs, inputs] = axes(Self::NAME, "the weight", &ins[1], "(O, I)")?;
        let x = ins[0].dims;
        if x.last() != Some(&inputs) {
            let what = format!("x has shape {x}, its last axis must be the {inputs} inputs of the weight");
            return Err(Error::shape(Self::NAME, what));
        }
        if let Some(bias) = ins.get(2) {
            let [size] = axes(Self::NAME, "the bias", bias, "(O)")?;
            if size != outputs {
                return Err(Error::shape(Self::NAME, format!("a bias of {size} for {outputs} outputs")));
            }
        }
        Ok(smallvec![Meta::new(x.with(x.rank() - 1, outputs), ins[0].dtype)])
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
        spec::linear(ins, &mut outs[0]);
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl Linear {
    /// The layer as one product with the transposed weight.
    fn product(x: &[usize], weight: &[usize]) -> Product {
        let [outputs, inputs] = [weight[0], weight[1]];
        let rows: usize = x[..x.len() - 1].iter().product();
        let (a, b) = (Matrix::new(inputs, 1), Matrix::new(1, inputs));
        Product::new((rows, inputs, outputs), a, b, Matrix::new(outputs, 1))
    }
}

/// A fully connected layer: `x (.., I)`, `weight (O, I)` and optional `bias (O)` to `x Wᵀ + b` of shape `(.., O)`.
/// All f32, or all f16, added up in f32.
///
/// A row of the result has the same bits whatever the other rows. Errors: a last axis of `x` or a bias that does not fit the
/// weight. Gradients: `dx = dy W`, `dW = dyᵀ x`, `db = Σ dy` over the rows.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0], [1, 2], &Device::Cpu)?;
/// let weight = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2], &Device::Cpu)?;
/// let bias = Tensor::from_slice(&[0.0_f32, 0.0, 10.0], [3], &Device::Cpu)?;
/// assert_eq!(ops::linear(&x, &weight, Some(&bias))?.to_vec::<f32>()?, [1.0, 2.0, 13.0]);
/// # Ok(()) }
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_with(Linear::default(), x, weight, bias)
}

/// As [`linear`](crate::ops::linear()), with operands that are rounded as `layer` says.
///
/// ```
/// use foveate::{Device, Precision, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0], [1, 2], &Device::Cpu)?;
/// let layer = ops::Linear { precision: Some(Precision::F32) };
/// assert_eq!(ops::linear_with(layer, &x, &x, None)?.to_vec::<f32>()?, [5.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Those of `linear`, and [`Error::Unsupported`] for a precision that the device does not have.
pub fn linear_with(layer: Linear, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let precision = Some(Precision::resolve(Linear::NAME, layer.precision, &x.device())?);
    let grad = |save: &Save| grad::LinearGrad {
        precision,
        x: save.wants(1).then(|| save.input(0)),
        weight: save.wants(0).then(|| save.input(1)),
    };
    let layer = Linear { precision };
    match bias {
        Some(bias) => apply1(&layer, &[x, weight, bias], grad),
        None => apply1(&layer, &[x, weight], grad),
    }
}
