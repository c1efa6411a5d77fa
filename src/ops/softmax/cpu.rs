//! Softmax on the CPU, a row at a time. Along an axis that is not the last, a few neighbouring rows at a time are copied
//! to where they are contiguous, and back.

use super::{LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad};
use crate::{
    Dims,
    cpu::{
        In, Out, Scratch, math,
        parallel::{in_chunks, rows_per_task},
        simd::{self, largest, vectorised},
    },
    error::Result,
};

/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Neighbouring rows that are copied together: the floats of a cache line.
const TOGETHER: usize = 16;

vectorised! {
    fn softmax_row(x: &[f32], y: &mut [f32]) {
        let m = largest(x);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = math::exp(x - m);
        }
        let inverse = (1.0 / simd::sum(y, |y| y)) as f32;
        for y in y {
            *y *= inverse;
        }
    }
    fn softmax_grad_row(dy: &[f32], y: &[f32], dx: &mut [f32]) {
        let [sum] = simd::sums(dy, y, |dy, y| [dy * y]);
        let sum = sum as f32;
        for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
            *dx = y * (dy - sum);
        }
    }
    fn log_softmax_row(x: &[f32], y: &mut [f32]) {
        let m = largest(x);
        let log = simd::sum(x, |x| math::exp(x - m)).ln() as f32;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x - m - log;
        }
    }
    fn log_softmax_grad_row(dy: &[f32], y: &[f32], dx: &mut [f32]) {
        let sum = simd::sum(dy, |dy| dy) as f32;
        for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
            *dx = dy - math::exp(y) * sum;
        }
    }
}

/// Calls `f` with the rows along `axis` of the operands, all of shape `dims`, and of the result.
fn each_row<const N: usize>(
    op: &'static str,
    dims: Dims,
    axis: usize,
    ins: [&[f32]; N],
    y: &mut [f32],
    f: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) -> Result<()> {
    let (outer, size, inner) = dims.around(axis);
    let block = size * inner;
    let blocks = rows_per_task(outer, block, TASK);
    in_chunks(y, blocks * block, |task, y| {
        let start = task * blocks * block;
        if inner == 1 {
            for (r, y) in y.chunks_mut(size).enumerate() {
                let row = start + r * size..start + (r + 1) * size;
                f(ins.map(|x| &x[row.clone()]), y);
            }
            return Ok(());
        }
        let mut work = Scratch::<f32>::new((N + 1) * TOGETHER * size, op)?;
        for (b, y) in y.chunks_mut(block).enumerate() {
            let ins = ins.map(|x| &x[start + b * block..]);
            for first in (0..inner).step_by(TOGETHER) {
                rows_together(size, inner, first, ins, y, &mut work, &f);
            }
        }
        Ok(())
    })
}

/// Copies up to [`TOGETHER`] rows from `first` on, of one block of `size` by `inner`, calls `f`, and copies the result.
fn rows_together<const N: usize>(
    size: usize,
    inner: usize,
    first: usize,
    ins: [&[f32]; N],
    y: &mut [f32],
    work: &mut [f32],
    f: impl Fn([&[f32]; N], &mut [f32]),
) {
    let rows = TOGETHER.min(inner - first);
    let (copies, result) = work.split_at_mut(N * TOGETHER * size);
    for (x, copy) in ins.iter().zip(copies.chunks_mut(TOGETHER * size)) {
        for n in 0..size {
            let from = &x[n * inner + first..][..rows];
            from.iter().enumerate().for_each(|(r, &x)| copy[r * size + n] = x);
        }
    }
    for (r, y) in result.chunks_mut(size).take(rows).enumerate() {
        f(std::array::from_fn(|i| &copies[(i * TOGETHER + r) * size..][..size]), y);
    }
    for n in 0..size {
        let to = &mut y[n * inner + first..][..rows];
        to.iter_mut().enumerate().for_each(|(r, y)| *y = result[r * size + n]);
    }
}

impl Softmax {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (x, y) = (ins[0].f32()?, outs[0].f32()?);
        each_row("softmax", ins[0].dims, self.axis, [x], y, |[x], y| softmax_row(x, y))
    }
}

impl SoftmaxGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dy, y, dx) = (ins[0].f32()?, ins[1].f32()?, outs[0].f32()?);
        let f = |[dy, y]: [&[f32]; 2], dx: &mut [f32]| softmax_grad_row(dy, y, dx);
        each_row("softmax_grad", ins[0].dims, self.axis, [dy, y], dx, f)
    }
}

impl LogSoftmax {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (x, y) = (ins[0].f32()?, outs[0].f32()?);
        each_row("log_softmax", ins[0].dims, self.axis, [x], y, |[x], y| log_softmax_row(x, y))
    }
}

impl LogSoftmaxGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dy, y, dx) = (ins[0].f32()?, ins[1].f32()?, outs[0].f32()?);
        let f = |[dy, y]: [&[f32]; 2], dx: &mut [f32]| log_softmax_grad_row(dy, y, dx);
        each_row("log_softmax_grad", ins[0].dims, self.axis, [dy, y], dx, f)
    }
}
