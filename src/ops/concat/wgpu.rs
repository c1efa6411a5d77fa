//! Joining, cutting and padding through wgpu: a copy of a box for each operand.

use super::{Concat, Narrow, Pad};
use crate::{
    error::Result,
    ops::view::wgpu::{copy, copy_small, gather_axes, pad},
    wgpu::{Cx, In, Out},
};

impl Concat {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let y = &outs[0];
        let (outer, size, inner) = y.dims.around(self.axis);
        let (row, mut start) = (size * inner, 0);
        for x in ins {
            let mine = x.dims[self.axis] * inner;
            if y.dtype.size() < 4 {
                copy_small(cx, x, y, &[(outer, mine), (row, 1)], (row, start..start + mine, start))?;
            } else {
                copy(cx, x, y, &[(outer, mine, row), (mine, 1, 1)], [0, start])?;
            }
            start += mine;
        }
        Ok(())
    }
}

impl Narrow {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (outer, size, inner) = ins[0].dims.around(self.axis);
        let axes = [(outer, size * inner), (self.size * inner, 1)];
        gather_axes(cx, &ins[0], &outs[0], &axes, self.start * inner)
    }
}

impl Pad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (outer, size, inner) = ins[0].dims.around(self.axis);
        let (mine, row) = (size * inner, self.size * inner);
        pad(cx, &ins[0], &outs[0], [outer, mine, row], self.before * inner)
    }
}
