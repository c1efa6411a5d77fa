//! Blended patches on the CPU: windows whose indicator is zero are left out before any pixel is looked at.

use super::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    cpu::{
        In, Out,
        simd::{sums, vectorised},
    },
    error::Result,
    ops::unfold::Grid,
};
use rayon::prelude::*;

/// A window that takes part, with its indicator.
#[derive(Clone, Copy)]
struct Hit {
    window: usize,
    top: usize,
    left: usize,
    weight: f32,
}

/// The windows of one row of indicators (N) that `takes_part` says yes to.
fn hits<'a>(
    grid: &'a Grid,
    row: &'a [f32],
    takes_part: impl Fn(f32) -> bool + 'a,
) -> impl Iterator<Item = Hit> + 'a {
    row.iter().enumerate().filter(move |(_, weight)| takes_part(**weight)).map(|(window, &weight)| Hit {
        window,
        top: window / grid.counts[1] * grid.stride[0],
        left: window % grid.counts[1] * grid.stride[1],
        weight,
    })
}

/// Sizes of one image and its patches.
#[derive(Clone, Copy)]
struct Shape {
    channels: usize,
    height: usize,
    width: usize,
    patch: [usize; 2],
}

impl BlendPatches {
    /// One task writes one patch.
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let shape = shape(&ins[0], self.grid.patch);
        let (x, indicators, k) = (ins[0].f32()?, ins[1].f32()?, ins[1].dims[1]);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        let patch = shape.channels * shape.patch[0] * shape.patch[1];
        let image = shape.channels * shape.height * shape.width;
        y.par_chunks_mut(patch).zip(indicators.par_chunks(self.grid.patches())).enumerate().for_each(
            |(row, (y, indicators))| {
                let hits: Vec<Hit> = hits(&self.grid, indicators, |weight| weight != 0.0).collect();
                blend(&x[row / k * image..(row / k + 1) * image], &hits, shape, y);
            },
        );
        Ok(())
    }
}

impl BlendPatchesGradIndicators {
    /// One task writes the gradients of one row of indicators.
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let shape = shape(&ins[0], self.grid.patch);
        let (x, indicators, dy, k) = (ins[0].f32()?, ins[1].f32()?, ins[2].f32()?, ins[1].dims[1]);
        let dw = outs[0].f32()?;
        let patch = shape.channels * shape.patch[0] * shape.patch[1];
        let image = shape.channels * shape.height * shape.width;
        let n = self.grid.patches();
        dw.par_chunks_mut(n).enumerate().for_each(|(row, dw)| {
            dw.fill(0.0);
            let full = self.gradient == IndicatorGradient::Full;
            let x = &x[row / k * image..(row / k + 1) * image];
            let dy = &dy[row * patch..(row + 1) * patch];
            for hit in hits(&self.grid, &indicators[row * n..(row + 1) * n], |weight| full || weight != 0.0) {
                dw[hit.window] = overlap(x, hit, shape, dy) as f32;
            }
        });
        Ok(())
    }
}

impl BlendPatchesGradImage {
    /// One task owns a row of pixels and adds the patches whose windows cover it, in their order.
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [k, c, ph, pw] = [ins[1].dims[1], ins[1].dims[2], ins[1].dims[3], ins[1].dims[4]];
        let [h, w] = self.image;
        let (indicators, dy) = (ins[0].f32()?, ins[1].f32()?);
        let dx = outs[0].f32()?;
        if dx.is_empty() {
            return Ok(());
        }
        let n = self.grid.patches();
        let of_row = |row: &[f32]| hits(&self.grid, row, |weight| weight != 0.0).collect::<Vec<Hit>>();
        let all: Vec<Vec<Hit>> = indicators.par_chunks(n).map(of_row).collect();
        dx.par_chunks_mut(w).enumerate().for_each(|(line, dx)| {
            dx.fill(0.0);
            let (b, channel, row) = (line / h / c, line / h % c, line % h);
            for (at, hits) in all[b * k..(b + 1) * k].iter().enumerate() {
                for hit in hits.iter().filter(|hit| (hit.top..hit.top + ph).contains(&row)) {
                    let from = (((b * k + at) * c + channel) * ph + row - hit.top) * pw;
                    add_scaled(hit.weight, &dy[from..from + pw], &mut dx[hit.left..hit.left + pw]);
                }
            }
        });
        Ok(())
    }
}

fn shape(x: &In, patch: [usize; 2]) -> Shape {
    Shape { channels: x.dims[1], height: x.dims[2], width: x.dims[3], patch }
}

/// Calls `f` with the starts of every row of a patch: in the image, for a window at `top`, `left`, and in the patch.
#[inline(always)]
fn rows(shape: Shape, hit: Hit, mut f: impl FnMut(usize, usize)) {
    let [ph, pw] = shape.patch;
    for channel in 0..shape.channels {
        for i in 0..ph {
            f((channel * shape.height + hit.top + i) * shape.width + hit.left, (channel * ph + i) * pw);
        }
    }
}

vectorised! {
    /// x: (C, H, W) -> y: (C, ph, pw), the weighted sum of the windows.
    fn blend(x: &[f32], hits: &[Hit], shape: Shape, y: &mut [f32]) {
        let pw = shape.patch[1];
        y.fill(0.0);
        for &hit in hits {
            rows(shape, hit, |from, to| {
                let x = &x[from..from + pw];
                y[to..to + pw].iter_mut().zip(x).for_each(|(y, &x)| *y = hit.weight.mul_add(x, *y));
            });
        }
    }

    /// ⟨window, dy⟩ of x: (C, H, W) and dy: (C, ph, pw).
    fn overlap(x: &[f32], hit: Hit, shape: Shape, dy: &[f32]) -> f64 {
        let pw = shape.patch[1];
        let mut total = 0.0;
        rows(shape, hit, |from, to| total += sums(&x[from..from + pw], &dy[to..to + pw], |x, dy| [x * dy])[0]);
        total
    }

    /// y += c x
    fn add_scaled(c: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = c.mul_add(x, *y));
    }
}
