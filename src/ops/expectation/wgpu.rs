//! The estimated expectation and its gradients through wgpu.

use super::{Estimator, Expectation, ExpectationGradAttention, ExpectationGradFeatures};
use crate::{
    device::Meta,
    error::Result,
    wgpu::{Cx, In, Kernel, Out, View},
};

const THREADS: usize = 64;

mod kernels {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct ExpectationParams {
            attention_first: u32, features_first: u32, dy_first: u32, y_first: u32, batch: u32, samples: u32,
            size: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "expectation", texts: ["common/grid", "expectation/expectation"], params: ExpectationParams,
        tuning: [REPLACE, UNBIASED],
        FORWARD = "expectation_f32", tried with [[0, 0], [1, 0]];
        GRAD_FEATURES = "expectation_grad_features_f32", tried with [[0, 0], [1, 0]];
        GRAD_ATTENTION = "expectation_grad_attention_f32", tried with [[0, 0], [0, 1], [1, 0]];
    }
}
use kernels::ExpectationParams;

/// Parameters from the shape (B, K, D).
fn sizes(dims: &[usize]) -> ExpectationParams {
    let [batch, samples, size] = [dims[0], dims[1], dims[2]].map(|size| size as u32);
    ExpectationParams { batch, samples, size, ..Default::default() }
}

/// Launches a thread for each of `count` elements.
fn per_element(
    cx: &Cx,
    kernel: &Kernel<ExpectationParams>,
    replace: bool,
    (params, slices): (ExpectationParams, [crate::wgpu::Slice; 3]),
    count: usize,
) -> Result<()> {
    cx.launch(kernel, &[replace.into(), 0], &params, &slices, cx.groups(count.div_ceil(THREADS))?)
}

impl Expectation {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let slices = [cx.bind(&ins[0])?, cx.bind(&ins[1])?, cx.bind(&outs[0])?];
        let params = ExpectationParams {
            attention_first: slices[0].first,
            features_first: slices[1].first,
            y_first: slices[2].first,
            ..sizes(&ins[1].dims)
        };
        per_element(cx, &kernels::FORWARD, self.replace, (params, slices), outs[0].dims.elements())
    }
}

impl ExpectationGradFeatures {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let slices = [cx.bind(&ins[0])?, cx.bind(&ins[1])?, cx.bind(&outs[0])?];
        let params = ExpectationParams {
            attention_first: slices[0].first,
            dy_first: slices[1].first,
            y_first: slices[2].first,
            ..sizes(&outs[0].dims)
        };
        per_element(cx, &kernels::GRAD_FEATURES, self.replace, (params, slices), outs[0].dims.elements())
    }
}

impl ExpectationGradAttention {
    /// Bytes for p, h and r of each draw.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        ins[0].dims.elements() * 12
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        if outs[0].dims.elements() == 0 {
            return Ok(());
        }
        let scratch = View { dims: ins[0].dims.join(&[3])?, ..cx.scratch()? };
        let slices =
            [cx.bind(&ins[0])?, cx.bind(&ins[1])?, cx.bind(&ins[2])?, cx.bind(&outs[0])?, cx.bind(&scratch)?];
        let params = ExpectationParams {
            attention_first: slices[0].first,
            features_first: slices[1].first,
            dy_first: slices[2].first,
            y_first: slices[3].first,
            ..sizes(&ins[1].dims)
        };
        let tuning = [self.replace.into(), (self.estimator == Estimator::Unbiased).into()];
        cx.launch(&kernels::GRAD_ATTENTION, &tuning, &params, &slices, cx.groups(ins[1].dims[0])?)
    }
}
