//! Given dy and dscores: `do = dy W_o` and per head `dz = do_h W_v,h`; `dp = mask ∘ (dz xᵀ) + dscores / (H·T)`;
//! `ds = p ∘ (dp − Σ_n p dp)`; `dx = p̃ᵀ dz + dsᵀ u`; `du = Σ_b ds x`; `dW_v,h = Σ do_hᵀ z`; `dW_o = Σ dyᵀ o` with
//! `o_h = z W_v,hᵀ`. The dropout mask is drawn again, not kept.

use super::{CrossAttention, CrossAttentionGrad};
use crate::{
    DType,
    device::run,
    error::Result,
    ops,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct AttentionGrad {
    pub(super) attention: CrossAttention,
    /// x, u, wv, wo
    pub(super) ins: [Tensor; 4],
    /// p, z
    pub(super) kept: [Tensor; 2],
}

impl AttentionGrad {
    /// The gradient of a result, zeros where nothing depended on it.
    fn given(&self, dy: &Given, at: usize) -> Result<Tensor> {
        if let Some(gradient) = dy.get(at) {
            return Ok(gradient.clone());
        }
        let ([x, u, _, wo], heads) = (&self.ins, self.attention.heads);
        let [b, n] = [x.dims()[0], x.dims()[1]];
        let zeros = match at {
            0 => Tensor::zeros([b, u.dims()[0] / heads, wo.dims()[0]], &x.device())?,
            _ => Tensor::zeros([b, n], &x.device())?,
        };
        if x.dtype() == DType::F64 { crate::check::to_f64(&zeros) } else { ops::convert(&zeros, x.dtype()) }
    }
}

impl Backward for AttentionGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        if dy.get(0).is_none() && dy.get(1).is_none() {
            return Ok(());
        }
        let wants = [0, 1, 2, 3].map(|at| to.wants(at));
        let (dy, dscores) = (self.given(dy, 0)?, self.given(dy, 1)?);
        let ([x, u, wv, wo], [p, z]) = (&self.ins, &self.kept);
        let op = CrossAttentionGrad { attention: self.attention, wants };
        let grads = run(&op, &[x, u, wv, wo, p, z, &dy, &dscores])?;
        let wanted = (0..4).filter(|at| wants[*at]);
        for (at, gradient) in wanted.zip(grads) {
            to.give(at, || Ok(gradient))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.ins.iter().chain(&self.kept).collect()
    }
}
