//! Philox on the CPU.

use super::{Philox, RandomWords};
use crate::{
    cpu::{In, Out, philox::fill},
    error::Result,
    rng::{self, Words},
};
use rayon::prelude::*;

/// Words that one task writes.
const PART: usize = 64 * 1024;

impl Philox {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (counters, _) = ins[0].get::<u32>()?.as_chunks::<4>();
        let (keys, _) = ins[1].get::<u32>()?.as_chunks::<2>();
        let (words, _) = outs[0].get::<u32>()?.as_chunks_mut::<4>();
        words.par_iter_mut().with_min_len(PART / 4).zip(counters).zip(keys).for_each(
            |((words, &counter), &key)| {
                *words = rng::philox(counter, key);
            },
        );
        Ok(())
    }
}

impl RandomWords {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let key = ins[0].get::<u32>()?;
        let words = Words { key: [key[0], key[1]], first: self.first };
        outs[0].get::<u32>()?.par_chunks_mut(PART).enumerate().for_each(|(part, out)| {
            fill(words, (part * PART / 4) as u64, out);
        });
        Ok(())
    }
}
