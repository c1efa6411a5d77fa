//! Launches of the attention: matrix products, and a softmax between them. Images are independent up to `z`; what is
//! larger than a binding is cut between them.

use super::{CrossAttention, CrossAttentionGrad, Sizes, words_per_image};
use crate::{
    device::{Meta, Op, Product},
    error::{Error, Result},
    ops::{convert::wgpu::convert, dropout::Dropout},
    wgpu::{Cx, In, Out, View, element},
};
use smallvec::SmallVec;
use std::ops::Range;

mod softmax {
    crate::wgpu_params! {
        pub(super) struct SoftmaxRowsParams { p_first: u32, rows: u32, length: u32 }
    }
    crate::wgpu_kernel! {
        op: "cross_attention",
        texts: ["common/grid", "common/exp", "common/math", "common/lanes", "cross_attention/softmax"],
        params: SoftmaxRowsParams, tuning: [LANES],
        F32 = "softmax_rows_f32", tried with [[1], [32], [128]];
    }
}

mod scores {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct ScoresParams {
            p_first: u32, result_first: u32, images: u32, rows: u32, inputs: u32, key_0: u32, key_1: u32,
            first_low: u32, first_high: u32, threshold: u32, factor: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "cross_attention", texts: ["common/grid", "common/philox", "cross_attention/scores"],
        params: ScoresParams, tuning: [Element],
        SCORES = "attention_scores_f32", tried with [[0], [1]];
        MASK = "attention_mask_f32", tried with [[0]];
    }
    pub(super) const THREADS: usize = 64;
}

mod softmax_grad {
    crate::wgpu_params! {
        pub(super) struct SoftmaxGradParams {
            p_first: u32, ds_first: u32, dscores_first: u32, masked_first: u32, images: u32, rows: u32, inputs: u32,
            dropout: u32, key_0: u32, key_1: u32, first_low: u32, first_high: u32, threshold: u32, factor: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "cross_attention_grad",
        texts: ["common/grid", "common/philox", "common/lanes", "cross_attention/softmax_grad"],
        params: SoftmaxGradParams, tuning: [LANES, Element],
        F32 = "attention_softmax_grad_f32", tried with [[1, 0], [32, 1], [128, 0]];
    }
}

/// Threads of a workgroup of `common/lanes.wgsl`.
const THREADS: usize = 128;

/// Threads that share a row of this length: a power of two.
pub(in crate::ops) fn lanes(length: usize) -> usize {
    length.next_power_of_two().clamp(1, THREADS)
}

/// A grid for `rows` rows that so many lanes share each.
pub(in crate::ops) fn groups_of_rows(cx: &Cx, rows: usize, lanes: usize) -> Result<[u32; 3]> {
    cx.groups(rows.div_ceil(THREADS / lanes))
}

/// Softmax of `rows` rows of `length`, in place.
pub(in crate::ops) fn softmax_rows(cx: &Cx, p: &View, rows: usize, length: usize) -> Result<()> {
    let of = |run: &Range<usize>| run.start * length..run.end * length;
    for run in cx.cut(rows, |run| [(*p, of(run))])? {
        let slice = cx.bind_range(p, of(&run))?;
        let params = softmax::SoftmaxRowsParams {
            p_first: slice.first,
            rows: run.len() as u32,
            length: length as u32,
        };
        let lanes = lanes(length);
        let groups = groups_of_rows(cx, run.len(), lanes)?;
        cx.launch(&softmax::F32, &[lanes as u32], &params, &[slice], groups)?;
    }
    Ok(())
}

fn sizes(op: &CrossAttention, name: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: SmallVec<[Meta; 8]> = ins.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    op.sizes(name, &metas)
}

/// The words of image `b` on, in the form that kernels take them: key, counter, threshold and factor.
fn mask(dropout: &Dropout, s: &Sizes, b: usize) -> ([u32; 4], u32, f32) {
    let blocks = (words_per_image(s.rows(), s.inputs) / 4) as u64;
    let first = dropout.words.first.wrapping_add(blocks.wrapping_mul(b as u64));
    let words = [dropout.words.key[0], dropout.words.key[1], first as u32, (first >> 32) as u32];
    (words, dropout.threshold(), dropout.scale() as f32)
}

impl CrossAttention {
    /// Bytes for what no result keeps.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        self.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s, Product::parts).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let [own_p, own_z, o, masked, parts] = self.areas(&s, Product::parts).views(cx)?;
        let (p, z) = if self.keep { (outs[2], outs[3]) } else { (own_p, own_z) };
        let (x, u, wv, wo) = (&ins[0], &ins[1], &ins[2], &ins[3]);
        s.to_logits(0).run(cx, u, x, &p)?;
        softmax_rows(cx, &p, s.batch * s.rows(), s.inputs)?;
        after_softmax(cx, &s, None, &p, &outs[1])?;
        let weights = if self.dropout.is_some() { &masked } else { &p };
        if let Some(dropout) = &self.dropout {
            after_softmax(cx, &s, Some(dropout), &p, &masked)?;
        }
        s.to_sums().run_in_parts(cx, weights, x, &z, &parts)?;
        s.to_values().run(cx, &z, wv, &o)?;
        s.to_outputs().run(cx, &o, wo, &outs[0])
    }
}

