//! Launches of the estimated expectation. Rows are independent; work larger than a binding is cut between them.

use super::{Estimator, Expectation, ExpectationGradAttention, ExpectationGradFeatures};
use crate::{
    device::{Areas, Meta},
    error::Result,
    wgpu::{Cx, In, Kernel, Out, View},
};
use std::ops::Range;

crate::wgpu_params! {
    struct ExpectationParams {
        attention_first: u32, given_first: u32, result_first: u32, rows: u32, samples: u32, width: u32, replace: u32,
    }
}

mod expectation {
    crate::wgpu_kernel! {
        op: "expectation", texts: ["common/grid", "expectation/expectation"], params: super::ExpectationParams, tuning: [],
        F32 = "expectation_f32", tried with [[]];
        GRAD_FEATURES = "expectation_grad_features_f32", tried with [[]];
    }
}

mod products {
    crate::wgpu_params! {
        pub(super) struct ExpectationProductsParams {
            features_first: u32, dy_first: u32, p_first: u32, rows: u32, samples: u32, width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "expectation_grad_attention", texts: ["common/grid", "common/lanes", "expectation/products"],
        params: ExpectationProductsParams, tuning: [LANES],
        F32 = "expectation_products_f32", tried with [[1], [32], [128]];
    }
    pub(super) const THREADS: usize = 128;
}

mod grad_attention {
    crate::wgpu_params! {
        pub(super) struct ExpectationGradParams {
            attention_first: u32, p_first: u32, later_first: u32, da_first: u32, rows: u32, samples: u32, kind: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "expectation_grad_attention", texts: ["common/grid", "expectation/grad_attention"],
        params: ExpectationGradParams, tuning: [],
        F32 = "expectation_grad_attention_f32", tried with [[]];
    }
}

const THREADS: usize = 64;

/// Rows of (rows, width).
fn of(run: &Range<usize>, width: usize) -> Range<usize> {
    run.start * width..run.end * width
}

/// attention (B, K) and what is given for each row, to results for each row. sizes: K, D.
fn launch(
    cx: &Cx,
    kernel: &Kernel<ExpectationParams>,
    replace: bool,
    [samples, width]: [usize; 2],
    [attention, given, result]: [&View; 3],
) -> Result<()> {
    let row = |view: &View| view.dims[1..].iter().product::<usize>();
    let needs = |run: &Range<usize>| [attention, given, result].map(|view| (*view, of(run, row(view))));
    for run in cx.cut(attention.dims[0], needs)? {
        let [attention, given, result] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
        let slices = [attention?, given?, result?];
        let params = ExpectationParams {
            attention_first: slices[0].first,
            given_first: slices[1].first,
            result_first: slices[2].first,
            rows: run.len() as u32,
            samples: samples as u32,
            width: width as u32,
            replace: replace.into(),
        };
        let groups = cx.groups((run.len() * width).div_ceil(THREADS))?;
        cx.launch(kernel, &[], &params, &slices, groups)?;
    }
    Ok(())
}

impl Expectation {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = [ins[1].dims[1], ins[1].dims[2]];
        launch(cx, &expectation::F32, self.replace, sizes, [&ins[0], &ins[1], &outs[0]])
    }
}

impl ExpectationGradFeatures {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = [ins[0].dims[1], ins[1].dims[1]];
        launch(cx, &expectation::GRAD_FEATURES, self.replace, sizes, [&ins[0], &ins[1], &outs[0]])
    }
}

impl ExpectationGradAttention {
    /// Bytes for the products with dy, and what the later samples of a row add to the earlier ones.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        Areas([ins[0].dims.elements(); 2]).bytes()
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (attention, features, dy, da) = (&ins[0], &ins[1], &ins[2], &outs[0]);
        let [b, k, d] = [0, 1, 2].map(|axis| features.dims[axis]);
        let [p, later] = Areas([b * k; 2]).views(cx)?;
        let needs = |run: &Range<usize>| [(*features, of(run, k * d)), (*dy, of(run, d)), (p, of(run, k))];
        for run in cx.cut(b, needs)? {
            let [features, dy, p] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [features?, dy?, p?];
            let params = products::ExpectationProductsParams {
                features_first: slices[0].first,
                dy_first: slices[1].first,
                p_first: slices[2].first,
                rows: run.len() as u32,
                samples: k as u32,
                width: d as u32,
            };
            let lanes = d.next_power_of_two().min(products::THREADS);
            let groups = cx.groups((run.len() * k).div_ceil(products::THREADS / lanes))?;
            cx.launch(&products::F32, &[lanes as u32], &params, &slices, groups)?;
        }
        self.rows(cx, [attention, &p, &later, da])
    }

    /// attention, p, later, da: (B, K)
    fn rows(&self, cx: &Cx, views: [&View; 4]) -> Result<()> {
        let [b, k] = [views[0].dims[0], views[0].dims[1]];
        let needs = |run: &Range<usize>| views.map(|view| (*view, of(run, k)));
        for run in cx.cut(b, needs)? {
            let [attention, p, later, da] = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let slices = [attention?, p?, later?, da?];
            let params = grad_attention::ExpectationGradParams {
                attention_first: slices[0].first,
                p_first: slices[1].first,
                later_first: slices[2].first,
                da_first: slices[3].first,
                rows: run.len() as u32,
                samples: k as u32,
                kind: match (self.replace, self.estimator) {
                    (true, _) => 0,
                    (false, Estimator::Official) => 1,
                    (false, Estimator::Unbiased) => 2,
                },
            };
            let groups = cx.groups(run.len().div_ceil(THREADS))?;
            cx.launch(&grad_attention::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}
