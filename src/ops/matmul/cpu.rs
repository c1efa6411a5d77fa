//! The product on the CPU: through the `gemm` crate, one large product on all threads or a batch of them in parallel.

use super::MatMul;
use crate::{
    cpu::{In, Out, Product},
    error::Result,
    ops::elementwise::source,
};
use rayon::prelude::*;

/// Multiplications in a whole batch from which it is spread over threads.
const SPREAD: usize = 1 << 19;

impl MatMul {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let sizes = self.sizes(ins[0].dims, ins[1].dims)?;
        let (a, b) = (ins[0].f32()?, ins[1].f32()?);
        let c = outs[0].f32()?;
        let [a_batch, b_batch, batch] = sizes.batch;
        let (m, k, n) = (sizes.m, sizes.k, sizes.n);
        if c.is_empty() {
            return Ok(());
        }
        // A batch of matrices times one matrix is one tall matrix times it.
        let tall = b_batch.elements() == 1 && !self.transpose_a && a_batch.elements() == batch.elements();
        let (count, m) = if tall { (1, batch.elements() * m) } else { (batch.elements(), m) };
        let mut product = Product::new(m, k, n);
        if self.transpose_a {
            product = product.a_transposed();
        }
        if self.transpose_b {
            product = product.b_transposed();
        }
        if count == 1 {
            product.threads().run(a, b, c);
            return Ok(());
        }
        let one = |at: usize, c: &mut [f32]| {
            let (a_start, b_start) = (source(at, batch, a_batch) * m * k, source(at, batch, b_batch) * k * n);
            product.run(&a[a_start..], &b[b_start..], c);
        };
        if count * product.work() < SPREAD {
            c.chunks_mut(m * n).enumerate().for_each(|(at, c)| one(at, c));
        } else {
            let least = (SPREAD / 8).div_ceil(product.work().max(1));
            c.par_chunks_mut(m * n).with_min_len(least).enumerate().for_each(|(at, c)| one(at, c));
        }
        Ok(())
    }
}
