//! Sums and maxima on CUDA: `kernels/reduce/reduce.cu`.

use super::{ArgMax, Max, MaxGrad, Sum, merged};
use crate::{
    Dims,
    cuda::{
        Argument, Cx, DivisorParams, Grid, In, Kernel, MAX_1_F32, MAX_8_F32, MAX_32_F32, MAX_1024_F32,
        MAX_GRAD_F32, MAX_OF_PARTS_F32, MAX_PARTS_F32, Out, SUM_1_F32, SUM_8_F32, SUM_32_F32, SUM_1024_F32,
        SUM_COLUMNS_F32, SUM_PARTS_F32, by_row,
    },
    device::Meta,
    dims::MAX_AXES,
    error::Result,
    ops::view::cuda::zero,
};
use bytemuck::NoUninit;

/// Terms from which blocks share the sums of neighbouring results.
const MANY: usize = 128;
/// Terms of one part: a fixed number, so that the order of summation follows from the shape alone.
const PART: usize = 16 * 1024;
/// The same where a block has several results.
const COLUMN_PART: usize = 1024;

const SUM: [Kernel; 4] = [SUM_1_F32, SUM_8_F32, SUM_32_F32, SUM_1024_F32];
const MAX: [Kernel; 4] = [MAX_1_F32, MAX_8_F32, MAX_32_F32, MAX_1024_F32];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ReduceParams {
    results: u64,
    terms: u64,
    terms_per_part: u64,
    parts: DivisorParams,
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
    /// For parts of at most `per_part` terms.
    fn new(cx: &Cx, dims: &Dims, reduced: &[bool], per_part: usize) -> Result<Self> {
        let (kept, terms) = (merged(dims, reduced, false), merged(dims, reduced, true));
        let size = |size: usize| DivisorParams::new(cx, size, dims.elements());
        let count: usize = terms.size.iter().product();
        Ok(ReduceParams {
            results: kept.size.iter().product::<usize>() as u64,
            terms: count as u64,
            terms_per_part: per_part as u64,
            parts: DivisorParams::new(cx, count.div_ceil(per_part), dims.elements())?,
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

/// How a sum is taken: it follows from the shape alone, and so does its order.
enum Plan {
    /// A few threads, or a block, per result.
    Whole,
    /// A block per result and part; the parts of a result lie in a row.
    Parts(usize),
    /// A block per 32 results and part; a part's sums for all results lie in a row.
    Columns(usize),
}

impl Plan {
    fn of(dims: &Dims, summed: &[bool]) -> Self {
        let (kept, terms) = (merged(dims, summed, false), merged(dims, summed, true));
        let terms: usize = terms.size.iter().product();
        // Eight neighbours fill the least that memory gives.
        let columns = kept.stride[2] == 1 && kept.size[2] >= 8;
        match terms {
            MANY.. if columns => Plan::Columns(terms.div_ceil(COLUMN_PART)),
            PART.. => Plan::Parts(terms.div_ceil(PART)),
            _ => Plan::Whole,
        }
    }

    fn parts(&self) -> usize {
        match self {
            Plan::Whole => 1,
            Plan::Parts(parts) | Plan::Columns(parts) => *parts,
        }
    }
}

impl Sum {
    /// Bytes for the sums of the parts, if a result has several.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let parts = Plan::of(&ins[0].dims, &self.summed).parts();
        let results = || ins[0].dims.elements() / self.terms(&ins[0].dims).max(1);
        if parts == 1 { 0 } else { results() * parts * size_of::<f32>() }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dims, results) = (ins[0].dims, outs[0].dims.elements());
        let (x, y) = (Argument::from(&ins[0]), Argument::from(&outs[0]));
        let plan = Plan::of(&dims, &self.summed);
        let parts = plan.parts();
        let to = if parts == 1 { y } else { cx.scratch() };
        launch_sum(cx, &plan, [x, to], dims, &self.summed)?;
        match plan {
            _ if parts == 1 => Ok(()),
            Plan::Columns(_) => {
                launch_sum(cx, &Plan::Whole, [to, y], Dims::from([parts, results]), &[true, false])
            }
            _ => launch_sum(cx, &Plan::Whole, [to, y], Dims::from([results, parts]), &[false, true]),
        }
    }
}

/// Sums the marked axes of x (dims); what the parts give goes to y as the plan says.
fn launch_sum(cx: &Cx, plan: &Plan, [x, y]: [Argument; 2], dims: Dims, summed: &[bool]) -> Result<()> {
    let per_part = match plan {
        Plan::Whole => dims.elements().max(1),
        Plan::Parts(_) => PART,
        Plan::Columns(_) => COLUMN_PART,
    };
    let params = ReduceParams::new(cx, &dims, summed, per_part)?;
    let (results, terms) = (params.results as usize, params.terms as usize);
    let (kernel, grid) = match *plan {
        Plan::Whole => by_row(&SUM, results, terms, params.term_stride_2 as usize),
        Plan::Parts(parts) => (SUM_PARTS_F32, Grid::over(results * parts, 1)),
        Plan::Columns(parts) => (SUM_COLUMNS_F32, Grid::over(results.div_ceil(32) * parts, 1)),
    };
    cx.launch(kernel, grid, &[x, y], &params)
}

/// Bytes for the best of every part, if a result has several.
fn max_scratch(x: &Dims, terms: usize) -> usize {
    if terms <= PART { 0 } else { x.elements() / terms * terms.div_ceil(PART) * size_of::<u64>() }
}

/// Looks for the maxima over the marked axes of x: their values and positions in x, or, without `y`, their terms.
fn launch_max(cx: &Cx, x: &In, over: &[bool], y: Argument, at: &Out) -> Result<()> {
    let params = ReduceParams::new(cx, &x.dims, over, PART)?;
    let (results, terms) = (params.results as usize, params.terms as usize);
    if results == 0 {
        return Ok(());
    }
    if terms <= PART {
        let (kernel, grid) = by_row(&MAX, results, terms, params.term_stride_2 as usize);
        return cx.launch(kernel, grid, &[x.into(), y, at.into()], &params);
    }
    let (best, grid) = (cx.scratch(), Grid::over(results * terms.div_ceil(PART), 1));
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
