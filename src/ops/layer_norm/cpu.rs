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
    /// On entry `dx` holds g.
    fn grad_row(x: &[f32], eps: f64, dx: &mut [f32]) {
        let (mean, inv_std) = statistics(x, eps);
        let [sum, product] = simd::sums(dx, x, |g, x| [g, g * ((x - mean) * inv_std)]);
        let n = x.len() as f64;
        let (mean_g, mean_product) = ((sum / n) as f32, (product / n) as f32);
        for (dx, &x) in dx.iter_mut().zip(x) {
            let normal = (x - mean) * inv_std;
            *dx = inv_std * (*dx - normal.mul_add(mean_product, mean_g));
        }
    }
    fn weigh(dy: &[f32], weight: &[f32], g: &mut [f32]) {
        for ((g, &dy), &weight) in g.iter_mut().zip(dy).zip(weight) {
            *g = dy * weight;
        }
    }
    fn add_sums(dy: &[f32], x: &[f32], eps: f64, dweight: &mut [f32], dbias: &mut [f32]) {
        let (mean, inv_std) = statistics(x, eps);
        for (((dweight, dbias), &dy), &x) in dweight.iter_mut().zip(dbias).zip(dy).zip(x) {
            *dweight += dy * ((x - mean) * inv_std);
            *dbias += dy;
        }
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
                        weigh(dy, weight, dx);
                        grad_row(x, self.eps, dx);
                        add_sums(dy, x, self.eps, dweight, dbias);
                    }
                    Ok(())
                })?;
                combine(&parts, size, dweight.f32()?, dbias.f32()?);
                Ok(())
            }
            (_, [dx, ..]) => in_chunks(dx.f32()?, task_size, |task, dx| {
                dx.copy_from_slice(&dy[task * task_size..][..dx.len()]);
                for (x, dx) in x[task * task_size..].chunks(size).zip(dx.chunks_mut(size)) {
                    grad_row(x, self.eps, dx);
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
