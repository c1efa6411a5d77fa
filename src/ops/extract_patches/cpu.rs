//! Extracting and placing patches on the CPU: rows of pixels are copied or added.

use super::{ExtractPatches, PlacePatches};
use crate::{
    DType,
    cpu::{In, Out, simd::vectorised},
    dtype::Element,
    error::Result,
};
use rayon::prelude::*;

/// The part of a patch's side that lies inside the image: places `from..from + len` of the patch are `to..to + len` of the
/// image's side.
#[derive(Clone, Copy)]
struct Overlap {
    from: usize,
    to: usize,
    len: usize,
}

impl Overlap {
    fn new(offset: i32, patch: usize, image: usize) -> Self {
        let offset = i64::from(offset);
        let start = offset.max(0);
        let end = (offset + patch as i64).min(image as i64);
        if start >= end {
            return Overlap { from: 0, to: 0, len: 0 };
        }
        Overlap { from: (start - offset) as usize, to: start as usize, len: (end - start) as usize }
    }
}

impl ExtractPatches {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        match ins[0].dtype {
            DType::U8 => self.copy::<u8>(ins, &mut outs[0]),
            _ => self.copy::<f32>(ins, &mut outs[0]),
        }
    }

    /// One task writes one patch.
    fn copy<T: Element>(&self, ins: &[In], y: &mut Out) -> Result<()> {
        let [c, h, w] = [ins[0].dims[1], ins[0].dims[2], ins[0].dims[3]];
        let ([ph, pw], k) = (self.patch, y.dims[1]);
        let (x, offsets) = (ins[0].get::<T>()?, ins[1].i32()?);
        let y = y.get::<T>()?;
        if y.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(c * ph * pw).zip(offsets.par_chunks(2)).enumerate().for_each(|(n, (y, at))| {
            let (rows, columns) = (Overlap::new(at[0], ph, h), Overlap::new(at[1], pw, w));
            if rows.len < ph || columns.len < pw {
                y.fill(T::zeroed());
            }
            for channel in 0..c {
                for i in 0..rows.len {
                    let from = ((n / k * c + channel) * h + rows.to + i) * w + columns.to;
                    let to = (channel * ph + rows.from + i) * pw + columns.from;
                    y[to..to + columns.len].copy_from_slice(&x[from..from + columns.len]);
                }
            }
        });
        Ok(())
    }
}

impl PlacePatches {
    /// One task owns a row of pixels and adds the patches that cover it, in their order.
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [k, c, ph, pw] = [ins[0].dims[1], ins[0].dims[2], ins[0].dims[3], ins[0].dims[4]];
        let [h, w] = self.image;
        let (patches, offsets) = (ins[0].f32()?, ins[1].i32()?);
        let y = outs[0].f32()?;
        y.par_chunks_mut(w).enumerate().for_each(|(line, y)| {
            y.fill(0.0);
            let (b, channel, row) = (line / h / c, line / h % c, (line % h) as i64);
            for (n, at) in offsets[2 * b * k..2 * (b + 1) * k].chunks(2).enumerate() {
                let i = row - i64::from(at[0]);
                let columns = Overlap::new(at[1], pw, w);
                if (0..ph as i64).contains(&i) && columns.len > 0 {
                    let from = (((b * k + n) * c + channel) * ph + i as usize) * pw + columns.from;
                    add(&patches[from..from + columns.len], &mut y[columns.to..]);
                }
            }
        });
        Ok(())
    }
}

vectorised! {
    /// y += x
    fn add(x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
    }
}
