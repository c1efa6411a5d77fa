//! Gradient of a sum: `dx = dy`, repeated along the summed axes.

use crate::{
    Dims,
    error::Result,
    ops,
    tape::{Backward, Given, Gradients},
};
use smallvec::SmallVec;

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
