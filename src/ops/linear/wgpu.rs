//! The layer through wgpu: a product with the transposed weight, the bias added as it is written.

use super::Linear;
use crate::{
    Dims,
    error::Result,
    ops::matmul::wgpu::Product,
    wgpu::{Cx, In, Out},
};

impl Linear {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [outputs, inputs] = [ins[1].dims[0], ins[1].dims[1]];
        let x = ins[0].dims;
        let rows = x[..x.rank() - 1].iter().product();
        let product =
            Product { batch: [Dims::SCALAR; 3], sizes: [rows, inputs, outputs], transposed: [false, true] };
        product.launch(cx, [&ins[0], &ins[1]], ins.get(2), &outs[0])
    }
}
