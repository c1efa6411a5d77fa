//! Convolution and its gradients on the CPU.
//!
//! Planar tensors go in and come out; inside, the lanes of a vector are channels, so that no image width wastes any.
//! [`direct`] serves every geometry, [`winograd`] the 3×3 convolutions with stride 1 that [`Algorithm::Auto`] gives it,
//! [`depthwise`] those with a kernel per channel. [`gather`] is what forward and grad-input share, [`tile`] the inner loop of
//! both algorithms, [`correlate`] that of grad-weight.
//!
//! The ladder: 100 images, 64 to 64 channels, 3×3, 13×13 pixels, one thread of a Xeon (Sapphire Rapids) with AVX-512.

mod correlate;
mod depthwise;
mod direct;
pub(crate) mod forms;
pub(crate) mod gather;
mod grad_weight;
mod layout;
pub(crate) mod tile;
mod units;
pub(crate) mod weights;
pub(crate) mod winograd;
mod winograd_grad;
pub(crate) mod winograd_tiles;

use super::{Algorithm, Conv2d, Conv2dGradInput, Conv2dGradWeight, Shape, algorithm::winograd_applies};
use crate::{
    DeviceKind,
    cpu::{
        In, Out,
        simd::{Level, level},
    },
    error::Result,
};
use gather::Gather;
use winograd::Size;

/// Channels on either side, and rows and columns, from which Winograd's algorithm is both faster and accurate enough.
const CHANNELS: usize = 16;
const PIXELS: usize = 4;

fn sizes(dims: &[usize]) -> [usize; 4] {
    [0, 1, 2, 3].map(|axis| dims.get(axis).copied().unwrap_or(1))
}

/// The Winograd form to use, if any. It depends neither on the batch nor on the number of threads, nor do results.
pub(crate) fn form(algorithm: Algorithm, s: &Shape) -> Option<Size> {
    let [image, output] = [s.image, s.output].map(|[h, w]| h.min(w));
    match algorithm {
        Algorithm::Direct
        | Algorithm::Naive
        | Algorithm::Pipelined(_)
        | Algorithm::Tiled
        | Algorithm::Blocked
        | Algorithm::Registers => None,
        Algorithm::Winograd2 => Some(Size::Two),
        Algorithm::Winograd4 => Some(Size::Four),
        Algorithm::Auto => {
            let worth = s.channels.min(s.out) >= CHANNELS && image.min(output) >= PIXELS;
            (worth && winograd_applies(s)).then_some(Size::Four)
        }
    }
}

fn depthwise(s: &Shape) -> bool {
    s.groups > 1 && s.groups == s.channels && s.groups == s.out
}

/// Forward and grad-input: what `gather` says, from `source` to `target`.
#[allow(clippy::too_many_arguments)]
fn run(
    level: Level,
    form: Option<Size>,
    gather: &Gather,
    source: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    target: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    if gather.groups > 1 && gather.channels == 1 && gather.out == 1 {
        return depthwise::run(level, gather, source, weight, bias, target, op);
    }
    if let Some(size) = form {
        let filters = winograd::Filters::new(level, size, gather, weight, bias, op)?;
        return winograd::run(level, gather, source, &filters, target, op);
    }
    let packed = weights::Packed::new(level, gather, 1, weight, bias, op)?;
    direct::run(level, gather, source, &packed, target, op)
}

impl Conv2d {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let op = "conv2d";
        self.check_device(op, DeviceKind::Cpu)?;
        let s = self.shape(op, sizes(&ins[0].dims), sizes(&ins[1].dims))?;
        let bias = ins.get(2).map(|bias| bias.f32()).transpose()?;
        let (x, weight, form) = (ins[0].f32()?, ins[1].f32()?, form(self.algorithm, &s));
        run(level(), form, &Gather::forward(&s), x, weight, bias, outs[0].f32()?, op)
    }
}

impl Conv2dGradInput {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let op = "conv2d_grad_input";
        self.conv.check_device(op, DeviceKind::Cpu)?;
        let s = self.conv.shape(op, sizes(&outs[0].dims), sizes(&ins[1].dims))?;
        let (dy, weight, form) = (ins[0].f32()?, ins[1].f32()?, form(self.conv.algorithm, &s));
        run(level(), form, &Gather::grad_input(&s), dy, weight, None, outs[0].f32()?, op)
    }
}

impl Conv2dGradWeight {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let op = "conv2d_grad_weight";
        self.conv.check_device(op, DeviceKind::Cpu)?;
        let s = self.conv.shape(op, sizes(&ins[0].dims), sizes(&outs[0].dims))?;
        let (x, dy, dw) = (ins[0].f32()?, ins[1].f32()?, outs[0].f32()?);
        let gather = Gather::forward(&s);
        if depthwise(&s) {
            return depthwise::grad_weight(level(), &gather, x, dy, dw, op);
        }
        match form(self.conv.algorithm, &s) {
            Some(size) => winograd_grad::run(level(), size, &gather, x, dy, dw, op),
            None => grad_weight::run(level(), &gather, x, dy, dw, op),
        }
    }
}

#[cfg(test)]
mod tests;
