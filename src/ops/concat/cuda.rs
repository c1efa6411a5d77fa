//! Joining, cutting and padding on CUDA: `kernels/view/view.cu`. A launch for each operand that is joined.

use super::{Concat, Narrow, Pad};
use crate::{
    cuda::{Cx, In, Out},
    error::Result,
    ops::view::cuda::{copy, pad},
};

impl Concat {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (outer, size, inner) = outs[0].dims.around(self.axis);
        let mut start = 0;
        for x in ins {
            let run = x.dims[self.axis] * inner;
            let axes = [(outer, run, size * inner), (run, 1, 1)];
            copy(cx, x, &outs[0], axes.into_iter(), [0, start])?;
            start += run;
        }
        Ok(())
    }
}

impl Narrow {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (outer, size, inner) = ins[0].dims.around(self.axis);
        let run = self.size * inner;
        let axes = [(outer, size * inner, run), (run, 1, 1)];
        copy(cx, &ins[0], &outs[0], axes.into_iter(), [self.start * inner, 0])
    }
}

impl Pad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (_, size, inner) = ins[0].dims.around(self.axis);
        pad(cx, &ins[0], &outs[0], [size * inner, self.before * inner, self.size * inner])
    }
}
