//! Products of matrices through wgpu: the crate's one product kernel, launched for each run.

use super::MatMul;
use crate::{
    device::Meta,
    error::Result,
    ops::elementwise::source,
    wgpu::{Cx, In, Out, View},
};

impl MatMul {
    /// Bytes for the sums of a long inner axis in parts.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let sizes = self.sizes(ins[0].dims, ins[1].dims);
        sizes.map_or(0, |sizes| self.product(&sizes).0.parts() * 4)
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = self.sizes(ins[0].dims, ins[1].dims)?;
        let (m, k, n) = (sizes.m, sizes.k, sizes.n);
        let [a_batch, b_batch, batch] = sizes.batch;
        if outs[0].dims.elements() == 0 {
            return Ok(());
        }
        let (product, run) = self.product(&sizes);
        for at in (0..batch.elements()).step_by(run) {
            let from = |view: &View<'_>, start: usize| start + view.start;
            let a = View { start: from(&ins[0], source(at, batch, a_batch) * m * k), ..ins[0] };
            let b = View { start: from(&ins[1], source(at, batch, b_batch) * k * n), ..ins[1] };
            let c = View { dims: [run * m * n].into(), start: from(&outs[0], at * m * n), ..outs[0] };
            match product.parts() {
                0 => product.run(cx, &a, &b, &c)?,
                _ => product.run_in_parts(cx, &a, &b, &c, &cx.scratch()?)?,
            }
        }
        Ok(())
    }
}
