//! Copies of boxes and constants through wgpu, for every operation that moves elements without computing.

use super::{Expand, PadRows};
use crate::{
    DType,
    dims::MAX_AXES,
    error::Result,
    wgpu::{BoxAxis, Cx, In, Out, View, Walk, distances, walk_params},
};
use smallvec::SmallVec;
use std::ops::Range;

const THREADS: u32 = 128;
/// Words of one thread.
const STEPS: u32 = 4;
const RUN: usize = (THREADS * STEPS) as usize;

walk_params! { struct CopyParams { x_first, y_first, count } }
walk_params! { struct CopySmallParams { x_first, y_first, count, row, band_first, band_end } }

mod copy_kernels {
    crate::wgpu_kernel! {
        op: "copy", texts: ["common/grid", "common/walk", "view/copy"], params: super::CopyParams,
        tuning: [THREADS, STEPS, AXES],
        WORDS = "copy_words", tried with [[128, 4, 1], [128, 4, 6]];
    }
}

mod small_kernels {
    crate::wgpu_kernel! {
        op: "copy", texts: ["common/grid", "common/walk", "view/copy_small"], params: super::CopySmallParams,
        tuning: [THREADS, PER_WORD, AXES],
        SMALL = "copy_small", tried with [[128, 4, 1], [128, 2, 6]];
    }
}

mod fill_kernels {
    crate::wgpu_params! {
        pub(super) struct FillParams { y_first: u32, count: u32, word: u32 }
    }
    crate::wgpu_kernel! {
        op: "fill", texts: ["common/grid", "view/fill"], params: FillParams, tuning: [THREADS, STEPS],
        WORDS = "fill_words", tried with [[128, 4]];
    }
}

/// Sets every word of `y` to `word`. Elements shorter than a word must begin with one; what follows the last of them in its
/// word is set too.
pub(crate) fn fill(cx: &Cx, y: &Out, word: u32) -> Result<()> {
    let words = |elements: usize| (elements * y.dtype.size()).div_ceil(4);
    let y = View { dims: [words(y.dims.elements())].into(), dtype: DType::U32, start: words(y.start), ..*y };
    cx.each_run([&y], 1, |count, slices| {
        let params = fill_kernels::FillParams { y_first: slices[0].first, count: count as u32, word };
        cx.launch(&fill_kernels::WORDS, &[THREADS, STEPS], &params, &slices, cx.groups(count.div_ceil(RUN))?)
    })
}

/// Copies a box of 4-byte elements from `x` to `y`. Its axes, outermost first, have distances in x and in y;
/// `[x_start, y_start]` is where it begins in them. A box that reaches further than a binding is halved.
pub(crate) fn copy(cx: &Cx, x: &In, y: &Out, axes: &[BoxAxis], [x_start, y_start]: [usize; 2]) -> Result<()> {
    let count: usize = axes.iter().map(|axis| axis.0).product();
    if count == 0 {
        return Ok(());
    }
    let reach = |distance: fn(&BoxAxis) -> usize| {
        axes.iter().map(|axis| (axis.0 - 1) * distance(axis)).sum::<usize>() + 1
    };
    let ranges = [x_start..x_start + reach(|axis| axis.1), y_start..y_start + reach(|axis| axis.2)];
    let widest = (0..axes.len()).max_by_key(|&at| (axes[at].0 - 1) * axes[at].1.max(axes[at].2));
    if let (false, Some(at)) = (cx.fit(&[(*x, ranges[0].clone()), (*y, ranges[1].clone())]), widest) {
        let (size, x_distance, y_distance) = axes[at];
        if size > 1 {
            let mut half: SmallVec<[BoxAxis; MAX_AXES]> = axes.into();
            half[at].0 = size / 2;
            copy(cx, x, y, &half, [x_start, y_start])?;
            half[at].0 = size - size / 2;
            let start = [x_start + size / 2 * x_distance, y_start + size / 2 * y_distance];
            return copy(cx, x, y, &half, start);
        }
    }
    let [from, to] = ranges;
    let slices = [cx.bind_range(x, from)?, cx.bind_range(y, to)?];
    let walk = Walk::new(axes.iter().copied());
    let params = CopyParams {
        x_first: slices[0].first,
        y_first: slices[1].first,
        count: count as u32,
        ..CopyParams::along(&walk)
    };
    let groups = cx.groups(count.div_ceil(RUN))?;
    cx.launch(&copy_kernels::WORDS, &[THREADS, STEPS, walk.axes()], &params, &slices, groups)
}

