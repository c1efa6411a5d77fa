//! The pooling on CUDA: matrix products, and between them the kernels of `kernels/gated_attention/gated_attention.cu`.

use super::{GatedAttention, GatedAttentionGrad, Sizes};
use crate::{
    cuda::{
        Argument, Cx, GATE_F32, GATE_GRAD_F32, GATED_LOGIT_GRAD_F32, GATED_WEIGHT_GRAD_F32, Grid, In, Out,
    },
    device::{Meta, Op},
    error::{Error, Result},
    ops::cross_attention::cuda::{rounded_parts, softmax_rows},
};
use bytemuck::NoUninit;

/// Instances that a block of the kernels with a warp for each has.
const INSTANCES: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct GatedParams {
    instances: u32,
    of_bag: u32,
    features: u32,
    hidden: u32,
    runs: u32,
    rows_per_run: u32,
}

impl GatedParams {
    fn new(cx: &Cx, s: &Sizes) -> Result<Self> {
        let (rows_per_run, runs) = s.runs();
        Ok(GatedParams {
            instances: cx.u32(s.rows())?,
            of_bag: cx.u32(s.instances)?,
            features: cx.u32(s.features)?,
            hidden: cx.u32(s.hidden)?,
            runs: cx.u32(runs)?,
            rows_per_run: cx.u32(rows_per_run)?,
        })
    }
}

impl GatedAttention {
    /// Bytes for the hidden layer, unless it is kept, and the parts of sums.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[3]], &[&ins[5]]);
        s.map_or(0, |s| self.areas(&s, rounded_parts(self.precision)).bytes())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [h, v, bv, u, bu, w] = ins else {
            return Err(Error::argument(Self::NAME, "takes six operands"));
        };
        let s = Sizes::of(Self::NAME, &h.meta(), [&v.meta(), &u.meta()], &[&w.meta()])?;
        let [own_t, own_s, parts] = self.areas(&s, rounded_parts(self.precision)).arguments(cx);
        let (t, sigmoid) = if self.keep { ((&outs[2]).into(), (&outs[3]).into()) } else { (own_t, own_s) };
        let (y, a) = (Argument::from(&outs[0]), Argument::from(&outs[1]));
        let precision = self.precision.unwrap_or_default();
        let layer = s.layer().precision(precision);
        cx.product(&layer, [h.into(), v.into(), t])?;
        cx.product(&layer, [h.into(), u.into(), sigmoid])?;
        let pointers = [t, sigmoid, bv.into(), bu.into(), w.into(), a];
        cx.launch(GATE_F32, Grid::over(s.rows(), INSTANCES), &pointers, &GatedParams::new(cx, &s)?)?;
        softmax_rows(cx, a, s.batch, s.instances)?;
        cx.product_in_parts(&s.pool().precision(precision), [a, h.into(), y], Argument::NONE, parts)
    }
}

impl GatedAttentionGrad {
    /// Bytes for what lies between the gradients.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[2]], &[&ins[3]]);
        s.map_or(0, |s| self.areas(&s, rounded_parts(self.precision)).bytes())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [h, v, u, w, a, t, sigmoid, dy, da] = ins else {
            return Err(Error::argument(Self::NAME, "takes nine operands"));
        };
        let s = Sizes::of(Self::NAME, &h.meta(), [&v.meta(), &u.meta()], &[&w.meta()])?;
        let params = GatedParams::new(cx, &s)?;
        let [h, v, u, w, a, t, sigmoid, dy, da] = [h, v, u, w, a, t, sigmoid, dy, da].map(Argument::from);
        let mut outs = outs.iter().map(Argument::from);
        let [dh, dv, dbv, du, dbu, dw] = self.wants.map(|wanted| if wanted { outs.next() } else { None });
        let [dl, to_tanh, to_sigmoid, sums, parts] =
            self.areas(&s, rounded_parts(self.precision)).arguments(cx);
        let (_, runs) = s.runs();
        cx.launch(GATED_WEIGHT_GRAD_F32, Grid::over(s.rows(), INSTANCES), &[h, dy, da, dl], &params)?;
        cx.launch(GATED_LOGIT_GRAD_F32, Grid::blocks([s.batch, 1, 1]), &[a, dl], &params)?;
        let grid = Grid::blocks([runs, s.hidden.div_ceil(GATE_GRAD_F32.threads as usize), 1]);
        cx.launch(GATE_GRAD_F32, grid, &[t, sigmoid, w, dl, to_tanh, to_sigmoid, sums], &params)?;
        for (which, sum) in [dbv, dbu, dw].into_iter().enumerate() {
            if let Some(sum) = sum {
                cx.sum_parts(sums.after_words(which * runs * s.hidden), sum, runs, s.hidden)?;
            }
        }
        let precision = self.precision.unwrap_or_default();
        let to_matrix = s.to_matrix().precision(precision);
        for (matrix, gradient) in [(dv, to_tanh), (du, to_sigmoid)] {
            if let Some(matrix) = matrix {
                cx.product_in_parts(&to_matrix, [gradient, h, matrix], Argument::NONE, parts)?;
            }
        }
        if let Some(dh) = dh {
            let to_instances = s.to_instances().add().precision(precision);
            cx.product(&s.spread().precision(precision), [a, dy, dh])?;
            cx.product(&to_instances, [to_tanh, v, dh])?;
            cx.product(&to_instances, [to_sigmoid, u, dh])?;
        }
        Ok(())
    }
}
