//! Unfold and fold are linear and adjoint: the gradient of each is the other.

use super::{fold, unfold};
use crate::{
    error::Result,
    tape::{Backward, Given, Gradients},
};

#[derive(Debug)]
pub(super) struct UnfoldGrad {
    pub(super) image: [usize; 2],
    pub(super) stride: [usize; 2],
}

impl Backward for UnfoldGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || fold(dy.one()?, self.image, self.stride))
    }
}

#[derive(Debug)]
pub(super) struct FoldGrad {
    pub(super) patch: [usize; 2],
    pub(super) stride: [usize; 2],
}

impl Backward for FoldGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || unfold(dy.one()?, self.patch, self.stride))
    }
}
