//! Gradients of a product are products: with `c = a b`, `da = dc bᵀ` and `db = aᵀ dc`. Which operand comes first, and
//! what is read transposed, follows from how each operand is stored.

use super::MatMul;
use crate::{
    Dims,
    device::run1,
    error::{Error, Result},
    ops::reduce::sum_to,
    tape::{Backward, Given, Gradients},
    tensor::Tensor,
};
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct MatMulGrad {
    pub(super) flags: MatMul,
    /// Kept for the gradient of `b`.
    pub(super) a: Option<Tensor>,
    /// Kept for the gradient of `a`.
    pub(super) b: Option<Tensor>,
    pub(super) dims: [Dims; 2],
}

fn kept(t: &Option<Tensor>) -> Result<&Tensor> {
    t.as_ref().ok_or_else(|| Error::tape("an operand that the gradient of matmul needs was not saved"))
}

impl MatMulGrad {
    fn product(&self, transpose_a: bool, transpose_b: bool, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        run1(&MatMul { transpose_a, transpose_b, ..self.flags }, &[a, b])
    }

    fn of_a(&self, dc: &Tensor) -> Result<Tensor> {
        let (b, stored) = (kept(&self.b)?, self.flags.transpose_b);
        let da = match self.flags.transpose_a {
            false => self.product(false, !stored, dc, b)?,
            true => self.product(stored, true, b, dc)?,
        };
        sum_to(&da, self.dims[0])
    }

    fn of_b(&self, dc: &Tensor) -> Result<Tensor> {
        let (a, stored) = (kept(&self.a)?, self.flags.transpose_a);
        let one_b =
            self.dims[1].elements() == self.dims[1][self.dims[1].rank() - 2..].iter().product::<usize>();
        // One matrix b under a batch of a: the sum over the batch is the inner axis of one long product.
        let long = one_b
            && !stored
            && a.elements() > 0
            && a.dims()[..a.dims().rank() - 1] == dc.dims()[..dc.dims().rank() - 1];
        let (a, dc) = if long { (flat(a)?, flat(dc)?) } else { (a.clone(), dc.clone()) };
        let db = match self.flags.transpose_b {
            false => self.product(!stored, false, &a, &dc)?,
            true => self.product(true, stored, &dc, &a)?,
        };
        if long { db.view(self.dims[1]) } else { sum_to(&db, self.dims[1]) }
    }
}

/// All rows of a batch of matrices, as one matrix.
fn flat(t: &Tensor) -> Result<Tensor> {
    let columns = t.dims()[t.dims().rank() - 1];
    t.view(Dims::from([t.elements() / columns.max(1), columns]))
}

impl Backward for MatMulGrad {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let dc = dy.one()?;
        to.give(0, || self.of_a(dc))?;
        to.give(1, || self.of_b(dc))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.a.iter().chain(&self.b).collect()
    }
}
