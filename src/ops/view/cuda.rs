//! Copies of boxes on CUDA, for every operation that moves elements without computing: `kernels/view/view.cu`.

use super::{Expand, PadRows};
use crate::{
    cuda::{
        Argument, COPY_1, COPY_2, COPY_4, COPY_8, COPY_16, Cx, DivisorParams, Grid, In, Out, PAD_F32,
        WalkParams, ZERO_WORDS,
    },
    device::walk::{BoxAxis, distances, merged},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PadParams {
    count: u64,
    run: u64,
    whole: DivisorParams,
    before: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ZeroParams {
    count: u64,
}

/// Sets every byte of a tensor of 4-byte elements to zero.
pub(crate) fn zero(cx: &Cx, y: &Out) -> Result<()> {
    let count = y.dims.elements();
    cx.launch(ZERO_WORDS, Grid::elements(count), &[y.into()], &ZeroParams { count: count as u64 })
}

/// Copies a box of elements from `x` to `y`. Its axes, outermost first, have distances in x and in y;
/// `[x_start, y_start]` is where it begins in them.
pub(crate) fn copy(
    cx: &Cx,
    x: &In,
    y: &Out,
    axes: impl DoubleEndedIterator<Item = BoxAxis>,
    [x_start, y_start]: [usize; 2],
) -> Result<()> {
    let size = x.dtype.size();
    let (from, to) = (Argument::from(x).after(x_start * size), Argument::from(y).after(y_start * size));
    let mut axes = merged(axes);
    let units = [16, 8, 4, 2].into_iter().filter(|unit| *unit > size);
    let wide = units.map(|unit| unit / size).find(|&unit| {
        let [(run, 1, 1), others @ ..] = axes.as_slice() else { return false };
        let whole = |n: usize| n.is_multiple_of(unit);
        whole(*run)
            && others.iter().all(|(_, a, b)| whole(*a) && whole(*b))
            && from.is_aligned(unit * size)
            && to.is_aligned(unit * size)
    });
    if let Some(unit) = wide {
        axes[0].0 /= unit;
        axes[1..].iter_mut().for_each(|(_, a, b)| (*a, *b) = (*a / unit, *b / unit));
    }
    let kernel = match wide.unwrap_or(1) * size {
        1 => COPY_1,
        2 => COPY_2,
        4 => COPY_4,
        8 => COPY_8,
        _ => COPY_16,
    };
    let params = WalkParams::new(cx, axes.into_iter().rev())?;
    cx.launch(kernel, Grid::elements(params.count()), &[from, to], &params)
}

/// `y` (rows, whole) is `x` (rows, run) with `before` zeros before each row, and zeros behind it.
pub(crate) fn pad(cx: &Cx, x: &In, y: &Out, [run, before, whole]: [usize; 3]) -> Result<()> {
    let count = y.dims.elements();
    let params = PadParams {
        count: count as u64,
        run: run as u64,
        whole: DivisorParams::new(cx, whole, count)?,
        before: before as u64,
    };
    cx.launch(PAD_F32, Grid::elements(count), &[x.into(), y.into()], &params)
}

impl Expand {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (from, to) = (distances(self.dims, ins[0].dims), distances(self.dims, self.dims));
        let axes = (0..self.dims.rank()).map(|axis| (self.dims[axis], from[axis], to[axis]));
        copy(cx, &ins[0], &outs[0], axes, [0, 0])
    }
}

impl PadRows {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let row: usize = x.dims[1..].iter().product();
        pad(cx, x, y, [x.dims.elements(), self.before * row, y.dims.elements()])
    }
}
