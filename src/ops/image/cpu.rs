//! Normalisation on the CPU: a byte has 256 values, so a table per channel gives each one exactly.

use super::NormalizeImage;
use crate::{
    cpu::{In, Out},
    error::Result,
    ops::elementwise,
};

impl NormalizeImage {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [channels, plane] = self.planes(&ins[0].dims);
        let constants = self.scale.iter().zip(&self.shift);
        let tables: Vec<[f32; 256]> = constants
            .map(|(scale, shift)| std::array::from_fn(|byte| (byte as f64 * scale + shift) as f32))
            .collect();
        let x = ins[0].u8()?;
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        elementwise::in_parallel(y, plane, |start, rows| {
            for (row, y) in rows.chunks_mut(plane).enumerate() {
                let at = start + row * plane;
                let table = &tables[at / plane % channels];
                y.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = table[usize::from(*x)]);
            }
        });
        Ok(())
    }
}
