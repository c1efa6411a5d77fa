//! The matrix products that the fold and its gradient are made of on GPUs: (m, k, n), then where a (m, k), b (k, n) and
//! c (m, n) lie.

use super::Sizes;
use crate::device::{Matrix, Product};

/// Rows of so many elements, one after another.
fn plain(columns: usize) -> Matrix {
    Matrix::new(columns, 1)
}

impl Sizes {
    /// Rows of the projections.
    fn rows(&self) -> usize {
        self.heads * self.key
    }

    /// Elements of the projected queries (T, H·dk).
    pub(super) fn projection(&self) -> usize {
        self.queries * self.rows()
    }

    /// Where the rows t and columns j of one head lie in (T, H·dk).
    fn in_projection(&self) -> Matrix {
        plain(self.rows()).every(self.key)
    }

    /// Where the rows t and columns i of one head lie in u (H·T, D).
    fn in_u(&self) -> Matrix {
        plain(self.features).every(self.queries * self.features)
    }

    /// Where the rows j and columns i of one head lie in a projection (H·dk, D).
    fn in_head(&self) -> Matrix {
        plain(self.features).every(self.key * self.features)
    }

    /// q (T, D) and wq (H·dk, D) to the projected queries p (T, H·dk), scaled.
    pub(super) fn to_projection(self) -> Product {
        let (rows, d) = (self.rows(), self.features);
        let product = Product::new((self.queries, d, rows), plain(d), Matrix::new(1, d), plain(rows));
        product.scale(self.scale() as f32)
    }

    /// p and wk (H·dk, D) to u (H·T, D), head by head.
    pub(super) fn to_u(self) -> Product {
        let shape = (self.queries, self.key, self.features);
        Product::new(shape, self.in_projection(), self.in_head(), self.in_u()).batch(self.heads)
    }

    /// du (H·T, D) and wk to dp (T, H·dk), scaled, head by head.
    pub(super) fn grad_projection(&self) -> Product {
        let (shape, d) = ((self.queries, self.features, self.key), self.features);
        let wk_transposed = Matrix::new(1, d).every(self.key * d);
        let product = Product::new(shape, self.in_u(), wk_transposed, self.in_projection());
        product.scale(self.scale() as f32).batch(self.heads)
    }

    /// p and du to dwk (H·dk, D), head by head.
    pub(super) fn grad_wk(&self) -> Product {
        let p_transposed = Matrix::new(1, self.rows()).every(self.key);
        let shape = (self.key, self.queries, self.features);
        Product::new(shape, p_transposed, self.in_u(), self.in_head()).batch(self.heads)
    }

    /// dp and wq to dq (T, D).
    pub(super) fn grad_q(&self) -> Product {
        let (rows, d) = (self.rows(), self.features);
        Product::new((self.queries, rows, d), plain(rows), plain(d), plain(d))
    }

    /// dp and q to dwq (H·dk, D).
    pub(super) fn grad_wq(&self) -> Product {
        let (rows, d) = (self.rows(), self.features);
        Product::new((rows, self.queries, d), Matrix::new(1, rows), plain(d), plain(d))
    }
}