/// The scores (B, N), or the weights (B, R, N) after a dropout.
fn after_softmax(cx: &Cx, s: &Sizes, dropout: Option<&Dropout>, p: &View, result: &View) -> Result<()> {
    let weights = s.rows() * s.inputs;
    let own = if dropout.is_some() { weights } else { s.inputs };
    let needs = |run: &Range<usize>| {
        [(*p, run.start * weights..run.end * weights), (*result, run.start * own..run.end * own)]
    };
    for run in cx.cut(s.batch, needs)? {
        let [p, to] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
        let slices = [p?, to?];
        let mut params = scores::ScoresParams {
            p_first: slices[0].first,
            result_first: slices[1].first,
            images: run.len() as u32,
            rows: s.rows() as u32,
            inputs: s.inputs as u32,
            ..Default::default()
        };
        let (kernel, items) = match dropout {
            None => (&scores::SCORES, s.inputs),
            Some(dropout) => {
                let ([key_0, key_1, first_low, first_high], threshold, factor) = mask(dropout, s, run.start);
                params =
                    scores::ScoresParams { key_0, key_1, first_low, first_high, threshold, factor, ..params };
                (&scores::MASK, weights.div_ceil(4))
            }
        };
        let groups = cx.groups((run.len() * items).div_ceil(scores::THREADS))?;
        cx.launch(kernel, &[element(result.dtype)], &params, &slices, groups)?;
    }
    Ok(())
}

impl CrossAttentionGrad {
    /// Bytes for what lies between the gradients.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let of = ins[0].dtype;
        self.attention.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s, of, Product::parts).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(&self.attention, Self::NAME, ins)?;
        let [x, u, wv, wo, p, z, dy, dscores] = ins else {
            return Err(Error::argument(Self::NAME, "takes eight operands"));
        };
        let mut outs = outs.iter();
        let [dx, du, dwv, dwo] = self.wants.map(|wanted| if wanted { outs.next() } else { None });
        let [o, d_o, dz, ds, masked, parts, wide] = self.areas(&s, x.dtype, Product::parts).views(cx)?;
        if let Some(dwo) = dwo {
            s.to_values().run(cx, z, wv, &o)?;
            s.grad_wo().run_in_parts(cx, dy, &o, dwo, &parts)?;
        }
        if !self.to_inputs() && dwv.is_none() {
            return Ok(());
        }
        s.grad_values().run(cx, dy, wo, &d_o)?;
        if let Some(dwv) = dwv {
            s.grad_wv().run_in_parts(cx, &d_o, z, dwv, &parts)?;
        }
        if !self.to_inputs() {
            return Ok(());
        }
        s.grad_z().run(cx, &d_o, wv, &dz)?;
        let image = s.rows() * s.features;
        s.to_logits(image).run(cx, &dz, x, &ds)?;
        self.softmax(cx, &s, [p, dscores, &ds, &masked])?;
        if let Some(du) = du {
            s.grad_u().run_in_parts(cx, &ds, x, du, &parts)?;
        }
        if let Some(dx) = dx {
            // A sum of two products, rounded once.
            let sum = if dx.dtype.is_half() { &View { dims: dx.dims, ..wide } } else { dx };
            s.grad_x(image).run(cx, &masked, &dz, sum)?;
            s.grad_x(0).add().run(cx, &ds, u, sum)?;
            if dx.dtype.is_half() {
                convert(cx, sum, dx)?;
            }
        }
        Ok(())
    }

    /// p (B, R, N), dscores (B, N) -> ds (B, R, N), in place, and the weights after dropout (B, R, N).
    fn softmax(&self, cx: &Cx, s: &Sizes, views: [&View; 4]) -> Result<()> {
        let weights = s.rows() * s.inputs;
        let needs = |run: &Range<usize>| {
            let of = |at: usize, image: usize| (*views[at], run.start * image..run.end * image);
            [of(0, weights), of(1, s.inputs), of(2, weights), of(3, weights)]
        };
        for run in cx.cut(s.batch, needs)? {
            let [p, dscores, ds, masked] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [p?, dscores?, ds?, masked?];
            let dropout = self.attention.dropout;
            let ([key_0, key_1, first_low, first_high], threshold, factor) =
                dropout.map_or(([0; 4], 0, 1.0), |dropout| mask(&dropout, s, run.start));
            let params = softmax_grad::SoftmaxGradParams {
                p_first: slices[0].first,
                ds_first: slices[2].first,
                dscores_first: slices[1].first,
                masked_first: slices[3].first,
                images: run.len() as u32,
                rows: s.rows() as u32,
                inputs: s.inputs as u32,
                dropout: dropout.is_some().into(),
                key_0,
                key_1,
                first_low,
                first_high,
                threshold,
                factor,
            };
            let lanes = lanes(s.inputs);
            let groups = groups_of_rows(cx, run.len() * s.rows(), lanes)?;
            let tuning = [lanes as u32, element(views[1].dtype)];
            cx.launch(&softmax_grad::F32, &tuning, &params, &slices, groups)?;
        }
        Ok(())
    }
}
