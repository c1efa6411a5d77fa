//! Dropout on the CPU: four elements per Philox block.

use super::Dropout;
use crate::{
    cpu::{In, Out},
    error::Result,
    ops::elementwise,
};

impl Dropout {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let x = ins[0].f32()?;
        let (threshold, scale) = (self.threshold(), self.scale() as f32);
        // Parts start at whole blocks of four words.
        elementwise::in_parallel(outs[0].f32()?, 4, |start, y| {
            for (block, y) in y.chunks_mut(4).enumerate() {
                let at = start + 4 * block;
                let words = self.words.block((at / 4) as u64);
                for ((y, x), word) in y.iter_mut().zip(&x[at..]).zip(words) {
                    *y = if word >= threshold { x * scale } else { 0.0 };
                }
            }
        });
        Ok(())
    }
}
