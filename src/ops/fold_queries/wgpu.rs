//! Launches of the fold: one product for the projected queries, one for all heads for the rest. In backward, projections
//! larger than a binding are an error: the gradient of the queries adds up over all of their rows.

use super::{FoldQueries, FoldQueriesGrad, Sizes};
use crate::{
    device::{Areas, Meta, Op},
    error::{Error, Result},
    wgpu::{Cx, In, Out},
};
use smallvec::SmallVec;

fn sizes(fold: &FoldQueries, op: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: SmallVec<[Meta; 3]> = ins.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    fold.sizes(op, &metas)
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
        s.to_u().run(cx, &p, &ins[2], &outs[0])
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
        s.to_projection().run(cx, q, wq, &p)?;
        s.grad_projection().run(cx, du, wk, &dp)?;
        s.grad_wk().run(cx, &p, du, dwk)?;
        s.grad_q().run(cx, &dp, wq, dq)?;
        s.grad_wq().run(cx, &dp, q, dwq)
    }
}
