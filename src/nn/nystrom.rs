//! Self-attention in linear time (Xiong et al., "Nyströmformer", AAAI 2021), as TransMIL uses it.
//!
//! `y = (softmax(Q K̃ᵀ) Z) (softmax(Q̃ Kᵀ) V) + conv(V)` per head, where landmarks Q̃ and K̃ are means of segments of the
//! sequence, Z is an approximate inverse of `A = softmax(Q̃ K̃ᵀ)` by `Z ← ¼ Z (13 I − A Z (15 I − A Z (7 I − A Z)))`, and conv a
//! convolution along the sequence, one kernel per head. The sequence is lengthened to a multiple of the landmarks by zeros
//! in front.
//!
//! The iteration starts from `Z = Aᵀ / (largest row sum · largest column sum)`. The published code takes the largest over all
//! heads and all sequences of a batch, so that a sequence's result depends on its neighbours; here each matrix has its own.

use crate::{
    Device, Parameter, Rng, Tensor,
    error::{Error, Result},
    nn::{Linear, Pass, init, layers::module},
    ops::{self, MatMul},
};

/// The shape of a [`Nystrom`] attention.
#[derive(Clone, Debug, PartialEq)]
pub struct NystromConfig {
    /// Length D of a token.
    pub features: usize,
    /// Heads H; must divide D.
    pub heads: usize,
    /// Landmarks, m.
    pub landmarks: usize,
    /// Steps of the approximate inverse.
    pub iterations: usize,
    /// Length of the convolution's kernel; odd.
    pub kernel: usize,
    /// Dropout of the result.
    pub dropout: f32,
}

impl NystromConfig {
    /// TransMIL's proportions: 8 heads, D / 2 landmarks, 6 iterations, a kernel of 33, dropout 0.1.
    pub fn new(features: usize) -> Self {
        NystromConfig { features, heads: 8, landmarks: features / 2, iterations: 6, kernel: 33, dropout: 0.1 }
    }

    fn check(&self) -> Result<()> {
        let sizes = [self.features, self.heads, self.landmarks, self.iterations];
        if sizes.contains(&0) || !self.features.is_multiple_of(self.heads) || self.kernel.is_multiple_of(2) {
            let what = format!(
                "{self:?}: sizes must be at least 1, heads must divide the features, the kernel must be odd"
            );
            return Err(Error::argument("nystrom", what));
        }
        Ok(())
    }
}

/// Nyström self-attention with its parameters.
#[derive(Debug, Clone)]
pub struct Nystrom {
    config: NystromConfig,
    qkv: Parameter,
    out: Linear,
    residual: Parameter,
}

module!(Nystrom { Trained qkv, Trained residual; out });

impl Nystrom {
    /// Fresh parameters whose names start with `name`.
    ///
    /// # Errors
    ///
    /// Sizes that do not fit together; out of memory.
    pub fn new(name: &str, config: NystromConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        let d = config.features;
        let qkv = init::default_uniform([3 * d, d], device, rng)?;
        let out = Linear::new(&format!("{name}.to_out.0"), d, d, device, rng)?;
        let residual = init::default_uniform([config.heads, 1, config.kernel, 1], device, rng)?;
        Ok(Nystrom {
            qkv: Parameter::new(format!("{name}.to_qkv.weight"), qkv),
            residual: Parameter::new(format!("{name}.res_conv.weight"), residual),
            out,
            config,
        })
    }

    /// Tokens x (B, N, D) to the same shape.
    ///
    /// # Errors
    ///
    /// Tokens of other features, or none.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (h, m) = (self.config.heads, self.config.landmarks);
        let [b, n, d] = match *x.dims() {
            [b, n, d] if n > 0 && d == self.config.features => [b, n, d],
            _ => {
                let what = format!("tokens of shape {}, must be (B, N, {})", x.dims(), self.config.features);
                return Err(Error::shape("nystrom", what));
            }
        };
        let length = n.next_multiple_of(m);
        let x = ops::pad(x, 1, length - n, length)?;
        let qkv = ops::linear(&x, &pass.parameter(&self.qkv)?, None)?;
        let qkv = ops::transpose(&ops::reshape(&qkv, [b, length, 3, h, d / h])?, &[2, 0, 3, 1, 4])?;
        let part = |at: usize| ops::reshape(&ops::slice(&qkv, at..at + 1)?, [b, h, length, d / h]);
        let (q, k, v) = (ops::scale(&part(0)?, (h as f64 / d as f64).sqrt(), 0.0)?, part(1)?, part(2)?);
        let landmarks = |x: &Tensor| ops::mean(&ops::reshape(x, [b, h, m, length / m, d / h])?, &[3]);
        let (ql, kl) = (landmarks(&q)?, landmarks(&k)?);
        let inverse = inverse(&attention(&ql, &kl)?, self.config.iterations)?;
        let left = ops::matmul(&attention(&q, &kl)?, &inverse)?;
        let right = ops::matmul(&attention(&ql, &k)?, &v)?;
        let half = self.config.kernel / 2;
        let along = ops::Conv2d { padding: [half, half, 0, 0], groups: h, ..ops::Conv2d::new(1, 0) };
        let residual = ops::conv2d(&v, &pass.parameter(&self.residual)?, None, along)?;
        let y = ops::add(&ops::matmul(&left, &right)?, &residual)?;
        let y = ops::reshape(&ops::transpose(&y, &[0, 2, 1, 3])?, [b, length, d])?;
        let y = self.out.forward(&y, pass)?;
        let y = pass.dropout(&y, self.config.dropout)?;
        ops::narrow(&y, 1, length - n..length)
    }
}

/// `softmax(q kᵀ)`: (B, H, N, d) and (B, H, M, d) to (B, H, N, M).
fn attention(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    ops::softmax(&ops::matmul_with(MatMul { transpose_b: true, ..Default::default() }, q, k)?, -1)
}

/// An approximate inverse of each matrix of a (B, H, m, m).
pub(super) fn inverse(a: &Tensor, iterations: usize) -> Result<Tensor> {
    let [b, h, m, _] = <[usize; 4]>::try_from(&*a.dims())
        .map_err(|_| Error::shape("nystrom", format!("matrices of shape {}", a.dims())))?;
    let largest = |axis: isize| ops::max(&ops::sum(a, &[axis])?, &[-1]);
    let scale = ops::reshape(&ops::mul(&largest(-1)?, &largest(-2)?)?, [b, h, 1, 1])?;
    let mut z = ops::div(&ops::transpose(a, &[0, 1, 3, 2])?, &scale)?;
    let unit: Vec<f32> = (0..m * m).map(|at| f32::from(u8::from(at / m == at % m))).collect();
    let unit = Tensor::from_slice(&unit, [m, m], &a.device())?;
    let unit = if a.dtype() == crate::DType::F64 { crate::check::to_f64(&unit)? } else { unit };
    let minus = |factor: f64, x: &Tensor| ops::sub(&ops::scale(&unit, factor, 0.0)?, x);
    for _ in 0..iterations {
        let az = ops::matmul(a, &z)?;
        let t = ops::matmul(&az, &minus(7.0, &az)?)?;
        let t = ops::matmul(&az, &minus(15.0, &t)?)?;
        z = ops::scale(&ops::matmul(&z, &minus(13.0, &t)?)?, 0.25, 0.0)?;
    }
    Ok(z)
}
