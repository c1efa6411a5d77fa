//! Launches of the attention: matrix products, and a softmax between them. Images are independent up to `z`; what is
//! larger than a binding is cut between them.

use super::{CrossAttention, CrossAttentionGrad, Sizes, words_per_image};
use crate::{
    DType,
    device::{Meta, Op},
    error::{Error, Result},
    ops::{convert::wgpu::convert, dropout::Dropout},
    wgpu::{Areas, Axis, Cx, In, Matrix, Out, Product, Stride, View, element},
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

// The products, from which results follow by their shapes: (m, k, n), then where a (m, k), b (k, n) and c (m, n) lie.
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
    fn to_logits(self, u: usize) -> Product {
        let (n, d) = (self.inputs, self.features);
        let a = Matrix::new(d, 1).every(u);
        let (b, c) = (Matrix::new(1, d).every(n * d), Matrix::new(n, 1).every(self.rows() * n));
        Product::new((self.rows(), d, n), a, b, c).batch(self.batch)
    }

    /// p (B, R, N) and x (B, N, D) to z (B, R, D).
    fn to_sums(self) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(n, 1).every(r * n);
        let (b, c) = (Matrix::new(d, 1).every(n * d), Matrix::new(d, 1).every(r * d));
        Product::new((r, n, d), a, b, c).batch(self.batch)
    }

    /// z (B, R, D) and wv (H·dv, D) to o (B·T, H·dv), head by head.
    fn to_values(self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(self.in_z(), 1).every(self.queries * d);
        let (b, c) = (Matrix::new(1, d).every(value * d), Matrix::new(self.in_values(), 1).every(value));
        Product::new((self.rows_of_head(), d, value), a, b, c).batch(self.heads)
    }

    /// o (B·T, H·dv) and wo (O, H·dv) to y (B·T, O).
    fn to_outputs(self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (self.batch * self.queries, values, outputs);
        Product::new(shape, Matrix::new(values, 1), Matrix::new(1, values), Matrix::new(outputs, 1))
    }

    /// dy (B·T, O) and wo (O, H·dv) to do (B·T, H·dv).
    fn grad_values(&self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (self.batch * self.queries, outputs, values);
        Product::new(shape, Matrix::new(outputs, 1), Matrix::new(values, 1), Matrix::new(values, 1))
    }

    /// dy (B·T, O) and o (B·T, H·dv) to dwo (O, H·dv).
    fn grad_wo(&self) -> Product {
        let (values, outputs) = (self.heads * self.value, self.outputs);
        let shape = (outputs, self.batch * self.queries, values);
        Product::new(shape, Matrix::new(1, outputs), Matrix::new(values, 1), Matrix::new(values, 1))
    }

    /// do (B·T, H·dv) and wv (H·dv, D) to dz (B, R, D), head by head.
    fn grad_z(&self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(self.in_values(), 1).every(value);
        let (b, c) =
            (Matrix::new(d, 1).every(value * d), Matrix::new(self.in_z(), 1).every(self.queries * d));
        Product::new((self.rows_of_head(), value, d), a, b, c).batch(self.heads)
    }

    /// do (B·T, H·dv) and z (B, R, D) to dwv (H·dv, D), head by head.
    fn grad_wv(&self) -> Product {
        let (d, value) = (self.features, self.value);
        let a = Matrix::new(1, self.in_values()).every(value);
        let (b, c) =
            (Matrix::new(self.in_z(), 1).every(self.queries * d), Matrix::new(d, 1).every(value * d));
        Product::new((value, self.rows_of_head(), d), a, b, c).batch(self.heads)
    }

    /// ds (B, R, N) and x (B, N, D) to du (R, D), over all images.
    fn grad_u(&self) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(n, Stride { outer: r * n, step: 1 });
        let b = Matrix::new(Stride { outer: n * d, step: d }, 1);
        Product::new((r, Axis { len: self.batch * n, inner: n }, d), a, b, Matrix::new(d, 1))
    }

    /// Weights (B, R, N), and rows (R, D) or so for each image, to dx (B, N, D).
    fn grad_x(&self, rows: usize) -> Product {
        let (r, n, d) = (self.rows(), self.inputs, self.features);
        let a = Matrix::new(1, n).every(r * n);
        let (b, c) = (Matrix::new(d, 1).every(rows), Matrix::new(d, 1).every(n * d));
        Product::new((n, r, d), a, b, c).batch(self.batch)
    }
}

impl CrossAttention {
    /// Areas for p, z, the values o, the weights after dropout and the parts of sums.
    fn areas(&self, s: &Sizes) -> Areas<5> {
        let (weights, z) = (s.batch * s.rows() * s.inputs, s.batch * s.rows() * s.features);
        let masked = if self.dropout.is_some() { weights } else { 0 };
        let kept = if self.keep { [0, 0] } else { [weights, z] };
        Areas([kept[0], kept[1], s.batch * s.queries * s.heads * s.value, masked, s.to_sums().parts()])
    }

    /// Bytes for what no result keeps.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        self.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let [own_p, own_z, o, masked, parts] = self.areas(&s).views(cx)?;
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
    fn to_inputs(self) -> bool {
        self.wants[0] || self.wants[1]
    }

    /// Areas for the values o, do, dz, ds, the weights after dropout, the parts of sums, and dx before it is rounded.
    fn areas(&self, s: &Sizes, of: DType) -> Areas<7> {
        let (weights, values) = (s.batch * s.rows() * s.inputs, s.batch * s.queries * s.heads * s.value);
        let weights = if self.to_inputs() { weights } else { 0 };
        let products =
            [(self.wants[1], s.grad_u()), (self.wants[2], s.grad_wv()), (self.wants[3], s.grad_wo())];
        let parts = products.iter().filter(|(wanted, _)| *wanted).map(|(_, product)| product.parts()).max();
        let o = if self.wants[3] { values } else { 0 };
        let dx = if self.wants[0] && of.is_half() { s.batch * s.inputs * s.features } else { 0 };
        Areas([o, values, s.batch * s.rows() * s.features, weights, weights, parts.unwrap_or(0), dx])
    }

    /// Bytes for what lies between the gradients.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        self.attention.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s, ins[0].dtype).bytes())
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(&self.attention, Self::NAME, ins)?;
        let [x, u, wv, wo, p, z, dy, dscores] = ins else {
            return Err(Error::argument(Self::NAME, "takes eight operands"));
        };
        let mut outs = outs.iter();
        let [dx, du, dwv, dwo] = self.wants.map(|wanted| if wanted { outs.next() } else { None });
        let [o, d_o, dz, ds, masked, parts, wide] = self.areas(&s, x.dtype).views(cx)?;
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
