//! Gradient of the perturbed top-k: one operation on the positions that the samples chose.

use super::PerturbedTopKGrad;
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct PerturbedGrad {
    pub(super) back: PerturbedTopKGrad,
    /// The positions and, if it was given, the noise.
    pub(super) kept: SmallVec<[Tensor; 2]>,
}

impl Backward for PerturbedGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || {
            let ins: SmallVec<[&Tensor; 3]> = [dy.one()?].into_iter().chain(&self.kept).collect();
            run1(&self.back, &ins)
        })
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.kept.iter().collect()
    }
}
