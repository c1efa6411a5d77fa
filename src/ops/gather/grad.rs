//! Gather and scatter-add are linear and adjoint: the gradient of each is the other, with the same indices.

use super::{Gather, ScatterAdd};
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct GatherGrad {
    pub(super) indices: Tensor,
    pub(super) rows: usize,
}

impl Backward for GatherGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&ScatterAdd { rows: self.rows }, &[dy.one()?, &self.indices]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.indices]
    }
}

#[derive(Debug)]
pub(super) struct ScatterAddGrad {
    pub(super) indices: Tensor,
}

impl Backward for ScatterAddGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&Gather, &[dy.one()?, &self.indices]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.indices]
    }
}
