//! Gated attention pooling (Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning", ICML 2018):
//!
//! `l[b, n] = w · (tanh(V h[b, n] + b_v) ⊙ σ(U h[b, n] + b_u))`, `a[b] = softmax over n of l[b]`, `y[b] = Σ_n a[b, n] h[b, n]`.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod grad;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod products;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, DeviceKind, Precision,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    spec::{In, Out, Real},
    tape::apply,
    tensor::Tensor,
};
use smallvec::smallvec;

/// The pooling. Operands: h (B, N, D), v (L, D), bv (L), u (L, D), bu (L), w (L); results: y (B, D), the weights a (B, N) and,
/// if they are kept, the tanh and the sigmoid, (B, N, L) each.
#[derive(Clone, Copy, Debug, Default)]
pub struct GatedAttention {
    /// Whether the tanh and the sigmoid, which the gradient needs, are results.
    pub keep: bool,
    /// How the operands of its matrix products are rounded; `None`: as they are.
    pub precision: Option<Precision>,
}

/// The sizes of one run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    /// Instances N of a bag.
    instances: usize,
    features: usize,
    /// Length L of the hidden layer.
    hidden: usize,
}

impl Sizes {
    /// Checks h (B, N, D), two matrices (L, D) and vectors (L).
    fn of(op: &'static str, h: &Meta, matrices: [&Meta; 2], vectors: &[&Meta]) -> Result<Self> {
        let [batch, instances, features] = axes(op, "h", h, "(B, N, D)")?;
        let [hidden, _]: [usize; 2] = axes(op, "v", matrices[0], "(L, D)")?;
        let fits = matrices.iter().all(|m| *m.dims == [hidden, features])
            && vectors.iter().all(|v| *v.dims == [hidden])
            && features > 0
            && hidden > 0;
        if !fits {
            let what = format!(
                "h {} with v {}, u {} and vectors {:?}: must be (B, N, D), (L, D), (L, D), (L), with D and L at least 1",
                h.dims,
                matrices[0].dims,
                matrices[1].dims,
                vectors.iter().map(|v| v.dims).collect::<Vec<_>>()
            );
            return Err(Error::shape(op, what));
        }
        Ok(Sizes { batch, instances, features, hidden })
    }
}

impl Op for GatedAttention {
    const NAME: &'static str = "gated_attention";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 6])?;
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[3]], &[&ins[2], &ins[4], &ins[5]])?;
        let mut outs = smallvec![Meta::f32([s.batch, s.features]), Meta::f32([s.batch, s.instances])];
        if self.keep {
            outs.extend([Meta::f32([s.batch, s.instances, s.hidden]); 2]);
        }
        Ok(outs)
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
        spec::pool(self.keep, ins, outs);
    }
}

/// Gradient of [`GatedAttention`]. Operands: h, v, u, w, the weights a, the tanh and the sigmoid, dy (B, D) and da (B, N);
/// results: those of dh, dv, dbv, du, dbu and dw that are wanted, in this order.
#[derive(Clone, Copy, Debug)]
pub struct GatedAttentionGrad {
    /// Which gradients of h, v, bv, u, bu, w to compute.
    pub wants: [bool; 6],
    /// How the operands of its matrix products are rounded; `None`: as they are.
    pub precision: Option<Precision>,
}

impl Op for GatedAttentionGrad {
    const NAME: &'static str = "gated_attention_grad";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32; 9])?;
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[2]], &[&ins[3]])?;
        let (bag, hidden) = ([s.batch, s.instances].into(), [s.batch, s.instances, s.hidden].into());
        let want = [bag, hidden, hidden, [s.batch, s.features].into(), bag];
        for (at, (have, want)) in ins[4..].iter().zip(want).enumerate() {
            if have.dims != want {
                let name = ["the weights", "the tanh", "the sigmoid", "dy", "da"][at];
                return Err(Error::shape(Self::NAME, format!("{name} is {}, must be {want}", have.dims)));
            }
        }
        let all = [ins[0], ins[1], ins[3], ins[2], ins[3], ins[3]];
        Ok(all.iter().zip(self.wants).filter(|(_, want)| *want).map(|(meta, _)| *meta).collect())
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
        spec::gradient(self.wants, ins, outs);
    }
}

/// Gated attention pooling of bags of instances: `h (B, N, D)`, `v (L, D)`, `bv (L)`, `u (L, D)`, `bu (L)`, `w (L)` to the pooled
/// `y (B, D)` and the attention weights `(B, N)`. Both results have gradients for all operands. An empty bag pools to zeros.
///
/// Errors: shapes that do not fit.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let h = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 6.0], [1, 2, 2], &Device::Cpu)?;
/// let (matrix, vector) = (Tensor::zeros([3, 2], &Device::Cpu)?, Tensor::zeros([3], &Device::Cpu)?);
/// // Nothing tells the instances apart: y is their mean.
/// let (y, weights) = ops::gated_attention(&h, &matrix, &vector, &matrix, &vector, &vector)?;
/// assert_eq!(y.to_vec::<f32>()?, [2.0, 4.0]);
/// assert_eq!(weights.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(()) }
/// ```
pub fn gated_attention(
    h: &Tensor,
    v: &Tensor,
    bv: &Tensor,
    u: &Tensor,
    bu: &Tensor,
    w: &Tensor,
) -> Result<(Tensor, Tensor)> {
    gated_attention_with(None, h, [v, bv, u, bu, w])
}

/// As [`gated_attention`], for `[v, bv, u, bu, w]`, with operands of its products (the two layers, the weighted sum, and those
/// of the gradients) that are rounded as `precision` says, or as the device is set to. The logits, the softmax, the gradient of
/// the attention weights and all sums are f32.
///
/// ```
/// use foveate::{Device, Precision, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let h = Tensor::from_slice(&[1.0_f32, 3.0], [1, 2, 1], &Device::Cpu)?;
/// let (matrix, vector) = (Tensor::zeros([3, 1], &Device::Cpu)?, Tensor::zeros([3], &Device::Cpu)?);
/// let layers = [&matrix, &vector, &matrix, &vector, &vector];
/// let (y, _) = ops::gated_attention_with(Some(Precision::F32), &h, layers)?;
/// assert_eq!(y.to_vec::<f32>()?, [2.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Those of `gated_attention`, and [`Error::Unsupported`] for a precision that the device does not have.
pub fn gated_attention_with(
    precision: Option<Precision>,
    h: &Tensor,
    layers: [&Tensor; 5],
) -> Result<(Tensor, Tensor)> {
    let precision = Some(Precision::resolve(GatedAttention::NAME, precision, &h.device())?);
    let [v, bv, u, bu, w] = layers;
    let ins = [h, v, bv, u, bu, w];
    let op = GatedAttention { keep: ins.iter().any(|t| t.is_watched()), precision };
    let outs = apply(&op, &ins, |save| grad::GatedGrad {
        precision,
        ins: [0, 1, 3, 5].map(|at| save.input(at)),
        kept: [1, 2, 3].map(|at| save.output(at)),
    })?;
    match outs.as_slice() {
        [y, weights, ..] => Ok((y.clone(), weights.clone())),
        _ => Err(Error::shape(GatedAttention::NAME, "the operation has two results")),
    }
}
