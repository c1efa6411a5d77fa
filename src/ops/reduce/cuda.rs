//! Sums and maxima on CUDA: `kernels/reduce/reduce.cu`.

use super::{ArgMax, Max, MaxGrad, Sum, merged};
use crate::{
    Dims,
    cuda::{
        Argument, Cx, DivisorParams, Grid, In, Kernel, MAX_1_F32, MAX_8_F32, MAX_32_F32, MAX_1024_F32,
        MAX_GRAD_F32, MAX_OF_PARTS_F32, MAX_PARTS_F32, Out, SUM_F32, SUM_PARTS_F32, by_row,
    },
    device::Meta,
    dims::MAX_AXES,
    error::Result,
    ops::view::cuda::zero,
};
use bytemuck::NoUninit;

/// Terms from which a block works on a sum instead of a thread.
const MANY: usize = 128;
/// Terms of one part: a fixed number, so that the order of summation follows from the shape alone.
const PART: usize = 16 * 1024;

const MAX: [Kernel; 4] = [MAX_1_F32, MAX_8_F32, MAX_32_F32, MAX_1024_F32];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ReduceParams {
    results: u64,
    terms: u64,
    terms_per_part: u64,
    kept_size_1: DivisorParams,
    kept_size_2: DivisorParams,
    term_size_1: DivisorParams,
    term_size_2: DivisorParams,
    kept_stride_0: u64,
    kept_stride_1: u64,
    kept_stride_2: u64,
    term_stride_0: u64,
    term_stride_1: u64,
    term_stride_2: u64,
}

impl ReduceParams {
    fn new(cx: &Cx, dims: &Dims, reduced: &[bool]) -> Result<Self> {
        let (kept, terms) = (merged(dims, reduced, false), merged(dims, reduced, true));
        let size = |size: usize| DivisorParams::new(cx, size, dims.elements());
        Ok(ReduceParams {
            results: kept.size.iter().product::<usize>() as u64,
            terms: terms.size.iter().product::<usize>() as u64,
            terms_per_part: PART as u64,
            kept_size_1: size(kept.size[1])?,
            kept_size_2: size(kept.size[2])?,
            term_size_1: size(terms.size[1])?,
            term_size_2: size(terms.size[2])?,
            kept_stride_0: kept.stride[0] as u64,
            kept_stride_1: kept.stride[1] as u64,
            kept_stride_2: kept.stride[2] as u64,
            term_stride_0: terms.stride[0] as u64,
            term_stride_1: terms.stride[1] as u64,
            term_stride_2: terms.stride[2] as u64,
        })
    }
}

impl Sum {
    /// Bytes for the sums of the parts, if a result has several.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let terms = self.terms(&ins[0].dims);
        if terms <= PART {
            0
        } else {
            ins[0].dims.elements() / terms * terms.div_ceil(PART) * size_of::<f32>()
        }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let (terms, results) = (self.terms(&x.dims), y.dims.elements());
        let params = ReduceParams::new(cx, &x.dims, &self.summed)?;
        if terms < MANY {
            let grid = Grid::over(results, SUM_F32.threads as usize);
            return cx.launch(SUM_F32, grid, &[x.into(), y.into()], &params);
        }
        let parts = terms.div_ceil(PART);
        let to: Argument = if parts == 1 { y.into() } else { cx.scratch() };
        cx.launch(SUM_PARTS_F32, Grid::blocks([results, parts, 1]), &[x.into(), to], &params)?;
        if parts == 1 {
            return Ok(());
        }
        // The parts of each result, which lie in a row.
        let params = ReduceParams {
            terms_per_part: parts as u64,
            ..ReduceParams::new(cx, &Dims::from([results, parts]), &[false, true])?
        };
        cx.launch(SUM_PARTS_F32, Grid::blocks([results, 1, 1]), &[to, y.into()], &params)
    }
}

/// Bytes for the best of every part, if a result has several.
fn max_scratch(x: &Dims, terms: usize) -> usize {
    if terms <= PART { 0 } else { x.elements() / terms * terms.div_ceil(PART) * size_of::<u64>() }
}

/// Looks for the maxima over the marked axes of x: their values and positions in x, or, without `y`, their terms.
fn launch_max(cx: &Cx, x: &In, over: &[bool], y: Argument, at: &Out) -> Result<()> {
    let params = ReduceParams::new(cx, &x.dims, over)?;
    let (results, terms) = (params.results as usize, params.terms as usize);
    if results == 0 {
        return Ok(());
    }
    if terms <= PART {
        let (kernel, grid) = by_row(&MAX, results, terms, params.term_stride_2 as usize);
        return cx.launch(kernel, grid, &[x.into(), y, at.into()], &params);
    }
    let (best, grid) = (cx.scratch(), Grid::blocks([results, terms.div_ceil(PART), 1]));
    cx.launch(MAX_PARTS_F32, grid, &[x.into(), best], &params)?;
    let grid = Grid::over(results, MAX_OF_PARTS_F32.threads as usize / 32);
    cx.launch(MAX_OF_PARTS_F32, grid, &[x.into(), best, y, at.into()], &params)
}

impl Max {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let marked = ins[0].dims.iter().zip(&self.over).filter(|(_, over)| **over);
        max_scratch(&ins[0].dims, marked.map(|(size, _)| *size).product())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch_max(cx, &ins[0], &self.over, (&outs[0]).into(), &outs[1])
    }
}

impl ArgMax {
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        max_scratch(&ins[0].dims, ins[0].dims[self.axis])
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let mut over = [false; MAX_AXES];
        over[self.axis] = true;
        launch_max(cx, &ins[0], &over[..ins[0].dims.rank()], Argument::NONE, &outs[0])
    }
}

impl MaxGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, at, dx) = (&ins[0], &ins[1], &outs[0]);
        zero(cx, dx)?;
        let count = dy.dims.elements();
        let params = MaxGradParams { count: count as u64, elements: dx.dims.elements() as u64 };
        let grid = Grid::over(count, MAX_GRAD_F32.threads as usize);
        cx.launch(MAX_GRAD_F32, grid, &[dy.into(), at.into(), dx.into()], &params)
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct MaxGradParams {
    count: u64,
    elements: u64,
}
