//! Dropout through wgpu. Tensors larger than a binding are cut into runs of blocks of four.

use super::Dropout;
use crate::{
    error::Result,
    wgpu::{Cx, In, Out},
};
use std::ops::Range;

const THREADS: usize = 64;

mod kernels {
    crate::wgpu_params! {
        pub(super) struct DropoutParams {
            x_first: u32, y_first: u32, count: u32, key_low: u32, key_high: u32, first_low: u32, first_high: u32,
            threshold: u32, scale: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "dropout", texts: ["common/grid", "common/philox", "dropout/dropout"], params: DropoutParams, tuning: [],
        F32 = "dropout_f32", tried with [[]];
    }
}

impl Dropout {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let count = x.dims.elements();
        let of = |run: &Range<usize>| 4 * run.start..(4 * run.end).min(count);
        for run in cx.cut(count.div_ceil(4), |run| [(*x, of(run)), (*y, of(run))])? {
            let slices = [cx.bind_range(x, of(&run))?, cx.bind_range(y, of(&run))?];
            let first = self.words.first.wrapping_add(run.start as u64);
            let params = kernels::DropoutParams {
                x_first: slices[0].first,
                y_first: slices[1].first,
                count: of(&run).len() as u32,
                key_low: self.words.key[0],
                key_high: self.words.key[1],
                first_low: first as u32,
                first_high: (first >> 32) as u32,
                threshold: self.threshold(),
                scale: self.scale() as f32,
            };
            cx.launch(&kernels::F32, &[], &params, &slices, cx.groups(run.len().div_ceil(THREADS))?)?;
        }
        Ok(())
    }
}
