//! Gradients of blended patches: an operation for each operand.

use super::{BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    device::run1,
    error::{Error, Result},
    ops::unfold::Grid,
    tape::{Backward, Given, Gradients, Save},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct BlendGrad {
    grid: Grid,
    gradient: IndicatorGradient,
    image: [usize; 2],
    indicators: Tensor,
    /// Kept where the indicators want their gradient.
    x: Option<Tensor>,
}

impl BlendGrad {
    pub(super) fn new(grid: Grid, gradient: IndicatorGradient, save: &Save) -> Self {
        let x = save.input(0);
        let image = [x.dims()[2], x.dims()[3]];
        BlendGrad { grid, gradient, image, indicators: save.input(1), x: save.wants(1).then_some(x) }
    }
}

impl Backward for BlendGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let dy = dy.one()?;
        let by_image = BlendPatchesGradImage { grid: self.grid, image: self.image };
        to.give(0, || run1(&by_image, &[&self.indicators, dy]))?;
        to.give(1, || {
            let x =
                self.x.as_ref().ok_or_else(|| Error::tape("the image of blended patches was not saved"))?;
            let by_indicators = BlendPatchesGradIndicators { grid: self.grid, gradient: self.gradient };
            run1(&by_indicators, &[x, &self.indicators, dy])
        })
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        [&self.indicators].into_iter().chain(&self.x).collect()
    }
}