/// Copies elements of less than a word from `x` to all of `y`, or to the elements `band` of each of its rows of `row` elements. The axes are those
/// of y, outermost first, with distances in x; element 0 of y belongs to element `-before` of x.
pub(crate) fn copy_small(
    cx: &Cx,
    x: &In,
    y: &Out,
    axes: &[(usize, usize)],
    (row, band, before): (usize, Range<usize>, usize),
) -> Result<()> {
    let count = y.dims.elements();
    if count == 0 || band.is_empty() {
        return Ok(());
    }
    let slices = [cx.bind(x)?, cx.bind(y)?];
    let walk = Walk::new(contiguous(axes, count).into_iter());
    let params = CopySmallParams {
        x_first: slices[0].first.wrapping_sub(before as u32),
        y_first: slices[1].first,
        count: count as u32,
        row: row as u32,
        band_first: band.start as u32,
        band_end: band.end as u32,
        ..CopySmallParams::along(&walk)
    };
    let per_word = 4 / y.dtype.size();
    let words = (slices[1].first as usize % per_word + count).div_ceil(per_word);
    let groups = cx.groups(words.div_ceil(THREADS as usize))?;
    cx.launch(&small_kernels::SMALL, &[THREADS, per_word as u32, walk.axes()], &params, &slices, groups)
}

/// Axes with distances in x, and in a contiguous y of `count` elements.
fn contiguous(axes: &[(usize, usize)], count: usize) -> SmallVec<[BoxAxis; MAX_AXES]> {
    let mut y_distance = count;
    let with_y = |&(size, distance): &(usize, usize)| {
        y_distance /= size.max(1);
        (size, distance, y_distance)
    };
    axes.iter().map(with_y).collect()
}

/// Copies elements of any type to a contiguous `y` whose axes have these sizes and distances in x.
pub(crate) fn gather_axes(cx: &Cx, x: &In, y: &Out, axes: &[(usize, usize)], x_start: usize) -> Result<()> {
    if y.dtype.size() < 4 {
        let count = y.dims.elements();
        return copy_small(cx, x, y, axes, (count.max(1), 0..count, x_start.wrapping_neg()));
    }
    let axes = contiguous(axes, y.dims.elements());
    copy(cx, x, y, &axes, [x_start, 0])
}

/// `rows` rows of `mine` elements of `x`, each from element `start` on of a row of `row` elements of `y`; the others are
/// zero.
pub(crate) fn pad(cx: &Cx, x: &In, y: &Out, [rows, mine, row]: [usize; 3], start: usize) -> Result<()> {
    fill(cx, y, 0)?;
    if y.dtype.size() < 4 {
        return copy_small(cx, x, y, &[(rows, mine), (row, 1)], (row, start..start + mine, start));
    }
    copy(cx, x, y, &[(rows, mine, row), (mine, 1, 1)], [0, start])
}

impl Expand {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let from = distances(self.dims, ins[0].dims);
        let axes: SmallVec<[_; MAX_AXES]> = self.dims.iter().copied().zip(from).collect();
        gather_axes(cx, &ins[0], &outs[0], &axes, 0)
    }
}

impl PadRows {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let row: usize = ins[0].dims[1..].iter().product();
        pad(cx, &ins[0], &outs[0], [1, ins[0].dims.elements(), outs[0].dims.elements()], self.before * row)
    }
}
