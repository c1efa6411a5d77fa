//! Products of matrices on CUDA: the crate's one product kernel, launched for each run.

use super::MatMul;
use crate::{
    cuda::{Argument, Cx, In, Out, parts},
    device::Meta,
    error::Result,
    ops::elementwise::source,
};

impl MatMul {
    /// Bytes for the sums of a long inner axis in parts.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let sizes = self.sizes(ins[0].dims, ins[1].dims);
        let precision = self.precision.unwrap_or_default();
        sizes.map_or(0, |sizes| parts(&self.product(&sizes).0.precision(precision)) * 4)
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = self.sizes(ins[0].dims, ins[1].dims)?;
        let (m, k, n) = (sizes.m, sizes.k, sizes.n);
        let [a_batch, b_batch, batch] = sizes.batch;
        if outs[0].dims.elements() == 0 {
            return Ok(());
        }
        let (product, run) = self.product(&sizes);
        let product = product.precision(self.precision.unwrap_or_default());
        for at in (0..batch.elements()).step_by(run) {
            let a = Argument::from(&ins[0]).after_words(source(at, batch, a_batch) * m * k);
            let b = Argument::from(&ins[1]).after_words(source(at, batch, b_batch) * k * n);
            let c = Argument::from(&outs[0]).after_words(at * m * n);
            cx.product_in_parts(&product, [a, b, c], Argument::NONE, cx.scratch())?;
        }
        Ok(())
    }
}
