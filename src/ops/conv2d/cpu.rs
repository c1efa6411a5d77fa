//! Convolution on the CPU, straightforwardly: one image at a time, rows of pixels against one weight.

use super::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Shape};
use crate::{
    cpu::{In, Out, Scratch},
    error::Result,
};
use rayon::prelude::*;

fn sizes(dims: &[usize]) -> [usize; 4] {
    [0, 1, 2, 3].map(|axis| dims.get(axis).copied().unwrap_or(1))
}

/// The columns of the output whose input column lies inside the image for kernel column `j`, and that input column for
/// the first of them.
fn columns(s: &Shape, j: usize) -> (usize, usize, usize) {
    let (stride, left) = (s.stride[1], s.padding[2]);
    let first = left.saturating_sub(j).div_ceil(stride);
    let last = (s.image[1] + left).saturating_sub(j).div_ceil(stride).min(s.output[1]);
    if first >= last { (0, 0, 0) } else { (first, last, first * stride + j - left) }
}

/// Calls `f` with (x row start, y row start, kernel position) for every pair of rows that meet, for one output and
/// one input channel plane.
fn each_row(s: &Shape, mut f: impl FnMut(usize, usize, usize)) {
    for i in 0..s.kernel[0] {
        for r in 0..s.output[0] {
            if let Some(row) = (r * s.stride[0] + i).checked_sub(s.padding[0]).filter(|&row| row < s.image[0])
            {
                f(row * s.image[1], r * s.output[1], i * s.kernel[1]);
            }
        }
    }
}

impl Conv2d {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = self.shape("conv2d", sizes(&ins[0].dims), sizes(&ins[1].dims))?;
        let (x, weight) = (ins[0].f32()?, ins[1].f32()?);
        let bias = ins.get(2).map(|bias| bias.f32()).transpose()?;
        let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
        let (image, taps, plane) =
            (s.image[0] * s.image[1], s.kernel[0] * s.kernel[1], s.output[0] * s.output[1]);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(plane).enumerate().for_each(|(at, y)| {
            let (b, o) = (at / s.out, at % s.out);
            y.fill(bias.map_or(0.0, |bias| bias[o]));
            for c in 0..per_group {
                let x = &x[(b * s.channels + o / out_per_group * per_group + c) * image..][..image];
                let weight = &weight[(o * per_group + c) * taps..][..taps];
                each_row(&s, |x_row, y_row, tap| {
                    for j in 0..s.kernel[1] {
                        let (first, last, from) = columns(&s, j);
                        let w = weight[tap + j];
                        for q in first..last {
                            y[y_row + q] += w * x[x_row + from + (q - first) * s.stride[1]];
                        }
                    }
                });
            }
        });
        Ok(())
    }
}

impl Conv2dGradInput {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = self.conv.shape("conv2d_grad_input", sizes(&outs[0].dims), sizes(&ins[1].dims))?;
        let (dy, weight) = (ins[0].f32()?, ins[1].f32()?);
        let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
        let (image, taps, plane) =
            (s.image[0] * s.image[1], s.kernel[0] * s.kernel[1], s.output[0] * s.output[1]);
        let dx = outs[0].f32()?;
        if dx.is_empty() {
            return Ok(());
        }
        dx.par_chunks_mut(image).enumerate().for_each(|(at, dx)| {
            let (b, channel) = (at / s.channels, at % s.channels);
            dx.fill(0.0);
            for o in 0..out_per_group {
                let o = channel / per_group * out_per_group + o;
                let dy = &dy[(b * s.out + o) * plane..][..plane];
                let weight = &weight[(o * per_group + channel % per_group) * taps..][..taps];
                each_row(&s, |x_row, y_row, tap| {
                    for j in 0..s.kernel[1] {
                        let (first, last, from) = columns(&s, j);
                        let w = weight[tap + j];
                        for q in first..last {
                            dx[x_row + from + (q - first) * s.stride[1]] += w * dy[y_row + q];
                        }
                    }
                });
            }
        });
        Ok(())
    }
}

impl Conv2dGradWeight {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = self.conv.shape("conv2d_grad_weight", sizes(&ins[0].dims), sizes(&outs[0].dims))?;
        let (x, dy) = (ins[0].f32()?, ins[1].f32()?);
        let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
        let (image, taps, plane) =
            (s.image[0] * s.image[1], s.kernel[0] * s.kernel[1], s.output[0] * s.output[1]);
        let mut sums = Scratch::<f64>::zeroed(outs[0].dims.elements(), "conv2d_grad_weight")?;
        if !sums.is_empty() {
            sums.par_chunks_mut(taps).enumerate().for_each(|(at, dw)| {
                let (o, c) = (at / per_group, at % per_group);
                for b in 0..s.batch {
                    let x = &x[(b * s.channels + o / out_per_group * per_group + c) * image..][..image];
                    let dy = &dy[(b * s.out + o) * plane..][..plane];
                    each_row(&s, |x_row, y_row, tap| {
                        for j in 0..s.kernel[1] {
                            let (first, last, from) = columns(&s, j);
                            let products = (first..last)
                                .map(|q| dy[y_row + q] * x[x_row + from + (q - first) * s.stride[1]]);
                            dw[tap + j] += f64::from(products.sum::<f32>());
                        }
                    });
                }
            });
        }
        outs[0].f32()?.iter_mut().zip(sums.iter()).for_each(|(to, &from)| *to = from as f32);
        Ok(())
    }
}
