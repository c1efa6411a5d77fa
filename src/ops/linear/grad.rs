//! Gradients of the layer: `dx = dy W` and `dW = dyᵀ x` are products, `db` is the sum of the rows of `dy`.

use crate::{
    Dims, Precision,
    device::run1,
    error::{Error, Result},
    ops::{self, MatMul},
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct LinearGrad {
    pub(super) precision: Option<Precision>,
    /// Kept for the gradient of the weight.
    pub(super) x: Option<Tensor>,
    /// Kept for the gradient of `x`.
    pub(super) weight: Option<Tensor>,
}

/// The rows of `t`, as one matrix.
fn rows(t: &Tensor) -> Result<Tensor> {
    let columns = t.dims().last().copied().unwrap_or(1);
    let rows = t.dims()[..t.dims().rank().max(1) - 1].iter().product();
    t.view(Dims::from([rows, columns]))
}

fn kept(t: &Option<Tensor>) -> Result<&Tensor> {
    t.as_ref().ok_or_else(|| Error::tape("an operand that the gradient of linear needs was not saved"))
}

impl Backward for LinearGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let dy = dy.one()?;
        to.give(0, || {
            let weight = kept(&self.weight)?;
            let dx = run1(&MatMul { precision: self.precision, ..MatMul::default() }, &[&rows(dy)?, weight])?;
            dx.view(dy.dims().with(dy.dims().rank() - 1, weight.dims()[1]))
        })?;
        to.give(1, || {
            let transposed = MatMul { transpose_a: true, transpose_b: false, precision: self.precision };
            run1(&transposed, &[&rows(dy)?, &rows(kept(&self.x)?)?])
        })?;
        to.give(2, || ops::sum(&rows(dy)?, &[0]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.x.iter().chain(&self.weight).collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        self.x.iter_mut().collect()
    }
}
