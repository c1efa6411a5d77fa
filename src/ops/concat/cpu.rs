//! Joining, cutting and padding on the CPU: runs of bytes are copied, outer index by outer index in parallel.

use super::{Concat, Narrow, Pad};
use crate::{
    cpu::{In, Out},
    error::Result,
    ops::elementwise::in_parallel,
};

impl Concat {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let run = |x: &In| x.dims[self.axis..].iter().product::<usize>() * x.dtype.size();
        let whole: usize = ins.iter().map(run).sum();
        if whole == 0 {
            return Ok(());
        }
        in_parallel(outs[0].bytes, whole, |start, rows| {
            for (at, y) in rows.chunks_exact_mut(whole).enumerate() {
                let (o, mut to) = (start / whole + at, 0);
                for x in ins {
                    let mine = run(x);
                    y[to..to + mine].copy_from_slice(&x.bytes[o * mine..(o + 1) * mine]);
                    to += mine;
                }
            }
        });
        Ok(())
    }
}

impl Narrow {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (_, size, inner) = ins[0].dims.around(self.axis);
        let inner = inner * ins[0].dtype.size();
        let (x, run) = (ins[0].bytes, self.size * inner);
        if run == 0 {
            return Ok(());
        }
        in_parallel(outs[0].bytes, run, |start, rows| {
            for (at, y) in rows.chunks_exact_mut(run).enumerate() {
                let from = ((start / run + at) * size + self.start) * inner;
                y.copy_from_slice(&x[from..from + run]);
            }
        });
        Ok(())
    }
}

impl Pad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (_, size, inner) = ins[0].dims.around(self.axis);
        let (x, run, whole) = (ins[0].f32()?, size * inner, self.size * inner);
        if whole == 0 {
            return Ok(());
        }
        let before = self.before * inner;
        in_parallel(outs[0].f32()?, whole, |start, rows| {
            for (at, y) in rows.chunks_exact_mut(whole).enumerate() {
                let from = (start / whole + at) * run;
                y[..before].fill(0.0);
                y[before..before + run].copy_from_slice(&x[from..from + run]);
                y[before + run..].fill(0.0);
            }
        });
        Ok(())
    }
}
