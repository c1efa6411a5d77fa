//! Gradients of views: a reshape goes back to the old shape, a slice is padded with zeros, a repetition is summed.

use super::{PadRows, reshape};
use crate::{
    Dims,
    device::run1,
    error::Result,
    ops::reduce,
    tape::{Backward, Given, Gradients},
};

#[derive(Debug)]
pub(super) struct ReshapeGrad {
    pub(super) dims: Dims,
}

impl Backward for ReshapeGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || reshape(dy.one()?, self.dims))
    }
}

#[derive(Debug)]
pub(super) struct SliceGrad {
    pub(super) before: usize,
    pub(super) rows: usize,
}

impl Backward for SliceGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&PadRows { before: self.before, rows: self.rows }, &[dy.one()?]))
    }
}

#[derive(Debug)]
pub(super) struct ExpandGrad {
    pub(super) dims: Dims,
}

impl Backward for ExpandGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || reduce::sum_to(dy.one()?, self.dims))
    }
}
