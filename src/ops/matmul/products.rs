//! How a batch of products with broadcast operands becomes launches of a GPU's product kernel.

use super::{MatMul, Sizes};
use crate::device::{Matrix, Product};

impl Sizes {
    /// The longest run of neighbouring products whose operands lie at equal distances, which is all of them unless several
    /// axes of the batch are broadcast: how many, and the matrices of a and of b between two of them.
    fn run(&self) -> (usize, [usize; 2]) {
        let [a, b, batch] = self.batch;
        let size = |operand: crate::Dims, axis: usize| {
            (axis + operand.rank()).checked_sub(batch.rank()).map_or(1, |axis| operand[axis])
        };
        let (mut run, mut steps) = (1, None);
        for axis in (0..batch.rank()).rev().filter(|&axis| batch[axis] != 1) {
            let own = [size(a, axis), size(b, axis)].map(|have| usize::from(have > 1));
            if steps.is_some_and(|steps| steps != own) {
                break;
            }
            (run, steps) = (run * batch[axis], Some(own));
        }
        (run, steps.unwrap_or([0; 2]))
    }
}

impl MatMul {
    /// The product of one run of matrices, and how many a run has.
    pub(super) fn product(&self, sizes: &Sizes) -> (Product, usize) {
        let (m, k, n) = (sizes.m, sizes.k, sizes.n);
        let (run, [a_step, b_step]) = sizes.run();
        let a = if self.transpose_a { Matrix::new(1, m) } else { Matrix::new(k, 1) };
        let b = if self.transpose_b { Matrix::new(1, k) } else { Matrix::new(n, 1) };
        let (a, b) = (a.every(a_step * m * k), b.every(b_step * k * n));
        (Product::new((m, k, n), a, b, Matrix::new(n, 1).every(m * n)).batch(run), run)
    }
}
