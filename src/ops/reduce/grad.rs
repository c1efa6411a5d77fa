//! Gradients of reductions: of a sum, `dy` repeated along the summed axes; of a maximum, `dy` at its first occurrence.

use super::MaxGrad;
use crate::{
    Dims,
    device::run1,
    error::Result,
    ops,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct SumGrad {
    pub(super) dims: Dims,
    pub(super) summed: SmallVec<[bool; 6]>,
}

impl Backward for SumGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || {
            let kept: SmallVec<[usize; 6]> = self
                .dims
                .iter()
                .zip(&self.summed)
                .map(|(&size, &summed)| if summed { 1 } else { size })
                .collect();
            ops::expand(&ops::reshape(dy.one()?, Dims::new(&kept)?)?, self.dims)
        })
    }
}

/// The record of a maximum: where each stands in `x`.
#[derive(Debug)]
pub(super) struct MaxRecord {
    pub(super) dims: Dims,
    pub(super) at: Tensor,
}

impl Backward for MaxRecord {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&MaxGrad { dims: self.dims }, &[dy.one()?, &self.at]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.at]
    }
}
