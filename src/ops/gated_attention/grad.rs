//! With `t` the tanh and `s` the sigmoid: `da_n += dy · h_n`, `dl = a ∘ (da − Σ a da)`, `dA = dl w ∘ s ∘ (1 − t²)`,
//! `dC = dl w ∘ t ∘ s ∘ (1 − s)`; `dh_n = a_n dy + Vᵀ dA_n + Uᵀ dC_n`, `dV = Σ dA hᵀ`, `db_v = Σ dA`, `dU = Σ dC hᵀ`,
//! `db_u = Σ dC`, `dw = Σ dl (t ∘ s)`, sums over all instances of all bags.

use super::GatedAttentionGrad;
use crate::{
    DType, Precision, check,
    device::run,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct GatedGrad {
    pub(super) precision: Option<Precision>,
    /// h, v, u, w
    pub(super) ins: [Tensor; 4],
    /// The weights, the tanh and the sigmoid.
    pub(super) kept: [Tensor; 3],
}

impl Backward for GatedGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let ([h, v, u, w], [weights, t, s]) = (&self.ins, &self.kept);
        let given = |at: usize, dims| match dy.get(at) {
            Some(gradient) => Ok(gradient.clone()),
            None if h.dtype() == DType::F64 => check::to_f64(&Tensor::zeros(dims, &h.device())?),
            None => Tensor::zeros(dims, &h.device()),
        };
        let dy = given(0, h.dims().without(1))?;
        let da = given(1, weights.dims())?;
        let wants = [0, 1, 2, 3, 4, 5].map(|at| to.wants(at));
        let op = GatedAttentionGrad { wants, precision: self.precision };
        let grads = run(&op, &[h, v, u, w, weights, t, s, &dy, &da])?;
        for (at, gradient) in (0..6).filter(|at| wants[*at]).zip(grads) {
            to.give(at, || Ok(gradient))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.ins.iter().chain(&self.kept).collect()
    }
}
