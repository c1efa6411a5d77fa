//! Layer normalisation on the CPU, a row at a time. Sums over rows are taken per task, whose number of rows does not
//! depend on the threads, and combined in `f64`.

use super::{LayerNorm, LayerNormGrad};
use crate::{
    cpu::{
        In, Out, Scratch,
        parallel::{in_chunks, in_chunks2, rows_per_task},
        simd::{self, vectorised},
    },
    error::Result,
};

/// Elements of a task.
const TASK: usize = 16 * 1024;
/// The most rows whose gradients are summed in `f32`.
const ROWS: usize = 64;

/// Mean and inverse deviation of a row.
#[inline(always)]
fn statistics(x: &[f32], eps: f64) -> (f32, f32) {
    let n = x.len() as f64;
    let mean = (simd::sum(x, |x| x) / n) as f32;
    let squares = simd::sum(x, |x| (x - mean) * (x - mean));
    (mean, (1.0 / (squares / n + eps).sqrt()) as f32)
}

vectorised! {
    fn plain_row(x: &[f32], eps: f64, y: &mut [f32]) {
        let (mean, inv_std) = statistics(x, eps);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - mean) * inv_std;
        }
    }
    fn affine_row(x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32]) {
        let (mean, inv_std) = statistics(x, eps);
        for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = ((x - mean) * inv_std).mul_add(weight, bias);
        }
    }
    fn plain_grad_row(dy: &[f32], x: &[f32], eps: f64, dx: &mut [f32]) {
        dx.copy_from_slice(dy);
        finish(x, statistics(x, eps), dx);
    }
    /// Adds to `dweight` and `dbias`.
    fn affine_grad_row(dy: &[f32], x: &[f32], weight: &[f32], eps: f64, dx: &mut [f32], dweight: &mut [f32], dbias: &mut [f32]) {
        let (mean, inv_std) = statistics(x, eps);
        let n = dx.len();
        let (dy, x, weight) = (&dy[..n], &x[..n], &weight[..n]);
        let (dweight, dbias) = (&mut dweight[..n], &mut dbias[..n]);
        for i in 0..n {
            dx[i] = dy[i] * weight[i];
            dweight[i] += dy[i] * ((x[i] - mean) * inv_std);
            dbias[i] += dy[i];
        }
        finish(x, (mean, inv_std), dx);
    }
}

/// The gradient of a row from that of its normalised values, in place.
#[inline(always)]
fn finish(x: &[f32], (mean, inv_std): (f32, f32), dx: &mut [f32]) {
    let [sum, product] = simd::sums(dx, x, |g, x| [g, g * ((x - mean) * inv_std)]);
    let n = x.len() as f64;
    let (mean_g, mean_product) = ((sum / n) as f32, (product / n) as f32);
    for (dx, &x) in dx.iter_mut().zip(x) {
        let normal = (x - mean) * inv_std;
        *dx = inv_std * (*dx - normal.mul_add(mean_product, mean_g));
    }
}

impl LayerNorm {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let x = ins[0].f32()?;
        let size = ins[0].dims[ins[0].dims.rank() - 1];
        let affine = match ins {
            [_, weight, bias] => Some((weight.f32()?, bias.f32()?)),
            _ => None,
        };
        let task_size = rows_per_task(x.len() / size, size, TASK) * size;
        in_chunks(outs[0].f32()?, task_size, |task, y| {
            let x = &x[task * task_size..];
            for (x, y) in x.chunks(size).zip(y.chunks_mut(size)) {
                match affine {
                    Some((weight, bias)) => affine_row(x, weight, bias, self.eps, y),
                    None => plain_row(x, self.eps, y),
                }
            }
            Ok(())
        })
    }
}

impl LayerNormGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dy, x) = (ins[0].f32()?, ins[1].f32()?);
        let size = ins[1].dims[ins[1].dims.rank() - 1];
        let rows = rows_per_task(x.len() / size, size, TASK).min(ROWS);
        let task_size = rows * size;
        match (ins.get(2), outs) {
            (Some(weight), [dx, dweight, dbias]) => {
                let weight = weight.f32()?;
                let tasks = x.len().div_ceil(task_size);
                let mut parts = Scratch::<f32>::zeroed(tasks * 2 * size, "layer_norm_grad")?;
                in_chunks2((dx.f32()?, task_size), (&mut parts, 2 * size), |task, dx, sums| {
                    let start = task * task_size;
                    let (dweight, dbias) = sums.split_at_mut(size);
                    let rows = dy[start..].chunks(size).zip(x[start..].chunks(size));
                    for ((dy, x), dx) in rows.zip(dx.chunks_mut(size)) {
                        affine_grad_row(dy, x, weight, self.eps, dx, dweight, dbias);
                    }
                    Ok(())
                })?;
                combine(&parts, size, dweight.f32()?, dbias.f32()?);
                Ok(())
            }
            (_, [dx, ..]) => in_chunks(dx.f32()?, task_size, |task, dx| {
                let start = task * task_size;
                let rows = dy[start..].chunks(size).zip(x[start..].chunks(size));
                for ((dy, x), dx) in rows.zip(dx.chunks_mut(size)) {
                    plain_grad_row(dy, x, self.eps, dx);
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    }
}

/// Adds up the tasks' sums, each `size` of dweight and `size` of dbias.
fn combine(parts: &[f32], size: usize, dweight: &mut [f32], dbias: &mut [f32]) {
    for i in 0..size {
        let total =
            |from: usize| parts.iter().skip(from).step_by(2 * size).map(|&v| f64::from(v)).sum::<f64>();
        (dweight[i], dbias[i]) = (total(i) as f32, total(size + i) as f32);
    }
}
