//! Extracting and placing patches are linear and adjoint: the gradient of each is the other.

use super::{extract_patches, place_patches};
use crate::{
    error::Result,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::{SmallVec, smallvec};

#[derive(Debug)]
pub(super) struct ExtractGrad {
    pub(super) image: [usize; 2],
    pub(super) offsets: Tensor,
}

impl Backward for ExtractGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || place_patches(dy.one()?, &self.offsets, self.image))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.offsets]
    }
}

#[derive(Debug)]
pub(super) struct PlaceGrad {
    pub(super) patch: [usize; 2],
    pub(super) offsets: Tensor,
}

impl Backward for PlaceGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || extract_patches(dy.one()?, &self.offsets, self.patch))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        smallvec![&self.offsets]
    }
}
