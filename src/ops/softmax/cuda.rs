//! Softmax on CUDA: `kernels/softmax/softmax.cu`.

use super::{LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad};
use crate::{
    cuda::{
        Cx, DivisorParams, In, Kernel, LOG_SOFTMAX_1_F32, LOG_SOFTMAX_8_F32, LOG_SOFTMAX_32_F32,
        LOG_SOFTMAX_1024_F32, LOG_SOFTMAX_GRAD_1_F32, LOG_SOFTMAX_GRAD_8_F32, LOG_SOFTMAX_GRAD_32_F32,
        LOG_SOFTMAX_GRAD_1024_F32, Out, SOFTMAX_1_F32, SOFTMAX_8_F32, SOFTMAX_32_F32, SOFTMAX_1024_F32,
        SOFTMAX_GRAD_1_F32, SOFTMAX_GRAD_8_F32, SOFTMAX_GRAD_32_F32, SOFTMAX_GRAD_1024_F32, by_row,
    },
    error::Result,
};
use bytemuck::NoUninit;
use smallvec::SmallVec;

const SOFTMAX: [Kernel; 4] = [SOFTMAX_1_F32, SOFTMAX_8_F32, SOFTMAX_32_F32, SOFTMAX_1024_F32];
const SOFTMAX_GRAD: [Kernel; 4] =
    [SOFTMAX_GRAD_1_F32, SOFTMAX_GRAD_8_F32, SOFTMAX_GRAD_32_F32, SOFTMAX_GRAD_1024_F32];
const LOG_SOFTMAX: [Kernel; 4] =
    [LOG_SOFTMAX_1_F32, LOG_SOFTMAX_8_F32, LOG_SOFTMAX_32_F32, LOG_SOFTMAX_1024_F32];
const LOG_SOFTMAX_GRAD: [Kernel; 4] =
    [LOG_SOFTMAX_GRAD_1_F32, LOG_SOFTMAX_GRAD_8_F32, LOG_SOFTMAX_GRAD_32_F32, LOG_SOFTMAX_GRAD_1024_F32];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct SoftmaxParams {
    rows: u64,
    size: u64,
    inner: DivisorParams,
}

impl Softmax {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &SOFTMAX, self.axis, ins, &outs[0])
    }
}

impl SoftmaxGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &SOFTMAX_GRAD, self.axis, ins, &outs[0])
    }
}

impl LogSoftmax {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &LOG_SOFTMAX, self.axis, ins, &outs[0])
    }
}

impl LogSoftmaxGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &LOG_SOFTMAX_GRAD, self.axis, ins, &outs[0])
    }
}

/// Runs a kernel over tensors of one shape: x, or dy and y, and the result.
fn launch(cx: &Cx, kernels: &[Kernel; 4], axis: usize, ins: &[In], to: &Out) -> Result<()> {
    let (outer, size, inner) = to.dims.around(axis);
    if to.dims.elements() == 0 {
        return Ok(());
    }
    let params = SoftmaxParams {
        rows: (outer * inner) as u64,
        size: size as u64,
        inner: DivisorParams::new(cx, inner, outer * inner)?,
    };
    let (kernel, grid) = by_row(kernels, outer * inner, size, inner);
    let pointers = ins.iter().map(Into::into).chain([to.into()]);
    cx.launch(kernel, grid, &pointers.collect::<SmallVec<[_; 3]>>(), &params)
}
