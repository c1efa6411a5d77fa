//! Window maxima on the CPU: a task owns a channel plane; each position of the window updates a whole row of maxima.

use super::{MaxPool2d, MaxPool2dGrad};
use crate::{
    DType,
    cpu::{In, Out},
    error::{Error, Result},
};
use rayon::prelude::*;

impl MaxPool2d {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [y, codes] = outs else {
            return Err(Error::dtype("max_pool2d", format!("has two results, the second {}", DType::U8)));
        };
        let image = [ins[0].dims[2], ins[0].dims[3]];
        let output = [y.dims[2], y.dims[3]];
        let x = ins[0].f32()?;
        let (y, codes) = (y.f32()?, codes.get::<u8>()?);
        if y.is_empty() {
            return Ok(());
        }
        let plane = output[0] * output[1];
        let planes = y.par_chunks_mut(plane).zip(codes.par_chunks_mut(plane)).with_min_len(8);
        planes.zip(x.par_chunks(image[0] * image[1])).for_each(|((y, codes), x)| {
            for (r, (y, codes)) in y.chunks_mut(output[1]).zip(codes.chunks_mut(output[1])).enumerate() {
                self.row(x, image, r, y, codes);
            }
        });
        Ok(())
    }

    /// Row `r` of the result. x: (H, W) -> y, codes: (w)
    fn row(&self, x: &[f32], [height, width]: [usize; 2], r: usize, y: &mut [f32], codes: &mut [u8]) {
        y.fill(f32::NEG_INFINITY);
        codes.fill(u8::MAX);
        for i in 0..self.kernel[0] {
            let Some(row) = (r * self.stride[0] + i).checked_sub(self.padding[0]).filter(|row| *row < height)
            else {
                continue;
            };
            let x = &x[row * width..(row + 1) * width];
            for j in 0..self.kernel[1] {
                let (first, last) = self.inside(j, width, y.len());
                let code = (i * self.kernel[1] + j) as u8;
                for q in first..last {
                    let v = x[q * self.stride[1] + j - self.padding[1]];
                    // The first pixel of a window is taken whatever it is: u8::MAX marks a window without one.
                    if v > y[q] || codes[q] == u8::MAX || (v.is_nan() && !y[q].is_nan()) {
                        y[q] = v;
                        codes[q] = code;
                    }
                }
            }
        }
    }

    /// The windows of a row whose column `j` is a pixel.
    fn inside(&self, j: usize, width: usize, windows: usize) -> (usize, usize) {
        let first = self.padding[1].saturating_sub(j).div_ceil(self.stride[1]);
        let last = (width + self.padding[1]).saturating_sub(j).div_ceil(self.stride[1]);
        (first, last.min(windows).max(first))
    }
}

impl MaxPool2dGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dy, codes) = (ins[0].f32()?, ins[1].u8()?);
        let (output, kernel) = ([ins[0].dims[2], ins[0].dims[3]], self.pool.kernel);
        let dx = outs[0].f32()?;
        if dy.is_empty() {
            dx.fill(0.0);
            return Ok(());
        }
        let (plane, image) = (output[0] * output[1], self.image[0] * self.image[1]);
        let planes =
            dx.par_chunks_mut(image).zip(dy.par_chunks(plane)).zip(codes.par_chunks(plane)).with_min_len(8);
        planes.for_each(|((dx, dy), codes)| {
            dx.fill(0.0);
            for (at, (dy, code)) in dy.iter().zip(codes).enumerate() {
                let (i, j) = (*code as usize / kernel[1], *code as usize % kernel[1]);
                let row = at / output[1] * self.pool.stride[0] + i - self.pool.padding[0];
                let column = at % output[1] * self.pool.stride[1] + j - self.pool.padding[1];
                dx[row * self.image[1] + column] += dy;
            }
        });
        Ok(())
    }
}
