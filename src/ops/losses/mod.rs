//! Losses: each reduces a batch to one number.
//!
//! Every loss is a pair of operations, the value and the gradient of its first operand times the gradient of the value.
//! The arithmetic of one row or element is written once, in `terms.rs`, over [`Real`](crate::spec::Real) numbers.

mod classes;
mod elements;
mod terms;
#[cfg(test)]
mod tests;

pub use classes::{CrossEntropy, CrossEntropyGrad, Nll, NllGrad, cross_entropy, nll};
pub use elements::{Bce, BceGrad, BceWithLogits, BceWithLogitsGrad, bce, bce_with_logits, entropy_term, mse};

use crate::{
    Tensor,
    device::Meta,
    error::{Error, Result},
    tape::{Backward, Given, Gradients},
};
use smallvec::SmallVec;
use std::fmt::Debug;

/// How the terms of a batch become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean (with class weights: the weighted mean).
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// The record of a loss whose gradient is one operation on (dy, operands …).
#[derive(Debug)]
struct LossGrad<O> {
    op: O,
    operands: SmallVec<[Tensor; 3]>,
}

impl<O: crate::device::Op> Backward for LossGrad<O> {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        to.give(0, || {
            let mut ins: SmallVec<[&Tensor; 4]> = SmallVec::new();
            ins.push(dy.one()?);
            ins.extend(&self.operands);
            crate::device::run1(&self.op, &ins)
        })
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.operands.iter().collect()
    }
}

/// Checks that two operands have one shape with at least one element.
fn same_shape(op: &'static str, a: &Meta, b: &Meta) -> Result<()> {
    if a.dims != b.dims || a.dims.elements() == 0 {
        let what = format!("shapes {} and {}: they must be equal and not empty", a.dims, b.dims);
        return Err(Error::shape(op, what));
    }
    Ok(())
}
