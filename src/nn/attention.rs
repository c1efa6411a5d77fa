//! The cross-attention transformer that scores and aggregates patches (Bergner et al., "Iterative Patch Selection for
//! High-Resolution Image Recognition", ICLR 2023): a few learned queries look at all patches of an image.
//!
//! `A = dropout(softmax(q W_qᵀ (x W_kᵀ)ᵀ / √d_k))` per head, `z = LN(dropout(A x W_vᵀ W_oᵀ) + q)`,
//! `y = LN(dropout(W₂ relu(W₁ z)) + z)`. The residual adds the queries themselves, before their projection.

use crate::{
    Device, Parameter, Rng, Tensor,
    error::{Error, Result},
    nn::{LayerNorm, Linear, Pass, init, layers::module},
    ops,
};

/// The shape of a [`Transformer`].
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Length D of a patch's vector.
    pub features: usize,
    /// Attention heads H; must divide D.
    pub heads: usize,
    /// Learned queries T, one per task.
    pub queries: usize,
    /// Width of the hidden layer of the perceptron.
    pub hidden: usize,
    /// Dropout of the attention weights.
    pub attention_dropout: f32,
    /// Dropout of the two residual branches.
    pub dropout: f32,
}

impl TransformerConfig {
    /// The published proportions: 8 heads, a hidden layer of 4 D, dropout 0.1.
    pub fn new(features: usize, queries: usize) -> Self {
        TransformerConfig {
            features,
            heads: 8,
            queries,
            hidden: 4 * features,
            attention_dropout: 0.1,
            dropout: 0.1,
        }
    }
}

/// One layer of cross-attention from learned queries to patches, and a perceptron on its output.
#[derive(Debug, Clone)]
pub struct Transformer {
    config: TransformerConfig,
    q: Parameter,
    wq: Parameter,
    wk: Parameter,
    wv: Parameter,
    wo: Parameter,
    attention_norm: LayerNorm,
    w1: Linear,
    w2: Linear,
    norm: LayerNorm,
}

module!(Transformer {; q, wq, wk, wv, wo, attention_norm, w1, w2, norm });

impl Transformer {
    /// A transformer with fresh parameters whose names start with `name`.
    pub fn new(name: &str, config: TransformerConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        let d = config.features;
        if config.heads == 0
            || config.queries == 0
            || config.hidden == 0
            || d == 0
            || !d.is_multiple_of(config.heads)
        {
            let what = format!("{config:?}: sizes must be at least 1 and the heads must divide the features");
            return Err(Error::argument("transformer", what));
        }
        let attention = format!("{name}.crs_attn");
        let bound = (config.heads as f32 / d as f32).sqrt();
        let q = init::uniform([1, config.queries, d], bound, device, rng)?;
        let mut projection = |part: &str| -> Result<Parameter> {
            let weight = init::default_uniform([d, d], device, rng)?;
            Ok(Parameter::new(format!("{attention}.{part}.weight"), weight))
        };
        Ok(Transformer {
            q: Parameter::new(format!("{attention}.q"), q),
            wq: projection("q_w")?,
            wk: projection("k_w")?,
            wv: projection("v_w")?,
            wo: projection("fc")?,
            attention_norm: LayerNorm::new(&format!("{attention}.layer_norm"), d, 1e-6, device)?,
            w1: Linear::new(&format!("{name}.mlp.w_1"), d, config.hidden, device, rng)?,
            w2: Linear::new(&format!("{name}.mlp.w_2"), config.hidden, d, device, rng)?,
            norm: LayerNorm::new(&format!("{name}.mlp.layer_norm"), d, 1e-6, device)?,
            config,
        })
    }

    /// Its shape.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// Patches x (B, N, D) to one vector per query, (B, T, D), and the mean attention each patch got, (B, N).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<(Tensor, Tensor)> {
        let (t, d) = (self.config.queries, self.config.features);
        let q = ops::reshape(&pass.parameter(&self.q)?, [t, d])?;
        let weights = [&self.wq, &self.wk, &self.wv, &self.wo];
        let [wq, wk, wv, wo] = weights.map(|w| pass.parameter(w));
        let dropout = self.config.attention_dropout;
        let rng = if pass.is_training() && dropout > 0.0 { Some((dropout, pass.rng()?)) } else { None };
        let (y, scores) = ops::cross_attention(x, &q, [&wq?, &wk?, &wv?, &wo?], self.config.heads, rng)?;
        let y = ops::add(&pass.dropout(&y, self.config.dropout)?, &q)?;
        let z = self.attention_norm.forward(&y, pass)?;
        Ok((self.perceptron(&z, pass)?, scores))
    }

    /// The second half: z (.., D) to `LN(dropout(W₂ relu(W₁ z)) + z)`.
    pub(crate) fn perceptron(&self, z: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let hidden = ops::relu(&self.w1.forward(z, pass)?)?;
        let y = self.w2.forward(&hidden, pass)?;
        let y = pass.dropout(&y, self.config.dropout)?;
        self.norm.forward(&ops::add(&y, z)?, pass)
    }

    /// What each head makes of patches x (B, N, D) before the heads are joined: (B, H, T, D / H), with dropout of the
    /// attention in training.
    pub(crate) fn head_outputs(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (t, d, h) = (self.config.queries, self.config.features, self.config.heads);
        let [b, n] = [x.dims()[0], x.dims()[1]];
        let mut apart = |weight: &Parameter| -> Result<Tensor> {
            let y = ops::linear(x, &pass.parameter(weight)?, None)?;
            ops::transpose(&ops::reshape(&y, [b, n, h, d / h])?, &[0, 2, 1, 3])
        };
        let (keys, values) = (apart(&self.wk)?, apart(&self.wv)?);
        let q = ops::reshape(&pass.parameter(&self.q)?, [t, d])?;
        let q = ops::linear(&q, &pass.parameter(&self.wq)?, None)?;
        let q = ops::transpose(&ops::reshape(&q, [t, h, d / h])?, &[1, 0, 2])?;
        let by_key = ops::MatMul { transpose_b: true, ..ops::MatMul::default() };
        let logits = ops::matmul_with(by_key, &q, &keys)?;
        let attention = ops::softmax(&ops::scale(&logits, (h as f64 / d as f64).sqrt(), 0.0)?, -1)?;
        ops::matmul(&pass.dropout(&attention, self.config.attention_dropout)?, &values)
    }

    /// Queries and key projection folded into one matrix `U (H·T, D)`: a patch's attention logits are `x · Uᵀ`.
    pub fn folded_queries(&self) -> Result<Tensor> {
        let (t, d) = (self.config.queries, self.config.features);
        let q = ops::reshape(self.q.tensor(), [t, d])?;
        ops::fold_queries(&q, self.wq.tensor(), self.wk.tensor(), self.config.heads)
    }
}
