//! Unfold and fold on the CPU: whole pixel rows are copied (or added), patch by patch and image by image in parallel.

use super::{Fold, Unfold};
use crate::{
    DType,
    cpu::{In, Out},
    dtype::Element,
    error::Result,
};
use rayon::prelude::*;

impl Unfold {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        match ins[0].dtype {
            DType::U8 => self.copy::<u8>(&ins[0], &mut outs[0]),
            _ => self.copy::<f32>(&ins[0], &mut outs[0]),
        }
    }

    fn copy<T: Element>(&self, x: &In, y: &mut Out) -> Result<()> {
        let [channels, height, width] = [x.dims[1], x.dims[2], x.dims[3]];
        let ([ph, pw], [sh, sw]) = (self.patch, self.stride);
        let (rows, columns) = ((height - ph) / sh + 1, (width - pw) / sw + 1);
        let x = x.get::<T>()?;
        let y = y.get::<T>()?;
        if y.is_empty() {
            return Ok(());
        }
        // One task copies a row of patches: they read the same ph rows of the image, which stay in cache.
        let patch = channels * ph * pw;
        y.par_chunks_mut(columns * patch).enumerate().for_each(|(strip, y)| {
            let (b, top) = (strip / rows, strip % rows * sh);
            for (q, y) in y.chunks_mut(patch).enumerate() {
                for (row, y) in y.chunks_mut(pw).enumerate() {
                    let (c, i) = (row / ph, row % ph);
                    let from = ((b * channels + c) * height + top + i) * width + q * sw;
                    y.copy_from_slice(&x[from..from + pw]);
                }
            }
        });
        Ok(())
    }
}

impl Fold {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [channels, ph, pw] = [ins[0].dims[2], ins[0].dims[3], ins[0].dims[4]];
        let ([height, width], [sh, sw]) = (self.image, self.stride);
        let (rows, columns) = ((height - ph) / sh + 1, (width - pw) / sw + 1);
        let x = ins[0].f32()?;
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        // One task owns a row of pixels and gathers from the patches that cover it, in patch order.
        y.par_chunks_mut(width).enumerate().for_each(|(line, y)| {
            y.fill(0.0);
            let (plane, row) = (line / height, line % height);
            let (b, c) = (plane / channels, plane % channels);
            let first = (row + 1).saturating_sub(ph).div_ceil(sh);
            for r in (first..rows).take_while(|r| r * sh <= row) {
                for q in 0..columns {
                    let n = (b * rows + r) * columns + q;
                    let from = ((n * channels + c) * ph + row - r * sh) * pw;
                    let to = &mut y[q * sw..q * sw + pw];
                    to.iter_mut().zip(&x[from..from + pw]).for_each(|(y, x)| *y += x);
                }
            }
        });
        Ok(())
    }
}
