//! Window maxima on the CPU, a plane at a time.
//!
//! For each row of windows the maxima of its columns are found first; these are dealt out into `sw` phases, so that the
//! columns at one place of all windows lie next to each other; then the maxima of `kw` such runs are taken. Every step
//! works on whole vectors. Columns outside the image hold −∞, which beats nothing.

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
    /// Columns of the padded image, in whole vectors.
    fn wide(&self) -> usize {
        (self.image[1] + 2 * self.pool.padding[1]).next_multiple_of(WIDTH)
    }

    /// Columns of windows, in whole vectors.
    fn columns(&self) -> usize {
        self.output[1].next_multiple_of(WIDTH)
    }

    /// Columns of a phase: those that whole vectors of windows reach into.
    fn phase(&self) -> usize {
        self.columns() + self.pool.kernel[1] / self.pool.stride[1] + 1
    }
}

/// Working memory of one task: a padded row of the image, and values and positions of maxima.
struct Work {
    line: Scratch<f32>,
    /// Maxima of columns, and the row of the window each stands in.
    column: Scratch<f32>,
    row: Scratch<i32>,
    /// The same in phases: phase p holds the columns p, p + sw, p + 2 sw, …
    column_phases: Scratch<f32>,
    row_phases: Scratch<i32>,
    /// Maxima of windows, the row of each, and its position.
    best: Scratch<f32>,
    best_row: Scratch<i32>,
    position: Scratch<i32>,
}

impl Work {
    fn new(shape: &Shape) -> Result<Self> {
        const OP: &str = "max_pool2d";
        let (phase, columns, stride) = (shape.phase(), shape.columns(), shape.pool.stride[1]);
        let reach = shape.wide().max((phase + 1) * stride);
        let mut work = Work {
            line: Scratch::new(shape.wide(), OP)?,
            column: Scratch::new(reach, OP)?,
            row: Scratch::zeroed(reach, OP)?,
            column_phases: Scratch::new(stride * phase, OP)?,
            row_phases: Scratch::new(stride * phase, OP)?,
            best: Scratch::new(columns, OP)?,
            best_row: Scratch::new(columns, OP)?,
            position: Scratch::new(columns, OP)?,
        };
        work.line.fill(f32::NEG_INFINITY);
        work.column.fill(f32::NEG_INFINITY);
        Ok(work)
    }
}

vectorised! {
    /// One plane, for a horizontal stride of `S`, or, if that is 0, any. x: (H, W) -> y, codes: (h, w)
    fn plane[; S: usize](x: &[f32], shape: &Shape, work: &mut Work, y: &mut [f32], codes: &mut [u8]) {
        let ([height, width], columns) = (shape.image, shape.output[1]);
        let ([kh, kw], [above, left]) = (shape.pool.kernel, shape.pool.padding);
        let stride = if S == 0 { shape.pool.stride[1] } else { S };
        let wide = work.line.len();
        let (line, column, row) = (&mut work.line[..], &mut work.column[..], &mut work.row[..]);
        let (column_phases, row_phases) = (&mut work.column_phases[..], &mut work.row_phases[..]);
        let phase = column_phases.len() / stride;
        let (best, best_row, position) = (&mut work.best[..], &mut work.best_row[..], &mut work.position[..]);
        for (r, (y, codes)) in y.chunks_mut(columns).zip(codes.chunks_mut(columns)).enumerate() {
            let top = r * shape.pool.stride[0];
            let first = above.saturating_sub(top);
            column[..wide].fill(f32::NEG_INFINITY);
            row[..wide].fill(first as i32);
            for i in first..kh.min(height + above - top) {
                let from = (top + i - above) * width;
                line[left..left + width].copy_from_slice(&x[from..from + width]);
                take_line(line, i as i32, &mut column[..wide], &mut row[..wide]);
            }
            // What is there before any pixel: the first pixel of each window.
            best.fill(f32::NEG_INFINITY);
            best_row.fill(first as i32);
            for (q, position) in position.iter_mut().enumerate() {
                *position = (first * kw + left.saturating_sub(q * stride)) as i32;
            }
            for p in 0..stride.min(kw) {
                deal::<f32, S>(&column[p..], stride, &mut column_phases[p * phase..(p + 1) * phase]);
                deal::<i32, S>(&row[p..], stride, &mut row_phases[p * phase..(p + 1) * phase]);
            }
            for j in 0..kw {
                let from = j % stride * phase + j / stride;
                let (column, row) = (&column_phases[from..], &row_phases[from..]);
                take_columns(column, row, (j as i32, kw as i32), best, best_row, position);
            }
            y.copy_from_slice(&best[..columns]);
            for (code, &position) in codes.iter_mut().zip(&position[..]) {
                *code = position as u8;
            }
        }
    }
}

/// Takes row `i` of the windows into the maxima of their columns.
#[inline(always)]
fn take_line(line: &[f32], i: i32, column: &mut [f32], row: &mut [i32]) {
    for ((&v, column), row) in line.iter().zip(column).zip(row) {
        let better = beats(v, *column);
        *column = if better { v } else { *column };
        *row = if better { i } else { *row };
    }
}

/// Copies every `stride`-th element. `S` is the stride, or 0 for any.
#[inline(always)]
fn deal<T: Copy, const S: usize>(from: &[T], stride: usize, to: &mut [T]) {
    if S == 0 {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
    } else {
        to.iter_mut().zip(from.as_chunks::<S>().0).for_each(|(to, from)| *to = from[0]);
    }
}

/// Takes column `j` of the windows, `kw` wide, into their maxima: from the maximum of each column and its row. Among
/// equals the smaller row wins, then the smaller column.
#[inline(always)]
fn take_columns(
    column: &[f32],
    row: &[i32],
    (j, kw): (i32, i32),
    best: &mut [f32],
    best_row: &mut [i32],
    position: &mut [i32],
) {
    let places = best.iter_mut().zip(best_row).zip(position);
    for (((best, best_row), position), (&v, &i)) in places.zip(column.iter().zip(row)) {
        let equal = (v == *best) | (v.is_nan() & best.is_nan());
        let better = beats(v, *best) | (equal & (i < *best_row));
        *best = if better { v } else { *best };
        *best_row = if better { i } else { *best_row };
        *position = if better { i * kw + j } else { *position };
    }
}

/// Whether `a` is larger than `b`; NaN is larger than any number.
#[inline(always)]
fn beats(a: f32, b: f32) -> bool {
    (a > b) | (a.is_nan() & !b.is_nan())
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
