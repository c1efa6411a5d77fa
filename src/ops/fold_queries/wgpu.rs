//! Launches of the fold: one product for the projected queries, one for all heads for the rest. In backward, projections
//! larger than a binding are an error: the gradient of the queries adds up over all of their rows.

use super::{FoldQueries, FoldQueriesGrad, Sizes};
use crate::{
    device::{Meta, Op},
    error::{Error, Result},
    wgpu::{Areas, Cx, In, Matrix, Out, Product},
};
use smallvec::SmallVec;

fn sizes(fold: &FoldQueries, op: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: SmallVec<[Meta; 3]> = ins.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    fold.sizes(op, &metas)
}

impl Sizes {
    /// Elements of the projected queries (T, H·dk).
    fn projection(&self) -> usize {
        self.queries * self.heads * self.key
    }

    /// q (T, D) and wq (H·dk, D) to the projected queries (T, H·dk), scaled.
    fn to_projection(self) -> Product {
        let (rows, d) = (self.heads * self.key, self.features);
        let product =
            Product::new((self.queries, d, rows), Matrix::new(d, 1), Matrix::new(1, d), Matrix::new(rows, 1));
        product.scale(self.scale() as f32)
    }

    /// Where the rows t and columns j of one head lie in (T, H·dk).
    fn in_projection(&self) -> Matrix {
        Matrix::new(self.heads * self.key, 1).every(self.key)
    }

    /// Where the rows t and columns i of one head lie in u (H·T, D).
    fn in_u(&self) -> Matrix {
        Matrix::new(self.features, 1).every(self.queries * self.features)
    }

    /// Elements of one head's projection.
    fn head(&self) -> usize {
        self.key * self.features
    }
}

impl FoldQueries {
    /// Bytes for the projected queries.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        self.sizes(Self::NAME, ins).map_or(0, |s| Areas([s.projection()]).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let [p] = Areas([s.projection()]).views(cx)?;
        s.to_projection().run(cx, &ins[0], &ins[1], &p)?;
        let (shape, wk) = ((s.queries, s.key, s.features), Matrix::new(s.features, 1).every(s.head()));
        Product::new(shape, s.in_projection(), wk, s.in_u()).batch(s.heads).run(cx, &p, &ins[2], &outs[0])
    }
}

impl FoldQueriesGrad {
    /// Bytes for the projected queries and their gradient.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        self.fold.sizes(Self::NAME, &ins[1..]).map_or(0, |s| Areas([s.projection(); 2]).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(&self.fold, Self::NAME, &ins[1..])?;
        let ([du, q, wq, wk], [dq, dwq, dwk]) = (ins, outs) else {
            return Err(Error::argument(Self::NAME, "takes four operands and gives three gradients"));
        };
        let [p, dp] = Areas([s.projection(); 2]).views(cx)?;
        let (rows, d, t) = (s.heads * s.key, s.features, s.queries);
        s.to_projection().run(cx, q, wq, &p)?;
        // dp_h (T, dk) = du_h (T, D) · wk_hᵀ
        let wk_transposed = Matrix::new(1, d).every(s.head());
        let of_p = Product::new((t, d, s.key), s.in_u(), wk_transposed, s.in_projection());
        of_p.scale(s.scale() as f32).batch(s.heads).run(cx, du, wk, &dp)?;
        // dwk_h (dk, D) = p_hᵀ · du_h
        let p_transposed = Matrix::new(1, rows).every(s.key);
        let of_wk = Product::new((s.key, t, d), p_transposed, s.in_u(), Matrix::new(d, 1).every(s.head()));
        of_wk.batch(s.heads).run(cx, &p, du, dwk)?;
        // dq (T, D) = dp · wq, dwq (H·dk, D) = dpᵀ · q
        let plain = |columns: usize| Matrix::new(columns, 1);
        Product::new((t, rows, d), plain(rows), plain(d), plain(d)).run(cx, &dp, wq, dq)?;
        Product::new((rows, t, d), Matrix::new(1, rows), plain(d), plain(d)).run(cx, &dp, q, dwq)
    }
}
