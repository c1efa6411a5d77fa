//! Launches of the pooling: matrix products, with the gate, the softmax and their gradients between them.

use super::{GatedAttention, GatedAttentionGrad, Sizes};
use crate::{
    device::{Meta, Op, Product},
    error::{Error, Result},
    ops::cross_attention::wgpu::{groups_of_rows, lanes, softmax_rows},
    wgpu::{Cx, In, Onto, Out, View, sum_parts},
};
use std::ops::Range;

mod gate {
    crate::wgpu_params! {
        pub(super) struct GateParams {
            t_first: u32, s_first: u32, bias_v_first: u32, bias_u_first: u32, w_first: u32, logits_first: u32, rows: u32,
            hidden: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gated_attention",
        texts: ["common/grid", "common/exp", "common/math", "common/lanes", "gated_attention/gate"],
        params: GateParams, tuning: [LANES],
        F32 = "gate_f32", tried with [[1], [32], [128]];
    }
}

mod bag_grad {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct BagGradParams {
            h_first: u32, dy_first: u32, da_first: u32, a_first: u32, dl_first: u32, rows: u32, instances: u32,
            features: u32, first_row: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gated_attention_grad", texts: ["common/grid", "common/lanes", "gated_attention/bag_grad"],
        params: BagGradParams, tuning: [LANES],
        WEIGHT = "weight_grad_f32", tried with [[1], [32], [128]];
        LOGIT = "logit_grad_f32", tried with [[1], [32], [128]];
    }
}

mod gate_grad {
    crate::wgpu_params! {
        pub(super) struct GateGradParams {
            t_first: u32, s_first: u32, w_first: u32, dl_first: u32, to_tanh_first: u32, to_sigmoid_first: u32,
            sums_first: u32, rows: u32, rows_per_run: u32, runs: u32, hidden: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gated_attention_grad", texts: ["common/grid", "gated_attention/gate_grad"],
        params: GateGradParams, tuning: [],
        F32 = "gate_grad_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

fn meta(view: &View) -> Meta {
    Meta::new(view.dims, view.dtype)
}

/// Rows of (rows, width).
fn of(run: &Range<usize>, width: usize) -> Range<usize> {
    run.start * width..run.end * width
}

impl GatedAttention {
    /// Bytes for the hidden layer, unless it is kept, and the parts of sums.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[3]], &[&ins[5]]);
        s.map_or(0, |s| self.areas(&s, Product::parts).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [h, v, bv, u, bu, w] = ins else {
            return Err(Error::argument(Self::NAME, "takes six operands"));
        };
        let s = Sizes::of(Self::NAME, &meta(h), [&meta(v), &meta(u)], &[&meta(w)])?;
        let [own_t, own_s, parts] = self.areas(&s, Product::parts).views(cx)?;
        let (t, sigmoid) = if self.keep { (outs[2], outs[3]) } else { (own_t, own_s) };
        let (y, a) = (&outs[0], &outs[1]);
        s.layer().run(cx, h, v, &t)?;
        s.layer().run(cx, h, u, &sigmoid)?;
        gate(cx, &s, [&t, &sigmoid], [bv, bu, w], a)?;
        softmax_rows(cx, a, s.batch, s.instances)?;
        s.pool().run_in_parts(cx, a, h, y, &parts)
    }
}

/// t, s (B·N, L), in place, and the logits (B·N).
fn gate(cx: &Cx, s: &Sizes, layers: [&View; 2], vectors: [&View; 3], logits: &View) -> Result<()> {
    let needs = |run: &Range<usize>| {
        let layer = of(run, s.hidden);
        [(*layers[0], layer.clone()), (*layers[1], layer), (*logits, run.clone())]
    };
    for run in cx.cut(s.rows(), needs)? {
        let [left, right, logits] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
        let [bias_v, bias_u, w] = vectors.map(|view| cx.bind(view));
        let slices = [left?, right?, bias_v?, bias_u?, w?, logits?];
        let params = gate::GateParams {
            t_first: slices[0].first,
            s_first: slices[1].first,
            bias_v_first: slices[2].first,
            bias_u_first: slices[3].first,
            w_first: slices[4].first,
            logits_first: slices[5].first,
            rows: run.len() as u32,
            hidden: s.hidden as u32,
        };
        let lanes = lanes(s.hidden);
        let groups = groups_of_rows(cx, run.len(), lanes)?;
        cx.launch(&gate::F32, &[lanes as u32], &params, &slices, groups)?;
    }
    Ok(())
}

impl GatedAttentionGrad {
    /// Bytes for what lies between the gradients.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let s = Sizes::of(Self::NAME, &ins[0], [&ins[1], &ins[2]], &[&ins[3]]);
        s.map_or(0, |s| self.areas(&s, Product::parts).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [h, v, u, w, a, t, sigmoid, dy, da] = ins else {
            return Err(Error::argument(Self::NAME, "takes nine operands"));
        };
        let s = Sizes::of(Self::NAME, &meta(h), [&meta(v), &meta(u)], &[&meta(w)])?;
        let mut outs = outs.iter();
        let [dh, dv, dbv, du, dbu, dw] = self.wants.map(|wanted| if wanted { outs.next() } else { None });
        let [dl, to_tanh, to_sigmoid, sums, parts] = self.areas(&s, Product::parts).views(cx)?;
        logits_gradient(cx, &s, [h, dy, da, a], &dl)?;
        gate_gradient(cx, &s, [t, sigmoid, w], [&dl, &to_tanh, &to_sigmoid, &sums])?;
        let runs = s.runs().1;
        for (which, sum) in [dbv, dbu, dw].into_iter().enumerate() {
            let own = runs * s.hidden;
            let start = sums.start + which * own;
            if let Some(sum) = sum {
                sum_parts(cx, &View { dims: [own].into(), start, ..sums }, sum, runs, Onto::Nothing)?;
            }
        }
        for (matrix, gradient) in [(dv, &to_tanh), (du, &to_sigmoid)] {
            if let Some(matrix) = matrix {
                s.to_matrix().run_in_parts(cx, gradient, h, matrix, &parts)?;
            }
        }
        if let Some(dh) = dh {
            s.spread().run(cx, a, dy, dh)?;
            s.to_instances().add().run(cx, &to_tanh, v, dh)?;
            s.to_instances().add().run(cx, &to_sigmoid, u, dh)?;
        }
        Ok(())
    }
}

/// h (B, N, D), dy (B, D), da (B, N), a (B, N) -> dl (B, N)
fn logits_gradient(cx: &Cx, s: &Sizes, [h, dy, da, a]: [&View; 4], dl: &View) -> Result<()> {
    let needs = |run: &Range<usize>| [(*h, of(run, s.features)), (*da, run.clone()), (*dl, run.clone())];
    for run in cx.cut(s.rows(), needs)? {
        let [h, da, dl] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
        let first = run.start / s.instances;
        let bags = first..run.end.div_ceil(s.instances);
        let slices = [h?, cx.bind_range(dy, of(&bags, s.features))?, da?, dl?];
        let params = bag_grad::BagGradParams {
            h_first: slices[0].first,
            dy_first: slices[1].first,
            da_first: slices[2].first,
            dl_first: slices[3].first,
            rows: run.len() as u32,
            instances: s.instances as u32,
            features: s.features as u32,
            first_row: (run.start - first * s.instances) as u32,
            ..Default::default()
        };
        let lanes = lanes(s.features);
        let groups = groups_of_rows(cx, run.len(), lanes)?;
        cx.launch(&bag_grad::WEIGHT, &[lanes as u32], &params, &slices, groups)?;
    }
    let needs = |run: &Range<usize>| [(*a, of(run, s.instances)), (*dl, of(run, s.instances))];
    for run in cx.cut(s.batch, needs)? {
        let [a, dl] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
        let slices = [a?, dl?];
        let params = bag_grad::BagGradParams {
            a_first: slices[0].first,
            dl_first: slices[1].first,
            rows: run.len() as u32,
            instances: s.instances as u32,
            ..Default::default()
        };
        let lanes = lanes(s.instances);
        let groups = groups_of_rows(cx, run.len(), lanes)?;
        cx.launch(&bag_grad::LOGIT, &[lanes as u32], &params, &slices, groups)?;
    }
    Ok(())
}

/// t, s (B·N, L), w (L), dl (B·N) -> the gradients before tanh and sigmoid (B·N, L) and the sums of runs (3, runs, L)
fn gate_gradient(cx: &Cx, s: &Sizes, [t, sigmoid, w]: [&View; 3], made: [&View; 4]) -> Result<()> {
    let (rows_per_run, runs) = s.runs();
    let instances = |some: &Range<usize>| some.start * rows_per_run..(some.end * rows_per_run).min(s.rows());
    let needs = |some: &Range<usize>| {
        let (rows, layer) = (instances(some), of(&instances(some), s.hidden));
        let layers = [t, sigmoid, made[1], made[2]].map(|view| (*view, layer.clone()));
        [layers[0].clone(), layers[1].clone(), (*made[0], rows), layers[2].clone(), layers[3].clone()]
    };
    for some in cx.cut(runs, needs)? {
        let [t, sigmoid, dl, to_tanh, to_sigmoid] =
            needs(&some).map(|(view, range)| cx.bind_range(&view, range));
        let slices = [t?, sigmoid?, cx.bind(w)?, dl?, to_tanh?, to_sigmoid?, cx.bind(made[3])?];
        let params = gate_grad::GateGradParams {
            t_first: slices[0].first,
            s_first: slices[1].first,
            w_first: slices[2].first,
            dl_first: slices[3].first,
            to_tanh_first: slices[4].first,
            to_sigmoid_first: slices[5].first,
            sums_first: slices[6].first + (some.start * s.hidden) as u32,
            rows: instances(&some).len() as u32,
            rows_per_run: rows_per_run as u32,
            runs: runs as u32,
            hidden: s.hidden as u32,
        };
        let groups = cx.groups(some.len() * s.hidden.div_ceil(gate_grad::THREADS))?;
        cx.launch(&gate_grad::F32, &[], &params, &slices, groups)?;
    }
    Ok(())
}
