//! Resizing on the CPU: a row of the result is a weighted sum of whole rows, then of places in that sum. The adjoint is the
//! same with the weights transposed.

use super::{Resize, ResizeGrad, ResizeMode};
use crate::{
    cpu::{In, Out, Scratch, simd::vectorised},
    device::Op,
    error::Result,
};
use rayon::prelude::*;

/// What each output of an axis reads: `taps[starts[i]..starts[i + 1]]` are the inputs of output i and their weights.
struct Axis {
    starts: Vec<usize>,
    taps: Vec<(u32, f32)>,
}

impl Axis {
    /// From `large` inputs to `small` outputs (whichever of them is the larger).
    fn new(mode: ResizeMode, small: usize, large: usize) -> Self {
        let mut axis = Axis { starts: vec![0], taps: Vec::new() };
        for i in 0..small {
            let (first, weights) = mode.taps(i, small, large);
            axis.taps.extend(weights.iter().zip(first as u32..).map(|(&weight, at)| (at, weight as f32)));
            axis.starts.push(axis.taps.len());
        }
        axis
    }

    /// From `small` inputs to `large` outputs: who reads them becomes who is read.
    fn transposed(mode: ResizeMode, small: usize, large: usize) -> Self {
        let forward = Self::new(mode, small, large);
        let mut readers = vec![Vec::new(); large];
        for i in 0..small {
            forward.of(i).iter().for_each(|&(at, weight)| readers[at as usize].push((i as u32, weight)));
        }
        let mut axis = Axis { starts: vec![0], taps: Vec::new() };
        for taps in readers {
            axis.taps.extend(taps);
            axis.starts.push(axis.taps.len());
        }
        axis
    }

    fn of(&self, output: usize) -> &[(u32, f32)] {
        &self.taps[self.starts[output]..self.starts[output + 1]]
    }
}

impl Resize {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [h, w] = self.size;
        let axis = |small, large| Axis::new(self.mode, small, large);
        separable(&ins[0], &mut outs[0], &axis(h, ins[0].dims[2]), &axis(w, ins[0].dims[3]), Self::NAME)
    }
}

impl ResizeGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [h, w] = self.image;
        let axis = |small, large| Axis::transposed(self.mode, small, large);
        separable(&ins[0], &mut outs[0], &axis(ins[0].dims[2], h), &axis(ins[0].dims[3], w), Self::NAME)
    }
}

/// One task writes one row of the result.
fn separable(x: &In, y: &mut Out, rows: &Axis, columns: &Axis, op: &'static str) -> Result<()> {
    let ([h, w], out) = ([x.dims[2], x.dims[3]], [y.dims[2], y.dims[3]]);
    let (x, y) = (x.f32()?, y.f32()?);
    y.par_chunks_mut(out[1]).enumerate().try_for_each_init(
        || Scratch::<f32>::new(w, op),
        |sum, (line, y)| {
            let sum = sum.as_mut().map_err(|error| error.clone())?;
            let plane = &x[line / out[0] * h * w..][..h * w];
            weigh(plane, rows.of(line % out[0]), sum);
            for (j, y) in y.iter_mut().enumerate() {
                *y = columns.of(j).iter().map(|&(at, weight)| weight * sum[at as usize]).sum();
            }
            Ok(())
        },
    )
}

vectorised! {
    /// The weighted sum of some rows of x (H, W): y (W).
    fn weigh(x: &[f32], taps: &[(u32, f32)], y: &mut [f32]) {
        y.fill(0.0);
        for &(row, weight) in taps {
            let x = &x[row as usize * y.len()..][..y.len()];
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = weight.mul_add(x, *y));
        }
    }
}
