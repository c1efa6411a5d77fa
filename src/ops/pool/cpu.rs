//! Window maxima on the CPU, a plane at a time.
//!
//! A pixel and its place in the window become one integer whose order is that of the maxima (see [`rank`]), so that the
//! maximum of integers finds both, ties and NaN included. For each row of windows the maxima of its columns are found
//! first; these are dealt out into `sw` phases, so that the columns at one place of all windows lie next to each other;
//! then the maxima of `kw` such runs are taken.

use super::{MaxPool2d, MaxPool2dGrad};
use crate::{
    cpu::{
        In, Out, Scratch,
        parallel::{in_chunks, in_chunks2, rows_per_task},
        simd::vectorised,
    },
    error::Result,
};

/// Pixels of a task.
const TASK: usize = 32 * 1024;
/// Columns handled at once.
const WIDTH: usize = 16;

/// Below every pixel: columns outside the image.
const NOTHING: i64 = i64::MIN;

/// A pixel and its row in the window as one number. Larger pixels rank higher, NaN highest, and of equal ones the
/// smaller row; [`take_columns`] adds the column in the low 16 bits.
#[inline(always)]
fn rank(pixel: f32, row: usize) -> i64 {
    // Adding zero makes −0 of equal rank with 0. Flipping a negative number's other bits gives integers the order of
    // floats.
    let bits = (pixel + 0.0).to_bits() as i32;
    let order = if pixel.is_nan() { i32::MAX } else { flip_negative(bits) };
    (i64::from(order) << 32) | ((0xFFFF - row as i64) << 16)
}

/// The pixel that a rank stands for, and its row and column in the window.
#[inline(always)]
fn ranked(rank: i64) -> (f32, i32, i32) {
    let pixel = f32::from_bits(flip_negative((rank >> 32) as i32) as u32);
    (pixel, 0xFFFF - ((rank >> 16) & 0xFFFF) as i32, 0xFFFF - (rank & 0xFFFF) as i32)
}

