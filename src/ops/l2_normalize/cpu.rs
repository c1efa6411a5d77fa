//! Division by the norm on the CPU, a row at a time.

use super::{FLOOR, L2Normalize, L2NormalizeGrad};
use crate::{
    cpu::{
        In, Out,
        parallel::{in_chunks, rows_per_task},
        simd::{self, vectorised},
    },
    error::Result,
};

/// Elements of a task.
const TASK: usize = 16 * 1024;

vectorised! {
    fn normalize_row(x: &[f32], y: &mut [f32]) {
        let inverse = (1.0 / floored(simd::sum(x, |x| x * x)).sqrt()) as f32;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * inverse;
        }
    }
    fn grad_row(dy: &[f32], x: &[f32], dx: &mut [f32]) {
        let [squared, product] = simd::sums(dy, x, |dy, x| [x * x, dy * x]);
        let inverse = 1.0 / floored(squared).sqrt();
        // y Σ dy y = x Σ dy x / norm².
        let along = if squared > FLOOR { product * inverse * inverse } else { 0.0 };
        let (inverse, along) = (inverse as f32, along as f32);
        for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
            *dx = (-along).mul_add(x, dy) * inverse;
        }
    }
}

/// The squared norm that counts; NaN stays NaN.
#[inline(always)]
fn floored(squared: f64) -> f64 {
    if squared < FLOOR { FLOOR } else { squared }
}

impl L2Normalize {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let x = ins[0].f32()?;
        each_row(&ins[0], &mut outs[0], |row, y| normalize_row(&x[row], y))
    }
}

impl L2NormalizeGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dy, x) = (ins[0].f32()?, ins[1].f32()?);
        each_row(&ins[1], &mut outs[0], |row, dx| grad_row(&dy[row.clone()], &x[row], dx))
    }
}

/// Calls `f` with each row's place and its part of the result.
fn each_row(x: &In, y: &mut Out, f: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync) -> Result<()> {
    let size = x.dims[x.dims.rank() - 1].max(1);
    let task_size = rows_per_task(x.dims.elements() / size, size, TASK) * size;
    in_chunks(y.f32()?, task_size, |task, y| {
        for (r, y) in y.chunks_mut(size).enumerate() {
            let start = task * task_size + r * size;
            f(start..start + size, y);
        }
        Ok(())
    })
}
