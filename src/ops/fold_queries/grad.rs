//! With `p_t = W_q q_t / √d_k` and `u[h·T + t] = W_k,hᵀ p_t,h`: `dp_t,h = W_k,h du[h·T + t]`,
//! `dW_k,h = Σ_t p_t,h du[h·T + t]ᵀ`, then `dq_t = W_qᵀ dp_t / √d_k` and `dW_q = Σ_t dp_t q_tᵀ / √d_k`.

use super::{FoldQueries, FoldQueriesGrad};
use crate::{
    device::run,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct FoldGrad {
    pub(super) fold: FoldQueries,
    /// q, wq, wk
    pub(super) ins: [Tensor; 3],
}

impl Backward for FoldGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let [q, wq, wk] = &self.ins;
        let grads = run(&FoldQueriesGrad { fold: self.fold }, &[dy.one()?, q, wq, wk])?;
        for (at, gradient) in grads.into_iter().enumerate() {
            to.give(at, || Ok(gradient))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.ins.iter().collect()
    }
}
