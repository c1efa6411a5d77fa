//! Sums on the CPU: adjacent axes of one fate are merged, so that the inner loops run over contiguous memory.

use super::Sum;
use crate::{cpu, error::Result};
use rayon::prelude::*;
use smallvec::SmallVec;

/// Elements below which one thread does the work.
const SMALL: usize = 32 * 1024;
/// Elements that one task sums when everything is summed; fixed, so that the result does not depend on the threads.
const PART: usize = 32 * 1024;

/// A run of axes that are all kept or all summed.
#[derive(Clone, Copy)]
struct Group {
    size: usize,
    summed: bool,
}

impl Sum {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, y) = (ins[0].f32()?, outs[0].f32()?);
        let mut groups: SmallVec<[Group; 6]> = SmallVec::new();
        for (&size, &summed) in ins[0].dims.iter().zip(&self.summed) {
            match groups.last_mut() {
                Some(last) if last.summed == summed => last.size *= size,
                _ => groups.push(Group { size, summed }),
            }
        }
        y.fill(0.0);
        match groups.as_slice() {
            _ if x.is_empty() => {}
            _ if x.len() < SMALL => accumulate(x, &groups, y),
            [Group { summed: true, .. }] => {
                let parts: Vec<f64> = x.par_chunks(PART).map(row).collect();
                y[0] = parts.iter().sum::<f64>() as f32;
            }
            [Group { size, summed: true }, rest @ ..] => {
                // Every task walks the whole summed axis for its share of the kept one behind it.
                let (kept, inner) = (rest[0].size, x.len() / size / rest[0].size);
                let out_inner = y.len() / kept;
                let share = kept.div_ceil(16).max(1);
                y.par_chunks_mut(share * out_inner).enumerate().for_each(|(task, y)| {
                    let mine = Group { size: y.len() / out_inner, summed: false };
                    let groups: SmallVec<[Group; 6]> =
                        [mine].into_iter().chain(rest[1..].iter().copied()).collect();
                    for s in 0..*size {
                        let start = (s * kept + task * share) * inner;
                        accumulate(&x[start..start + mine.size * inner], &groups, y);
                    }
                });
            }
            [first, rest @ ..] => {
                let (x_part, y_part) = (x.len() / first.size, y.len() / first.size);
                y.par_chunks_mut(y_part).zip(x.par_chunks(x_part)).for_each(|(y, x)| accumulate(x, rest, y));
            }
            [] => y[0] = x[0],
        }
        Ok(())
    }
}

/// Adds `x`, whose axes are `groups`, to `y`, whose axes are the kept ones of them.
fn accumulate(x: &[f32], groups: &[Group], y: &mut [f32]) {
    match groups {
        [] => y[0] += x[0],
        [Group { summed: true, .. }] => y[0] += row(x) as f32,
        [Group { summed: false, .. }] => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        [first, rest @ ..] => {
            let part = x.len() / first.size;
            for (i, x) in x.chunks(part).enumerate() {
                let kept = y.len() / first.size;
                let y = if first.summed { &mut *y } else { &mut y[i * kept..(i + 1) * kept] };
                accumulate(x, rest, y);
            }
        }
    }
}

/// The sum of a contiguous run, in sixteen interleaved `f32` sums per 1,024 elements, those added in `f64`.
fn row(x: &[f32]) -> f64 {
    let mut total = 0.0;
    for part in x.chunks(1024) {
        let mut lanes = [0.0_f32; 16];
        let whole = part.chunks_exact(16);
        let rest: f64 = whole.remainder().iter().map(|&v| f64::from(v)).sum();
        for sixteen in whole {
            lanes.iter_mut().zip(sixteen).for_each(|(lane, v)| *lane += v);
        }
        total += lanes.iter().map(|&v| f64::from(v)).sum::<f64>() + rest;
    }
    total
}
