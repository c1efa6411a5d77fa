//! The gradient of a window's maximum goes to the pixel that was it.

use super::MaxPool2dGrad;
use crate::{
    Tensor,
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct MaxPoolGrad {
    pub(super) op: MaxPool2dGrad,
    /// One byte per window.
    pub(super) codes: Tensor,
}

impl Backward for MaxPoolGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.op, &[dy.one()?, &self.codes]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.codes]
    }
}
