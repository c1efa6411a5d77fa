//! The layer on CUDA: a product with the transposed weight, the bias added as it is written.

use super::Linear;
use crate::{
    cuda::{Argument, Cx, In, Out, parts},
    device::{Meta, Product},
    error::Result,
};

impl Linear {
    /// Bytes for the sums of many inputs in parts.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        parts(&self.rounded(&ins[0].dims, &ins[1].dims)) * 4
    }

    fn rounded(&self, x: &[usize], weight: &[usize]) -> Product {
        Self::product(x, weight).precision(self.precision.unwrap_or_default())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let product = self.rounded(&ins[0].dims, &ins[1].dims);
        let bias = ins.get(2).map_or(Argument::NONE, Argument::from);
        let operands = [(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()];
        cx.product_in_parts(&product, operands, bias, cx.scratch())
    }
}
