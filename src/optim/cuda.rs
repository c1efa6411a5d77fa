//! Optimiser steps and clipping on CUDA: `kernels/optim/optim.cu`.

use super::{adam::AdamStep, clip::ClipValues, sgd::SgdStep};
use crate::{
    cuda::{ADAM_STEP_F32, CLIP_VALUES_F32, Cx, Grid, In, Out, SGD_STEP_F32},
    error::Result,
};
use bytemuck::NoUninit;

/// Tensors of one launch.
const ADAM_TENSORS: usize = 64;

/// The parameter block with the addresses of gradients, parameters and moments in it, whose number no launch knows.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct AdamStepParams {
    gradient: [u64; ADAM_TENSORS],
    parameter: [u64; ADAM_TENSORS],
    moment: [u64; ADAM_TENSORS],
    square: [u64; ADAM_TENSORS],
    count: [u64; ADAM_TENSORS],
    first_block: [u32; ADAM_TENSORS],
    tensors: u32,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32,
    rest_2: f32,
    shrink: f32,
    decay: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct SgdStepParams {
    count: u64,
    decay: f32,
    momentum: f32,
    rate: f32,
    padding: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ClipValuesParams {
    count: u64,
    most: f32,
    padding: u32,
}

impl AdamStep {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let c = self.constants::<f32>();
        let mut params = AdamStepParams {
            gradient: [0; ADAM_TENSORS],
            parameter: [0; ADAM_TENSORS],
            moment: [0; ADAM_TENSORS],
            square: [0; ADAM_TENSORS],
            count: [0; ADAM_TENSORS],
            first_block: [0; ADAM_TENSORS],
            tensors: 0,
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
        for (gradients, states) in ins.chunks(ADAM_TENSORS).zip(outs.chunks(3 * ADAM_TENSORS)) {
            let mut blocks = 0;
            for (at, (gradient, state)) in gradients.iter().zip(states.chunks(3)).enumerate() {
                let count = gradient.dims.elements();
                params.gradient[at] = gradient.pointer;
                params.parameter[at] = state[0].pointer;
                params.moment[at] = state[1].pointer;
                params.square[at] = state[2].pointer;
                params.count[at] = count as u64;
                params.first_block[at] = cx.u32(blocks)?;
                blocks += Grid::blocks_of(count);
            }
            params.tensors = gradients.len() as u32;
            cx.launch(ADAM_STEP_F32, Grid::blocks([blocks, 1, 1]), &[], &params)?;
        }
        Ok(())
    }
}

impl SgdStep {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let count = ins[0].dims.elements();
        let params = SgdStepParams {
            count: count as u64,
            decay: self.weight_decay as f32,
            momentum: self.momentum as f32,
            rate: self.learning_rate as f32,
            padding: 0,
        };
        let pointers = [(&ins[0]).into(), (&outs[0]).into(), (&outs[1]).into()];
        cx.launch(SGD_STEP_F32, Grid::elements(count), &pointers, &params)
    }
}

impl ClipValues {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let count = ins[0].dims.elements();
        let params = ClipValuesParams { count: count as u64, most: self.most, padding: 0 };
        cx.launch(CLIP_VALUES_F32, Grid::elements(count), &[(&ins[0]).into(), (&outs[0]).into()], &params)
    }
}
