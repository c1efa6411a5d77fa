//! Reductions on the CPU: adjacent axes of one fate are merged, so that the inner loops run over contiguous memory.

use super::{ArgMax, Max, MaxGrad, Sum};
use crate::{
    Dims,
    cpu::{
        self, Scratch,
        simd::{self, largest, vectorised},
    },
    error::Result,
    ops::elementwise::in_parallel,
};
use rayon::prelude::*;
use smallvec::SmallVec;

/// Elements below which one thread does the work.
const SMALL: usize = 32 * 1024;
/// Elements that one task sums when everything is summed; fixed, so that the result does not depend on the threads.
const PART: usize = 32 * 1024;

/// A run of axes that are all kept or all reduced.
#[derive(Clone, Copy)]
struct Group {
    size: usize,
    reduced: bool,
}

type Groups = SmallVec<[Group; 6]>;

fn groups(dims: Dims, reduced: &[bool]) -> Groups {
    let mut groups = Groups::new();
    for (&size, &reduced) in dims.iter().zip(reduced).filter(|(size, _)| **size != 1) {
        match groups.last_mut() {
            Some(last) if last.reduced == reduced => last.size *= size,
            _ => groups.push(Group { size, reduced }),
        }
    }
    groups
}

/// How elements are taken into a result `y` and what is kept beside it, which are preset.
trait Reduction: Sync {
    /// Kept beside each result.
    type Beside: Send;
    /// Takes the whole of `x`, whose first element has position `start`, into one result.
    fn row(x: &[f32], start: usize, y: &mut f32, beside: &mut Self::Beside);
    /// Takes rows of `x`, as many as results, each into its own.
    fn rows(x: &[f32], start: usize, y: &mut [f32], beside: &mut [Self::Beside]) {
        let size = x.len() / y.len();
        for (i, ((x, y), beside)) in x.chunks_exact(size).zip(y).zip(beside).enumerate() {
            Self::row(x, start + i * size, y, beside);
        }
    }
    /// Takes each element of `x` into the result at its place.
    fn each(x: &[f32], start: usize, y: &mut [f32], beside: &mut [Self::Beside]);
}

/// Sums. The order of summation depends on the shape alone.
struct Sums;

impl Reduction for Sums {
    type Beside = ();

    fn row(x: &[f32], _: usize, y: &mut f32, (): &mut ()) {
        *y += sum_row(x) as f32;
    }

    fn rows(x: &[f32], _: usize, y: &mut [f32], _: &mut [()]) {
        sum_rows(x, x.len() / y.len(), y);
    }

    fn each(x: &[f32], _: usize, y: &mut [f32], _: &mut [()]) {
        sum_each(x, y);
    }
}

/// Maxima, with the position of the first; NaN is smaller than any number. Positions begin negative: nothing yet.
struct Maxima;

impl Reduction for Maxima {
    type Beside = i32;

    fn row(x: &[f32], start: usize, y: &mut f32, at: &mut i32) {
        let value = largest_in(x);
        let first = x.iter().position(|&v| v == value).unwrap_or(0);
        if let Some(&value) = x.get(first) {
            take(value, start + first, y, at);
        }
    }

    fn each(x: &[f32], start: usize, y: &mut [f32], at: &mut [i32]) {
        max_each(x, start, y, at);
    }
}

vectorised! {
    fn sum_row(x: &[f32]) -> f64 {
        simd::sum(x, |v| v)
    }
    /// Adds to each element of `y` the sum of its row of `size` elements of `x`.
    fn sum_rows(x: &[f32], size: usize, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x.chunks_exact(size)) {
            *y += if size <= SHORT_ROW { sum_short(x) } else { simd::sum(x, |v| v) as f32 };
        }
    }
    fn sum_each(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
    fn largest_in(x: &[f32]) -> f32 {
        largest(x)
    }
    fn max_each(x: &[f32], start: usize, y: &mut [f32], at: &mut [i32]) {
        for (i, ((y, at), &x)) in y.iter_mut().zip(at).zip(x).enumerate() {
            take(x, start + i, y, at);
        }
    }
}

/// Rows up to this long are summed in `f32` alone: chains of at most 16 additions and a tree.
const SHORT_ROW: usize = 256;

/// The sum of a short row.
#[inline(always)]
fn sum_short(x: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        (0..LANES).for_each(|i| lanes[i] += x[i]);
    }
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3]) + rest.iter().sum::<f32>()
}

/// Takes one element into a maximum.
#[inline(always)]
fn take(x: f32, position: usize, y: &mut f32, at: &mut i32) {
    let better = (x > *y) | (y.is_nan() & (!x.is_nan() | (*at < 0)));
    *y = if better { x } else { *y };
    *at = if better { position as i32 } else { *at };
}

