//! Gradients of layer normalisation.
//!
//! With `x̂ = (x − mean) · inv_std` and `g = dy · weight` (or `dy`): `dx = inv_std · (g − mean(g) − x̂ mean(g x̂))` over each
//! row, `dweight = Σ dy x̂` and `dbias = Σ dy` over the rows. Mean and deviation are computed again from x.

use super::LayerNormGrad;
use crate::{
    device::run,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct Record {
    pub(super) eps: f64,
    pub(super) x: Tensor,
    pub(super) weight: Option<Tensor>,
}

impl Backward for Record {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let mut ins = vec![dy.one()?, &self.x];
        ins.extend(&self.weight);
        let grads = run(&LayerNormGrad { eps: self.eps }, &ins)?;
        for (operand, gradient) in grads.into_iter().enumerate() {
            to.give(operand, || Ok(gradient))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        std::iter::once(&self.x).chain(&self.weight).collect()
    }
}
