//! Gradients of the estimated expectation: an operation for each operand.

use super::{Estimator, ExpectationGradAttention, ExpectationGradFeatures};
use crate::{
    device::run1,
    error::{Error, Result},
    tape::{Backward, Given, Gradients, Save},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct ExpectationGrad {
    replace: bool,
    estimator: Estimator,
    attention: Tensor,
    /// Kept where the attention wants its gradient.
    features: Option<Tensor>,
}

impl ExpectationGrad {
    pub(super) fn new(replace: bool, estimator: Estimator, save: &Save) -> Self {
        let features = save.wants(0).then(|| save.input(1));
        ExpectationGrad { replace, estimator, attention: save.input(0), features }
    }
}

impl Backward for ExpectationGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let (dy, replace) = (dy.one()?, self.replace);
        to.give(0, || {
            let features = self.features.as_ref();
            let features =
                features.ok_or_else(|| Error::tape("the features of an expectation were not saved"))?;
            let op = ExpectationGradAttention { replace, estimator: self.estimator };
            run1(&op, &[&self.attention, features, dy])
        })?;
        to.give(1, || run1(&ExpectationGradFeatures { replace }, &[&self.attention, dy]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        [&self.attention].into_iter().chain(&self.features).collect()
    }
}
