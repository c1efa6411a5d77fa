//! Gradient of a division by the norm: with `n = √max(Σ x², floor)`, `dx = (dy − y Σ dy y) / n` above the floor and
//! `dy / n` at it.

use super::L2NormalizeGrad;
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct Record {
    pub(super) x: Tensor,
}

impl Backward for Record {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&L2NormalizeGrad, &[dy.one()?, &self.x]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.x]
    }
}
