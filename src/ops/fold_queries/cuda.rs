//! The fold on CUDA: one product for the projected queries, one for all heads for the rest.

use super::{FoldQueries, FoldQueriesGrad, Sizes};
use crate::{
    cuda::{Argument, Cx, In, Out},
    device::{Areas, Meta, Op},
    error::{Error, Result},
};
use smallvec::SmallVec;

fn sizes(fold: &FoldQueries, op: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: SmallVec<[Meta; 3]> = ins.iter().map(In::meta).collect();
    fold.sizes(op, &metas)
}

impl FoldQueries {
    /// Bytes for the projected queries.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        self.sizes(Self::NAME, ins).map_or(0, |s| Areas([s.projection()]).bytes())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let [q, wq, wk] = [0, 1, 2].map(|at| Argument::from(&ins[at]));
        let [p] = Areas([s.projection()]).arguments(cx);
        cx.product(&s.to_projection(), [q, wq, p])?;
        cx.product(&s.to_u(), [p, wk, (&outs[0]).into()])
    }
}

impl FoldQueriesGrad {
    /// Bytes for the projected queries and their gradient.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        self.fold.sizes(Self::NAME, &ins[1..]).map_or(0, |s| Areas([s.projection(); 2]).bytes())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(&self.fold, Self::NAME, &ins[1..])?;
        let ([du, q, wq, wk], [dq, dwq, dwk]) = (ins, outs) else {
            return Err(Error::argument(Self::NAME, "takes four operands and gives three gradients"));
        };
        let [p, dp] = Areas([s.projection(); 2]).arguments(cx);
        cx.product(&s.to_projection(), [q.into(), wq.into(), p])?;
        cx.product(&s.grad_projection(), [du.into(), wk.into(), dp])?;
        cx.product(&s.grad_wk(), [p, du.into(), dwk.into()])?;
        cx.product(&s.grad_q(), [dp, wq.into(), dq.into()])?;
        cx.product(&s.grad_wq(), [dp, q.into(), dwq.into()])
    }
}
