//! The matrix products that the pooling and its gradient are made of on GPUs: (m, k, n), then where a (m, k), b (k, n) and
//! c (m, n) lie; the runs of instances that biases and w are summed over; and what lies between in scratch, where `parts`
//! tells the words for the sums of a product in parts.

use super::{GatedAttention, GatedAttentionGrad, Sizes};
use crate::device::{Areas, Matrix, Product};

/// Instances that one thread adds up; longer runs where there are very many, so that the sums of runs stay few.
const RUN: usize = 64;
/// Runs at most.
const RUNS: usize = 1024;

impl Sizes {
    /// Instances of all bags.
    pub(super) fn rows(&self) -> usize {
        self.batch * self.instances
    }

    /// Instances of a run, and how many runs there are.
    pub(super) fn runs(&self) -> (usize, usize) {
        let run = self.rows().div_ceil(RUNS).max(RUN);
        (run, self.rows().div_ceil(run))
    }

    /// h (B·N, D) and a matrix (L, D) to (B·N, L).
    pub(super) fn layer(&self) -> Product {
        let (d, hidden) = (self.features, self.hidden);
        Product::new((self.rows(), d, hidden), Matrix::new(d, 1), Matrix::new(1, d), Matrix::new(hidden, 1))
    }

    /// Weights (B, N) and h (B, N, D) to y (B, D).
    pub(super) fn pool(&self) -> Product {
        let (n, d) = (self.instances, self.features);
        let (a, h) = (Matrix::new(n, 1).every(n), Matrix::new(d, 1).every(n * d));
        Product::new((1, n, d), a, h, Matrix::new(d, 1).every(d)).batch(self.batch)
    }

    /// Weights (B, N) and dy (B, D) to dh (B, N, D).
    pub(super) fn spread(&self) -> Product {
        let (n, d) = (self.instances, self.features);
        let (a, dy) = (Matrix::new(1, n).every(n), Matrix::new(d, 1).every(d));
        Product::new((n, 1, d), a, dy, Matrix::new(d, 1).every(n * d)).batch(self.batch)
    }

    /// The gradient of the hidden layer (B·N, L) and a matrix (L, D) to dh (B·N, D).
    pub(super) fn to_instances(self) -> Product {
        let (d, hidden) = (self.features, self.hidden);
        Product::new((self.rows(), hidden, d), Matrix::new(hidden, 1), Matrix::new(d, 1), Matrix::new(d, 1))
    }

    /// The gradient of the hidden layer (B·N, L) and h (B·N, D) to the gradient of a matrix (L, D).
    pub(super) fn to_matrix(self) -> Product {
        let (d, hidden) = (self.features, self.hidden);
        Product::new((hidden, self.rows(), d), Matrix::new(1, hidden), Matrix::new(d, 1), Matrix::new(d, 1))
    }
}

impl GatedAttention {
    /// Areas for the tanh, the sigmoid and the parts of sums.
    pub(super) fn areas(&self, s: &Sizes, parts: impl Fn(&Product) -> usize) -> Areas<3> {
        let layer = if self.keep { 0 } else { s.rows() * s.hidden };
        Areas([layer, layer, parts(&s.pool())])
    }
}

impl GatedAttentionGrad {
    /// Areas for dl, the gradients before tanh and sigmoid, the sums of runs and the parts of sums.
    pub(super) fn areas(&self, s: &Sizes, parts: impl Fn(&Product) -> usize) -> Areas<5> {
        let layer = s.rows() * s.hidden;
        Areas([s.rows(), layer, layer, 3 * s.runs().1 * s.hidden, parts(&s.to_matrix())])
    }
}
