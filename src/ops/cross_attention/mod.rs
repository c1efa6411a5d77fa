//! Multi-head cross-attention of a few queries to many inputs, with the projections of keys and values folded away.
//!
//! With `u = fold_queries(q, W_q, W_k)` and `r = h·T + t`:
//!
//! * `p[b, r, n] = softmax over n of ⟨u[r], x[b, n]⟩`, the attention of head `h` and query `t`;
//! * `z[b, r] = Σ_n p̃[b, r, n] x[b, n]`, where `p̃` is `p` after dropout: each entry is zero with probability `dropout`,
//!   otherwise divided by `1 − dropout`;
//! * `y[b, t] = W_o concat_h(W_v,h z[b, h·T + t])` and `scores[b, n] = mean_r p[b, r, n]`.
//!
//! Keys and values never exist: against the textbook's order of computation this saves a factor of about `d_k / T`. It is
//! the attention of Vaswani et al., "Attention is all you need" (NeurIPS 2017), with the scores of Bergner, Lippert and
//! Mahendran, "Iterative patch selection" (ICLR 2023).

mod cpu;
#[cfg(feature = "cuda")]
pub(in crate::ops) mod cuda;
mod grad;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod products;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
pub(in crate::ops) mod wgpu;

use crate::{
    DType, DeviceKind, Precision,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes, dropout::Dropout, float, fold_queries, fold_queries::split_heads},
    rng::Rng,
    spec::{In, Out, Real},
    tape::apply,
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// Random words of one image: whole blocks of four. Entry `(r, n)` of image `b` belongs to word `b · w + r · N + n`, where `w`
/// is this number.
fn words_per_image(rows: usize, inputs: usize) -> usize {
    (rows * inputs).next_multiple_of(4)
}

/// The attention. Operands: x (B, N, D), u (H·T, D), wv (H·dv, D), wo (O, H·dv); results: y (B, T, O), scores (B, N) and,
/// if they are kept, p (B, H·T, N) and z (B, H·T, D). All are f32, or f16 but for p and z, which are always f32.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention {
    /// Number of heads H.
    pub heads: usize,
    /// Dropout of the attention, if any.
    pub dropout: Option<Dropout>,
    /// Whether `p` and `z`, which the gradient needs, are results.
    pub keep: bool,
    /// How the operands of its matrix products are rounded; `None`: as they are.
    pub precision: Option<Precision>,
}

/// The sizes of one run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    /// Inputs N of an image.
    inputs: usize,
    features: usize,
    heads: usize,
    queries: usize,
    /// Length of a head's value.
    value: usize,
    /// Length of a result.
    outputs: usize,
}

impl Sizes {
    /// Rows of `u`: heads times queries.
    fn rows(&self) -> usize {
        self.heads * self.queries
    }
}

impl CrossAttention {
    fn sizes(&self, op: &'static str, ins: &[Meta]) -> Result<Sizes> {
        let [batch, inputs, features] = axes(op, "x", &ins[0], "(B, N, D)")?;
        let [rows, u_features] = axes(op, "u", &ins[1], "(H·T, D)")?;
        let [values, v_features] = axes(op, "wv", &ins[2], "(H·dv, D)")?;
        let [outputs, o_values] = axes(op, "wo", &ins[3], "(O, H·dv)")?;
        if u_features != features || v_features != features || o_values != values || features == 0 {
            let dims: SmallVec<[_; 4]> = ins[..4].iter().map(|m| m.dims).collect();
            let what = format!(
                "x, u, wv, wo of shapes {dims:?}: must be (B, N, D), (H·T, D), (H·dv, D), (O, H·dv), \
                 with at least one feature"
            );
            return Err(Error::shape(op, what));
        }
        let value = split_heads(op, self.heads, values, "wv")?;
        let queries = split_heads(op, self.heads, rows, "u")?;
        if let Some(Dropout { p, .. }) = self.dropout.filter(|dropout| !(0.0..1.0).contains(&dropout.p)) {
            return Err(Error::argument(op, format!("dropout of {p}, must be at least 0 and less than 1")));
        }
        Ok(Sizes { batch, inputs, features, heads: self.heads, queries, value, outputs })
    }
}

impl Op for CrossAttention {
    const NAME: &'static str = "cross_attention";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let dtype = float(ins);
        check_dtypes(Self::NAME, ins, &[dtype; 4])?;
        let s = self.sizes(Self::NAME, ins)?;
        let mut outs = smallvec![
            Meta::new([s.batch, s.queries, s.outputs], dtype),
            Meta::new([s.batch, s.inputs], dtype)
        ];
        if self.keep {
            outs.push(Meta::f32([s.batch, s.rows(), s.inputs]));
            outs.push(Meta::f32([s.batch, s.rows(), s.features]));
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
        spec::attention(self, ins, outs);
    }
}

