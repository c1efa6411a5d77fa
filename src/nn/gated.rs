//! Gated attention pooling with its parameters (Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning",
//! ICML 2018): one vector for a bag of instances.

use crate::{
    Device, Parameter, Rng, Tensor,
    error::{Error, Result},
    nn::{Pass, init, layers::module},
    ops,
};

/// `z = Σ a_k h_k` with `a = softmax_k(w · (tanh(V h_k + b_V) ⊙ σ(U h_k + b_U)))`.
#[derive(Debug, Clone)]
pub struct GatedAttention {
    v: Parameter,
    bv: Parameter,
    u: Parameter,
    bu: Parameter,
    w: Parameter,
}

module!(GatedAttention { Trained v, Trained bv, Trained u, Trained bu, Trained w; });

impl GatedAttention {
    /// Fresh parameters for instances of `features`, with gates of `hidden` units (128 in the publication).
    ///
    /// # Errors
    ///
    /// A size of zero; out of memory.
    pub fn new(name: &str, features: usize, hidden: usize, device: &Device, rng: &mut Rng) -> Result<Self> {
        if features == 0 || hidden == 0 {
            let what = format!("{features} features and {hidden} hidden units: both must be at least 1");
            return Err(Error::argument("gated_attention", what));
        }
        let bound = 1.0 / (features as f32).sqrt();
        let mut matrix = |part: &str| -> Result<[Parameter; 2]> {
            let weight = init::default_uniform([hidden, features], device, rng)?;
            let bias = init::uniform([hidden], bound, device, rng)?;
            Ok([("weight", weight), ("bias", bias)]
                .map(|(p, t)| Parameter::new(format!("{name}.{part}.{p}"), t)))
        };
        let ([v, bv], [u, bu]) = (matrix("v")?, matrix("u")?);
        let w = init::uniform([hidden], 1.0 / (hidden as f32).sqrt(), device, rng)?;
        Ok(GatedAttention { v, bv, u, bu, w: Parameter::new(format!("{name}.w"), w) })
    }

    /// Instances (B, N, D) to the pooled vectors (B, D) and the attention (B, N).
    ///
    /// # Errors
    ///
    /// Instances of other features.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<(Tensor, Tensor)> {
        let [v, bv, u, bu, w] = [&self.v, &self.bv, &self.u, &self.bu, &self.w].map(|p| pass.parameter(p));
        ops::gated_attention(x, &v?, &bv?, &u?, &bu?, &w?)
    }
}
