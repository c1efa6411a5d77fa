//! Philox through wgpu. Results larger than a binding are cut into runs of blocks.

use super::{Philox, RandomWords};
use crate::{
    error::Result,
    wgpu::{Cx, In, Out, times},
};
use std::ops::Range;

const THREADS: usize = 64;

mod kernels {
    crate::wgpu_params! {
        pub(super) struct PhiloxParams {
            counter_first: u32, key_first: u32, words_first: u32, first_low: u32, first_high: u32, count: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "philox", texts: ["common/grid", "common/philox", "philox/philox"], params: PhiloxParams, tuning: [],
        BLOCKS = "philox_u32", tried with [[]];
        STRETCH = "random_words_u32", tried with [[]];
    }
}

impl Philox {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (counter, key, words) = (&ins[0], &ins[1], &outs[0]);
        for run in cx.cut(counter.dims[0], |run| [(*counter, times(run, 4)), (*words, times(run, 4))])? {
            let slices = [
                cx.bind_range(counter, times(&run, 4))?,
                cx.bind_range(key, times(&run, 2))?,
                cx.bind_range(words, times(&run, 4))?,
            ];
            let params = kernels::PhiloxParams {
                counter_first: slices[0].first,
                key_first: slices[1].first,
                words_first: slices[2].first,
                first_low: 0,
                first_high: 0,
                count: (4 * run.len()) as u32,
            };
            cx.launch(&kernels::BLOCKS, &[], &params, &slices, cx.groups(run.len().div_ceil(THREADS))?)?;
        }
        Ok(())
    }
}

impl RandomWords {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (key, words) = (&ins[0], &outs[0]);
        let of = |run: &Range<usize>| 4 * run.start..(4 * run.end).min(self.count);
        for run in cx.cut(self.count.div_ceil(4), |run| [(*words, of(run))])? {
            let slices = [cx.bind(key)?, cx.bind_range(words, of(&run))?];
            let first = self.first.wrapping_add(run.start as u64);
            let params = kernels::PhiloxParams {
                counter_first: 0,
                key_first: slices[0].first,
                words_first: slices[1].first,
                first_low: first as u32,
                first_high: (first >> 32) as u32,
                count: of(&run).len() as u32,
            };
            cx.launch(&kernels::STRETCH, &[], &params, &slices, cx.groups(run.len().div_ceil(THREADS))?)?;
        }
        Ok(())
    }
}