/// Gradient of [`CrossAttention`]. Operands: x, u, wv, wo, p, z, dy (B, T, O) and dscores (B, N); results: those of dx, du,
/// dwv and dwo that are wanted, in this order.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttentionGrad {
    /// The attention.
    pub attention: CrossAttention,
    /// Which gradients of x, u, wv, wo to compute.
    pub wants: [bool; 4],
}

impl Op for CrossAttentionGrad {
    const NAME: &'static str = "cross_attention_grad";
    const WIDENS: bool = true;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        let (of, kept) = (float(ins), DType::F32);
        check_dtypes(Self::NAME, ins, &[of, of, of, of, kept, kept, of, of])?;
        let s = self.attention.sizes(Self::NAME, ins)?;
        let want = [
            [s.batch, s.rows(), s.inputs].into(),
            [s.batch, s.rows(), s.features].into(),
            [s.batch, s.queries, s.outputs].into(),
            [s.batch, s.inputs].into(),
        ];
        for (at, (have, want)) in ins[4..].iter().zip(want).enumerate() {
            if have.dims != want {
                let name = ["p", "z", "dy", "dscores"][at];
                return Err(Error::shape(Self::NAME, format!("{name} is {}, must be {want}", have.dims)));
            }
        }
        Ok(self.wants.iter().zip(ins).filter(|(want, _)| **want).map(|(_, meta)| *meta).collect())
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
        spec::gradient(self, ins, outs);
    }
}

/// Multi-head cross-attention without biases: inputs `x (B, N, D)`, queries `q (T, D)` shared by the batch and the weights
/// `[wq (H·dk, D), wk (H·dk, D), wv (H·dv, D), wo (O, H·dv)]` to `y (B, T, O)` and `scores (B, N)`, the mean of the attention
/// over heads and queries. Both results have gradients for all operands. Tensors are f32, or all f16; logits, softmax and
/// sums are in f32 then too.
///
/// `dropout` is a probability and the stream it draws from: attention entries are dropped from `y`; the scores are those
/// before dropout. Without dropout, an image's results have the same bits whatever batch it is in.
///
/// Errors: shapes that do not fit, heads that do not divide the rows of a projection, a probability outside `0..1`.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 3.0], [1, 2, 2], &Device::Cpu)?;
/// let q = Tensor::zeros([1, 2], &Device::Cpu)?;
/// let identity = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0], [2, 2], &Device::Cpu)?;
/// // A query of zeros attends to all inputs alike: y is their mean.
/// let (y, scores) = ops::cross_attention(&x, &q, [&identity; 4], 2, None)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.5]);
/// assert_eq!(scores.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(()) }
/// ```
pub fn cross_attention(
    x: &Tensor,
    q: &Tensor,
    weights: [&Tensor; 4],
    heads: usize,
    dropout: Option<(f32, &mut Rng)>,
) -> Result<(Tensor, Tensor)> {
    cross_attention_with(None, x, q, weights, heads, dropout)
}

/// As [`cross_attention`], with operands of its products (logits, weighted sums, values, outputs, and those of the gradients)
/// that are rounded as `precision` says, or as the device is set to. Queries are folded in f32 first; softmax, scores and
/// sums are f32.
///
/// ```
/// use foveate::{Device, Precision, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 3.0], [1, 2, 2], &Device::Cpu)?;
/// let (q, w) = (Tensor::zeros([1, 2], &Device::Cpu)?, Tensor::zeros([2, 2], &Device::Cpu)?);
/// let (_, scores) = ops::cross_attention_with(Some(Precision::F32), &x, &q, [&w; 4], 2, None)?;
/// assert_eq!(scores.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Those of `cross_attention`, and [`Error::Unsupported`] for a precision that the device does not have.
pub fn cross_attention_with(
    precision: Option<Precision>,
    x: &Tensor,
    q: &Tensor,
    weights: [&Tensor; 4],
    heads: usize,
    dropout: Option<(f32, &mut Rng)>,
) -> Result<(Tensor, Tensor)> {
    let precision = Some(Precision::resolve(CrossAttention::NAME, precision, &x.device())?);
    let [wq, wk, wv, wo] = weights;
    let u = fold_queries(q, wq, wk, heads)?;
    let count = match *x.dims() {
        [batch, inputs, _] => batch * words_per_image(u.dims()[0], inputs),
        _ => 0,
    };
    let dropout = dropout.map(|(p, rng)| Dropout { p, words: rng.reserve(count as u64) });
    let ins = [x, &u, wv, wo];
    let keep = ins.iter().any(|t| t.is_watched());
    let attention = CrossAttention { heads, dropout, keep, precision };
    let outs = apply(&attention, &ins, |save| grad::AttentionGrad {
        attention,
        ins: [0, 1, 2, 3].map(|at| save.input(at)),
        kept: [2, 3].map(|at| save.output(at)),
    })?;
    match outs.as_slice() {
        [y, scores, ..] => Ok((y.clone(), scores.clone())),
        _ => Err(Error::shape(CrossAttention::NAME, "the operation has two results")),
    }
}
