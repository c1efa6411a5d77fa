//! Optimiser steps through wgpu. Parameters larger than a binding are cut into runs.

use super::{adam::AdamStep, clip::ClipValues, sgd::SgdStep};
use crate::{
    error::Result,
    wgpu::{Cx, In, Kernel, Out, Params, Slice},
};

const THREADS: usize = 128;

mod adam {
    crate::wgpu_params! {
        pub(super) struct AdamStepParams {
            gradient_first: u32, parameter_first: u32, moment_first: u32, square_first: u32, count: u32, beta_1: f32,
            beta_2: f32, rest_1: f32, rest_2: f32, shrink: f32, decay: f32, rate: f32, root: f32, eps: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "adam_step", texts: ["common/grid", "optim/adam_step"], params: AdamStepParams, tuning: [],
        F32 = "adam_step_f32", tried with [[]];
    }
}

mod sgd {
    crate::wgpu_params! {
        pub(super) struct SgdStepParams {
            gradient_first: u32, parameter_first: u32, buffer_first: u32, count: u32, decay: f32, momentum: f32,
            rate: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "sgd_step", texts: ["common/grid", "optim/sgd_step"], params: SgdStepParams, tuning: [],
        F32 = "sgd_step_f32", tried with [[]];
    }
}

mod clip {
    crate::wgpu_params! {
        pub(super) struct ClipValuesParams { x_first: u32, y_first: u32, count: u32, most: f32 }
    }
    crate::wgpu_kernel! {
        op: "clip_values", texts: ["common/grid", "optim/clip_values"], params: ClipValuesParams, tuning: [],
        F32 = "clip_values_f32", tried with [[]];
    }
}

/// Launches a kernel over tensors of one shape, for each run of elements that fits in a binding.
fn launch<P: Params, const N: usize>(
    cx: &Cx,
    kernel: &Kernel<P>,
    tensors: [&In; N],
    params: impl Fn(&[Slice; N], u32) -> P,
) -> Result<()> {
    cx.each_run(tensors, 1, |count, slices| {
        let groups = cx.groups(count.div_ceil(THREADS))?;
        cx.launch(kernel, &[], &params(&slices, count as u32), &slices, groups)
    })
}

impl AdamStep {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let c = self.constants::<f32>();
        let params = |slices: &[Slice; 4], count| adam::AdamStepParams {
            gradient_first: slices[0].first,
            parameter_first: slices[1].first,
            moment_first: slices[2].first,
            square_first: slices[3].first,
            count,
            beta_1: c.beta[0],
            beta_2: c.beta[1],
            rest_1: c.rest[0],
            rest_2: c.rest[1],
            shrink: c.shrink,
            decay: c.decay,
            rate: c.rate,
            root: c.root,
            eps: c.eps,
        };
        ins.iter().zip(outs.chunks(3)).try_for_each(|(gradient, state)| {
            launch(cx, &adam::F32, [gradient, &state[0], &state[1], &state[2]], params)
        })
    }
}

impl SgdStep {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &sgd::F32, [&ins[0], &outs[0], &outs[1]], |slices, count| sgd::SgdStepParams {
            gradient_first: slices[0].first,
            parameter_first: slices[1].first,
            buffer_first: slices[2].first,
            count,
            decay: self.weight_decay as f32,
            momentum: self.momentum as f32,
            rate: self.learning_rate as f32,
        })
    }
}

impl ClipValues {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &clip::F32, [&ins[0], &outs[0]], |slices, count| clip::ClipValuesParams {
            x_first: slices[0].first,
            y_first: slices[1].first,
            count,
            most: self.most,
        })
    }
}
