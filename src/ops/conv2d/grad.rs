//! Gradients of a convolution: one kernel for the image, one for the weight, and a sum for the bias.

use super::{Conv2d, Conv2dGradInput, Conv2dGradWeight};
use crate::{
    device::run1,
    error::{Error, Result},
    ops,
    tape::{Backward, Given, Gradients, Save},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct Conv2dGrad {
    conv: Conv2d,
    image: [usize; 2],
    kernel: [usize; 2],
    /// Kept when the weight wants its gradient.
    x: Option<Tensor>,
    /// Kept when the image wants its gradient.
    weight: Option<Tensor>,
}

impl Conv2dGrad {
    pub(super) fn new(conv: Conv2d, save: &Save) -> Self {
        let last_two = |t: &Tensor| [t.dims()[2], t.dims()[3]];
        let (x, weight) = (save.input(0), save.input(1));
        Conv2dGrad {
            conv,
            image: last_two(&x),
            kernel: last_two(&weight),
            x: save.wants(1).then_some(x),
            weight: save.wants(0).then_some(weight),
        }
    }
}

fn kept(t: &Option<Tensor>) -> Result<&Tensor> {
    t.as_ref().ok_or_else(|| Error::tape("conv2d did not save an operand that a wanted gradient needs"))
}

impl Backward for Conv2dGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let dy = dy.one()?;
        to.give(0, || {
            run1(&Conv2dGradInput { conv: self.conv, image: self.image }, &[dy, kept(&self.weight)?])
        })?;
        to.give(1, || {
            run1(&Conv2dGradWeight { conv: self.conv, kernel: self.kernel }, &[kept(&self.x)?, dy])
        })?;
        to.give(2, || ops::sum(dy, &[0, 2, 3]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.x.iter().chain(&self.weight).collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        self.x.iter_mut().collect()
    }
}
