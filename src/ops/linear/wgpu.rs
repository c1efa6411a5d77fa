//! The layer through wgpu: a product with the transposed weight, the bias added as it is written.

use super::Linear;
use crate::{
    device::Meta,
    error::Result,
    ops::view::wgpu::gather_axes,
    wgpu::{Cx, In, Out},
};

impl Linear {
    /// Bytes for the sums of many inputs in parts.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        Self::product(&ins[0].dims, &ins[1].dims).parts() * 4
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, weight, y) = (&ins[0], &ins[1], &outs[0]);
        let product = Self::product(&x.dims, &weight.dims);
        match (product.parts(), ins.get(2)) {
            (0, None) => product.run(cx, x, weight, y),
            (0, Some(bias)) => product.run_with_bias(cx, x, weight, bias, y),
            (_, None) => product.run_in_parts(cx, x, weight, y, &cx.scratch()?),
            (_, Some(bias)) => {
                let outputs = weight.dims[0];
                gather_axes(cx, bias, y, &[(y.dims.elements() / outputs.max(1), 0), (outputs, 1)], 0)?;
                product.add().run_in_parts(cx, x, weight, y, &cx.scratch()?)
            }
        }
    }
}
