//! The permutation through wgpu, as a copy of a box whose axes are those of the result.

use super::Transpose;
use crate::{
    dims::MAX_AXES,
    error::Result,
    ops::view::wgpu::gather_axes,
    wgpu::{Cx, In, Out, distances},
};
use smallvec::SmallVec;

impl Transpose {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let from = distances(x.dims, x.dims);
        let axes: SmallVec<[_; MAX_AXES]> =
            y.dims.iter().zip(&self.permutation).map(|(&size, &axis)| (size, from[axis])).collect();
        gather_axes(cx, x, y, &axes, 0)
    }
}
