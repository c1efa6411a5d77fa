//! All three are linear: a joined tensor's gradient is cut apart, and cutting and padding are each other's gradient.

use super::{Narrow, Pad};
use crate::{
    device::run1,
    error::Result,
    tape::{Backward, Given, Gradients},
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct ConcatGrad {
    pub(super) axis: usize,
    /// Of each operand, along the axis.
    pub(super) sizes: SmallVec<[usize; 4]>,
}

impl Backward for ConcatGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let mut start = 0;
        for (at, &size) in self.sizes.iter().enumerate() {
            to.give(at, || run1(&Narrow { axis: self.axis, start, size }, &[dy.one()?]))?;
            start += size;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct NarrowGrad {
    pub(super) back: Pad,
}

impl Backward for NarrowGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.back, &[dy.one()?]))
    }
}

#[derive(Debug)]
pub(super) struct PadGrad {
    pub(super) back: Narrow,
}

impl Backward for PadGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || run1(&self.back, &[dy.one()?]))
    }
}
