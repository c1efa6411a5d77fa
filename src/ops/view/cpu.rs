//! The copying relatives of views on the CPU.

use super::{Expand, PadRows};
use crate::{Dims, cpu, error::Result, ops::elementwise};

impl Expand {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, from) = (ins[0].f32()?, ins[0].dims);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        let row = elementwise::common_row(self.dims, from, Dims::SCALAR);
        let fixed = elementwise::still(self.dims, from, row);
        elementwise::in_parallel(y, row, |start, rows| {
            for (r, y) in rows.chunks_mut(row).enumerate() {
                let at = elementwise::source(start + r * row, self.dims, from);
                if fixed { y.fill(x[at]) } else { y.copy_from_slice(&x[at..at + row]) }
            }
        });
        Ok(())
    }
}

impl PadRows {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let x = ins[0].f32()?;
        let row: usize = ins[0].dims[1..].iter().product();
        let y = outs[0].f32()?;
        let (start, end) = (self.before * row, self.before * row + x.len());
        y[..start].fill(0.0);
        y[start..end].copy_from_slice(x);
        y[end..].fill(0.0);
        Ok(())
    }
}
