//! Resizing is linear: its gradient is the adjoint.

use super::ResizeGrad;
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
};

#[derive(Debug)]
pub(super) struct Back(pub(super) ResizeGrad);

impl Backward for Back {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.0, &[dy.one()?]))
    }
}
