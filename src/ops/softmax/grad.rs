//! Gradients of softmax and its logarithm, from their results.

use super::{LogSoftmaxGrad, SoftmaxGrad};
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct SoftmaxRecord {
    pub(super) axis: usize,
    pub(super) y: Tensor,
}

impl Backward for SoftmaxRecord {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&SoftmaxGrad { axis: self.axis }, &[dy.one()?, &self.y]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.y]
    }
}

#[derive(Debug)]
pub(super) struct LogSoftmaxRecord {
    pub(super) axis: usize,
    pub(super) y: Tensor,
}

impl Backward for LogSoftmaxRecord {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&LogSoftmaxGrad { axis: self.axis }, &[dy.one()?, &self.y]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.y]
    }
}
