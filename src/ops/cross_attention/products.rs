//! The matrix products that the attention and its gradient are made of on GPUs: (m, k, n), then where a (m, k), b (k, n) and
//! c (m, n) lie; and what lies between them in scratch, where `parts` tells the words for the sums of a product in parts.

use super::{CrossAttention, CrossAttentionGrad, Sizes};
use crate::{
    DType,
    device::{Areas, Axis, Matrix, Product, Stride},
};

impl Sizes {
    /// The rows (b, t) of a head, in order.
    fn rows_of_head(&self) -> Axis {
        Axis { len: self.batch * self.queries, inner: self.queries }
    }

    /// Of these rows in (B, H·T, D).
    fn in_z(&self) -> Stride {
        Stride { outer: self.rows() * self.features, step: self.features }
    }

    /// Of these rows in (B·T, H·dv).
    fn in_values(&self) -> Stride {
        let step = self.heads * self.value;
        Stride { outer: self.queries * step, step }
    }

    /// u (R, D), or one for each image, and x (B, N, D) to (B, R, N).
    pub(super) fn to_logits(self, u: usize) -> Product {
        let (n, d) = (self.inputs, self.features);
        let a = Matrix::new(d, 1).every(u);
        let (b, c) = (Matrix::new(1, d).every(n * d), Matrix::new(n, 1).every(self.rows() * n));
        Product::new((self.rows(), d, n), a, b, c).batch(self.batch)
    }

    /// p (B, R, N) and x (B, N, D) to z (B, R, D).
    pub(super) fn to_sums(self) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(n, 1).every(r * n);
        let (b, c) = (Matrix::new(d, 1).every(n * d), Matrix::new(d, 1).every(r * d));
        Product::new((r, n, d), a, b, c).batch(self.batch)
    }

    /// z (B, R, D) and wv (H·dv, D) to o (B·T, H·dv), head by head.
    pub(super) fn to_values(self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(self.in_z(), 1).every(self.queries * d);
        let (b, c) = (Matrix::new(1, d).every(value * d), Matrix::new(self.in_values(), 1).every(value));
        Product::new((self.rows_of_head(), d, value), a, b, c).batch(self.heads)
    }

    /// o (B·T, H·dv) and wo (O, H·dv) to y (B·T, O).
    pub(super) fn to_outputs(self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (self.batch * self.queries, values, outputs);
        Product::new(shape, Matrix::new(values, 1), Matrix::new(1, values), Matrix::new(outputs, 1))
    }

    /// dy (B·T, O) and wo (O, H·dv) to do (B·T, H·dv).
    pub(super) fn grad_values(&self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (self.batch * self.queries, outputs, values);
        Product::new(shape, Matrix::new(outputs, 1), Matrix::new(values, 1), Matrix::new(values, 1))
    }

    /// dy (B·T, O) and o (B·T, H·dv) to dwo (O, H·dv).
    pub(super) fn grad_wo(&self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (outputs, self.batch * self.queries, values);
        Product::new(shape, Matrix::new(1, outputs), Matrix::new(values, 1), Matrix::new(values, 1))
    }

    /// do (B·T, H·dv) and wv (H·dv, D) to dz (B, R, D), head by head.
    pub(super) fn grad_z(&self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(self.in_values(), 1).every(value);
        let (b, c) =
            (Matrix::new(d, 1).every(value * d), Matrix::new(self.in_z(), 1).every(self.queries * d));
        Product::new((self.rows_of_head(), value, d), a, b, c).batch(self.heads)
    }

    /// do (B·T, H·dv) and z (B, R, D) to dwv (H·dv, D), head by head.
    pub(super) fn grad_wv(&self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(1, self.in_values()).every(value);
        let (b, c) =
            (Matrix::new(self.in_z(), 1).every(self.queries * d), Matrix::new(d, 1).every(value * d));
        Product::new((value, self.rows_of_head(), d), a, b, c).batch(self.heads)
    }

    /// ds (B, R, N) and x (B, N, D) to du (R, D), over all images.
    pub(super) fn grad_u(&self) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(n, Stride { outer: r * n, step: 1 });
        let b = Matrix::new(Stride { outer: n * d, step: d }, 1);
        Product::new((r, Axis { len: self.batch * n, inner: n }, d), a, b, Matrix::new(d, 1))
    }

    /// Weights (B, R, N), and rows (R, D) or so for each image, to dx (B, N, D).
    pub(super) fn grad_x(&self, rows: usize) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(1, n).every(r * n);
        let (b, c) = (Matrix::new(d, 1).every(rows), Matrix::new(d, 1).every(n * d));
        Product::new((n, r, d), a, b, c).batch(self.batch)
    }
}

impl CrossAttention {
    /// Areas for p, z, the values o, the weights after dropout and the parts of sums.
    pub(super) fn areas(&self, s: &Sizes, parts: impl Fn(&Product) -> usize) -> Areas<5> {
        let (weights, z) = (s.batch * s.rows() * s.inputs, s.batch * s.rows() * s.features);
        let masked = if self.dropout.is_some() { weights } else { 0 };
        let kept = if self.keep { [0, 0] } else { [weights, z] };
        Areas([kept[0], kept[1], s.batch * s.queries * s.heads * s.value, masked, parts(&s.to_sums())])
    }
}

impl CrossAttentionGrad {
    /// Whether anything is asked for that passes through the weights.
    pub(super) fn to_inputs(self) -> bool {
        self.wants[0] || self.wants[1]
    }

    /// Areas for the values o, do, dz, ds, the weights after dropout, the parts of sums, and dx before it is rounded to
    /// the 16 bits that operands may have.
    pub(super) fn areas(&self, s: &Sizes, of: DType, parts: impl Fn(&Product) -> usize) -> Areas<7> {
        let (weights, values) = (s.batch * s.rows() * s.inputs, s.batch * s.queries * s.heads * s.value);
        let weights = if self.to_inputs() { weights } else { 0 };
        let products =
            [(self.wants[1], s.grad_u()), (self.wants[2], s.grad_wv()), (self.wants[3], s.grad_wo())];
        let parts = products.iter().filter(|(wanted, _)| *wanted).map(|(_, product)| parts(product)).max();
        let o = if self.wants[3] { values } else { 0 };
        let dx = if self.wants[0] && of.is_half() { s.batch * s.inputs * s.features } else { 0 };
        Areas([o, values, s.batch * s.rows() * s.features, weights, weights, parts.unwrap_or(0), dx])
    }
}
