//! The gradient goes back through the inverse permutation.

use super::Transpose;
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
};

#[derive(Debug)]
pub(super) struct TransposeGrad {
    pub(super) back: Transpose,
}

impl Backward for TransposeGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.back, &[dy.one()?]))
    }
}
