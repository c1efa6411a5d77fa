//! Gradients of batch normalisation.
//!
//! With `g = dy` where the ReLU let through, `x̂ = (x − mean) · inv_std` and sums over batch and plane:
//! `dbias = Σ g`, `dweight = Σ g x̂`, and `dx = weight · inv_std · (g − (Σ g + x̂ Σ g x̂) / n)` in training or
//! `weight · inv_std · g` in evaluation. A residual gets `g`.

use super::{BatchNormConfig, BatchNormGrad};
use crate::{
    device::{run, run1},
    error::Result,
    ops::elementwise::{Relu, UnaryGrad},
    tape::{Backward, Given, Gradients, Save},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct Record {
    op: BatchNormGrad,
    /// x, weight, bias, mean, inverse deviation.
    kept: [Tensor; 5],
    /// The result of a residual sum and ReLU, which says where `dy` passes.
    y: Option<Tensor>,
}

impl Record {
    /// `residual` says whether there was one; mean and inverse deviation are those that x was normalised with.
    pub(super) fn new(
        config: BatchNormConfig,
        training: bool,
        residual: bool,
        save: &Save,
        [mean, inv_std]: [Tensor; 2],
    ) -> Self {
        let after_residual = config.relu && residual;
        Record {
            op: BatchNormGrad { training, relu: config.relu && !after_residual },
            kept: [save.input(0), save.input(1), save.input(2), mean, inv_std],
            y: after_residual.then(|| save.output(0)),
        }
    }
}

impl Backward for Record {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let g = match &self.y {
            Some(y) => run1(&UnaryGrad::<Relu>::default(), &[dy.one()?, y])?,
            None => dy.one()?.clone(),
        };
        to.give(5, || Ok(g.clone()))?;
        if !(0..3).any(|operand| to.wants(operand)) {
            return Ok(());
        }
        let [x, weight, bias, mean, inv_std] = &self.kept;
        let grads = run(&self.op, &[&g, x, weight, bias, mean, inv_std])?;
        for (operand, gradient) in grads.into_iter().enumerate() {
            to.give(operand, || Ok(gradient))?;
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.kept.iter().chain(&self.y).collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        self.kept.iter_mut().take(1).chain(&mut self.y).collect()
    }
}