#[inline(always)]
fn flip_negative(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The sizes of one pooling.
#[derive(Clone, Copy)]
struct Shape {
    pool: MaxPool2d,
    /// Height and width of a plane.
    image: [usize; 2],
    /// Rows and columns of windows.
    output: [usize; 2],
}

impl Shape {
    /// Columns of windows, in whole vectors.
    fn columns(&self) -> usize {
        self.output[1].next_multiple_of(WIDTH)
    }

    /// Columns of a phase: those that whole vectors of windows reach into.
    fn phase(&self) -> usize {
        self.columns() + self.pool.kernel[1] / self.pool.stride[1] + 1
    }
}

/// Working memory of one task: ranks.
struct Work {
    /// Maxima of the padded image's columns.
    column: Scratch<i64>,
    /// The same in phases: phase p holds the columns p, p + sw, p + 2 sw, …
    phases: Scratch<i64>,
    /// Maxima of windows.
    best: Scratch<i64>,
}

impl Work {
    fn new(shape: &Shape) -> Result<Self> {
        const OP: &str = "max_pool2d";
        let (phase, stride) = (shape.phase(), shape.pool.stride[1]);
        let padded = shape.image[1] + 2 * shape.pool.padding[1];
        let mut column = Scratch::new(padded.max((phase + 1) * stride), OP)?;
        column.fill(NOTHING);
        Ok(Work {
            column,
            phases: Scratch::new(stride * phase, OP)?,
            best: Scratch::new(shape.columns(), OP)?,
        })
    }
}

vectorised! {
    /// One plane, for a horizontal stride of `S`, or, if that is 0, any. x: (H, W) -> y, codes: (h, w)
    fn plane[; S: usize](x: &[f32], shape: &Shape, work: &mut Work, y: &mut [f32], codes: &mut [u8]) {
        let ([height, width], columns) = (shape.image, shape.output[1]);
        let ([kh, kw], [above, left]) = (shape.pool.kernel, shape.pool.padding);
        let stride = if S == 0 { shape.pool.stride[1] } else { S };
        let (column, phases, best) = (&mut work.column[..], &mut work.phases[..], &mut work.best[..]);
        let phase = phases.len() / stride;
        for (r, (y, codes)) in y.chunks_mut(columns).zip(codes.chunks_mut(columns)).enumerate() {
            let top = r * shape.pool.stride[0];
            let inside = &mut column[left..left + width];
            inside.fill(NOTHING);
            let line = |i: usize| &x[(top + i - above) * width..][..width];
            let (mut i, last) = (above.saturating_sub(top), kh.min(height + above - top));
            while i < last {
                i += match last - i {
                    1 => take_lines([line(i)], i, inside),
                    2 => take_lines([line(i), line(i + 1)], i, inside),
                    _ => take_lines([line(i), line(i + 1), line(i + 2)], i, inside),
                };
            }
            for (p, to) in phases.chunks_mut(phase).take(kw).enumerate() {
                deal::<S>(&column[p..], stride, to);
            }
            best.fill(NOTHING);
            let run = |j: usize| &phases[j % stride * phase + j / stride..];
            let mut j = 0;
            while j < kw {
                j += match kw - j {
                    1 => take_columns([run(j)], j, best),
                    2 => take_columns([run(j), run(j + 1)], j, best),
                    _ => take_columns([run(j), run(j + 1), run(j + 2)], j, best),
                };
            }
            for ((y, code), &best) in y.iter_mut().zip(codes).zip(&*best) {
                let (pixel, i, j) = ranked(best);
                (*y, *code) = (pixel, (i * kw as i32 + j) as u8);
            }
        }
    }
}

/// Takes `N` rows of the windows, from row `i` on, into the maxima of their columns. Gives `N`.
#[inline(always)]
fn take_lines<const N: usize>(mut lines: [&[f32]; N], i: usize, column: &mut [i64]) -> usize {
    let n = column.len();
    lines.iter_mut().for_each(|line| *line = &line[..n]);
    for c in 0..n {
        let mut best = column[c];
        for (k, line) in lines.iter().enumerate() {
            best = best.max(rank(line[c], i + k));
        }
        column[c] = best;
    }
    N
}

/// Copies every `stride`-th element. `S` is the stride, or 0 for any.
#[inline(always)]
fn deal<const S: usize>(from: &[i64], stride: usize, to: &mut [i64]) {
    if S == 0 {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
    } else {
        to.iter_mut().zip(from.as_chunks::<S>().0).for_each(|(to, from)| *to = from[0]);
    }
}

/// Takes `N` columns of the windows, from column `j` on, into their maxima. Gives `N`.
#[inline(always)]
fn take_columns<const N: usize>(mut columns: [&[i64]; N], j: usize, best: &mut [i64]) -> usize {
    let n = best.len();
    columns.iter_mut().for_each(|column| *column = &column[..n]);
    for q in 0..n {
        let mut most = best[q];
        for (k, column) in columns.iter().enumerate() {
            most = most.max(column[q] + (0xFFFF - (j + k) as i64));
        }
        best[q] = most;
    }
    N
}

impl MaxPool2d {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [y, codes] = outs else { return Ok(()) };
        let shape =
            Shape { pool: *self, image: [ins[0].dims[2], ins[0].dims[3]], output: [y.dims[2], y.dims[3]] };
        let (x, y, codes) = (ins[0].f32()?, y.f32()?, codes.get::<u8>()?);
        let (pixels, windows) = (shape.image[0] * shape.image[1], shape.output[0] * shape.output[1]);
        let planes = rows_per_task(y.len() / windows, pixels, TASK);
        let plane = match self.stride[1] {
            1 => plane::<1>,
            2 => plane::<2>,
            _ => plane::<0>,
        };
        in_chunks2((y, planes * windows), (codes, planes * windows), |task, y, codes| {
            let mut work = Work::new(&shape)?;
            let x = x[task * planes * pixels..].chunks(pixels);
            for ((x, y), codes) in x.zip(y.chunks_mut(windows)).zip(codes.chunks_mut(windows)) {
                plane(x, &shape, &mut work, y, codes);
            }
            Ok(())
        })
    }
}

impl MaxPool2dGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let ([height, width], [rows, columns]) = (self.image, [ins[0].dims[2], ins[0].dims[3]]);
        let ([kh, kw], [sh, sw]) = (self.pool.kernel, self.pool.stride);
        let [above, left] = self.pool.padding;
        let (pixels, windows) = (height * width, rows * columns);
        let (dy, codes) = (ins[0].f32()?, ins[1].u8()?);
        // How far from the window's corner each position lies; codes that no window has lead nowhere.
        let offset: [usize; 256] = std::array::from_fn(|code| match code {
            code if code < kh * kw => code / kw * width + code % kw,
            _ => usize::MAX / 2,
        });
        let planes = rows_per_task(ins[0].dims[0] * ins[0].dims[1], pixels, TASK);
        in_chunks(outs[0].f32()?, planes * pixels, |task, dx| {
            dx.fill(0.0);
            let start = task * planes * windows;
            for (p, dx) in dx.chunks_mut(pixels).enumerate() {
                let part = start + p * windows..start + (p + 1) * windows;
                let lines = dy[part.clone()].chunks(columns).zip(codes[part].chunks(columns));
                for (r, (dy, codes)) in lines.enumerate() {
                    let corner = (r * sh * width).wrapping_sub(above * width + left);
                    for (q, (dy, code)) in dy.iter().zip(codes).enumerate() {
                        let at = corner.wrapping_add(q * sw + offset[usize::from(*code)]);
                        if let Some(dx) = dx.get_mut(at) {
                            *dx += dy;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}
