//! The layer on the CPU: the bias is written first, the product added to it.

use super::Linear;
use crate::{
    cpu::{In, Out, Product},
    error::Result,
};

impl Linear {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [outputs, inputs] = [ins[1].dims[0], ins[1].dims[1]];
        let (x, weight) = (ins[0].f32()?, ins[1].f32()?);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        let product = Product::new(y.len() / outputs, inputs, outputs).b_transposed().threads();
        match ins.get(2) {
            None => product.run(x, weight, y),
            Some(bias) => {
                let bias = bias.f32()?;
                let rows = |_, y: &mut [f32]| y.chunks_mut(outputs).for_each(|y| y.copy_from_slice(bias));
                product.add().run_after(x, weight, y, rows);
            }
        }
        Ok(())
    }
}