/// Reduces `x`, whose axes are `groups`, into `y` and `beside`, whose axes are the kept ones of them. The split into
/// tasks never cuts a reduction.
fn reduce<R: Reduction>(x: &[f32], groups: &[Group], y: &mut [f32], beside: &mut [R::Beside]) {
    match groups {
        _ if x.is_empty() => {}
        _ if x.len() < SMALL => accumulate::<R>(x, 0, groups, y, beside),
        [Group { size, reduced: true }, rest @ ..] if !rest.is_empty() => {
            // Every task walks the whole reduced axis for its share of the kept one behind it.
            let (kept, inner) = (rest[0].size, x.len() / size / rest[0].size);
            let out_inner = y.len() / kept;
            let share = kept.div_ceil(16).max(1);
            let tasks =
                y.par_chunks_mut(share * out_inner).zip(beside.par_chunks_mut(share * out_inner)).enumerate();
            tasks.for_each(|(task, (y, beside))| {
                let mine = Group { size: y.len() / out_inner, reduced: false };
                let groups: Groups = [mine].into_iter().chain(rest[1..].iter().copied()).collect();
                for s in 0..*size {
                    let start = (s * kept + task * share) * inner;
                    accumulate::<R>(&x[start..start + mine.size * inner], start, &groups, y, beside);
                }
            });
        }
        [Group { size, reduced: false }, rest @ ..] => {
            // As many of the kept axis to a task as make it worth one.
            let share = (SMALL / 4 / (x.len() / size)).clamp(1, *size);
            let (x_part, y_part) = (x.len() / size * share, y.len() / size * share);
            let tasks = y.par_chunks_mut(y_part).zip(beside.par_chunks_mut(y_part)).zip(x.par_chunks(x_part));
            tasks.enumerate().for_each(|(task, ((y, beside), x))| {
                let mine = Group { size: x.len() / (x_part / share), reduced: false };
                let groups: Groups = [mine].into_iter().chain(rest.iter().copied()).collect();
                accumulate::<R>(x, task * x_part, &groups, y, beside);
            });
        }
        _ => accumulate::<R>(x, 0, groups, y, beside),
    }
}

/// Takes `x`, whose first element has position `start`, into the results, on this thread.
fn accumulate<R: Reduction>(
    x: &[f32],
    start: usize,
    groups: &[Group],
    y: &mut [f32],
    beside: &mut [R::Beside],
) {
    match groups {
        [Group { reduced: true, .. }] => R::row(x, start, &mut y[0], &mut beside[0]),
        [] | [Group { reduced: false, .. }] => R::each(x, start, y, beside),
        [Group { reduced: false, .. }, Group { reduced: true, .. }] => R::rows(x, start, y, beside),
        [first, rest @ ..] => {
            let (part, kept) = (x.len() / first.size, y.len() / first.size);
            for (i, x) in x.chunks(part).enumerate() {
                let out = if first.reduced { 0..y.len() } else { i * kept..(i + 1) * kept };
                accumulate::<R>(x, start + i * part, rest, &mut y[out.clone()], &mut beside[out]);
            }
        }
    }
}

impl Sum {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (x, y) = (ins[0].f32()?, outs[0].f32()?);
        y.fill(0.0);
        match groups(ins[0].dims, &self.summed).as_slice() {
            [Group { reduced: true, .. }] if x.len() >= SMALL => {
                let parts: Vec<f64> = x.par_chunks(PART).map(sum_row).collect();
                y[0] = parts.iter().sum::<f64>() as f32;
            }
            groups => reduce::<Sums>(x, groups, y, &mut vec![(); y.len()]),
        }
        Ok(())
    }
}

impl Max {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let [y, at] = outs else { return Ok(()) };
        maxima(ins[0].f32()?, &groups(ins[0].dims, &self.over), y.f32()?, at.i32()?);
        Ok(())
    }
}

fn maxima(x: &[f32], groups: &[Group], y: &mut [f32], at: &mut [i32]) {
    y.fill(f32::NAN);
    at.fill(-1);
    reduce::<Maxima>(x, groups, y, at);
}

impl MaxGrad {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let (dy, at, dx) = (ins[0].f32()?, ins[1].i32()?, outs[0].f32()?);
        in_parallel(dx, 1, |_, dx| dx.fill(0.0));
        for (&dy, &at) in dy.iter().zip(at) {
            if let Some(dx) = dx.get_mut(at as usize) {
                *dx = dy;
            }
        }
        Ok(())
    }
}

impl ArgMax {
    pub(super) fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let dims = ins[0].dims;
        let (_, size, inner) = dims.around(self.axis);
        let over: SmallVec<[bool; 6]> = (0..dims.rank()).map(|axis| axis == self.axis).collect();
        let at = outs[0].i32()?;
        maxima(ins[0].f32()?, &groups(dims, &over), &mut Scratch::new(at.len(), "argmax")?, at);
        // Where there is no number, the first place counts.
        at.iter_mut().for_each(|at| *at = ((*at).max(0) as usize / inner % size) as i32);
        Ok(())
    }
}
