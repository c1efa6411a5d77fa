//! Sums on CUDA: `kernels/reduce/reduce.cu`.

use super::{Sum, merged};
use crate::{
    Dims,
    cuda::{Argument, Cx, Grid, In, Out, SUM_F32, SUM_PARTS_F32},
    device::Meta,
    error::Result,
};
use bytemuck::NoUninit;

/// Terms from which a block works on a result instead of a thread.
const MANY: usize = 128;
/// Terms of one part: a fixed number, so that the order of summation follows from the shape alone.
const PART: usize = 16 * 1024;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct SumParams {
    results: u32,
    terms: u32,
    terms_per_part: u32,
    kept_size_1: u32,
    kept_size_2: u32,
    kept_stride_0: u32,
    kept_stride_1: u32,
    kept_stride_2: u32,
    term_size_1: u32,
    term_size_2: u32,
    term_stride_0: u32,
    term_stride_1: u32,
    term_stride_2: u32,
}

impl SumParams {
    fn new(cx: &Cx, dims: &Dims, summed: &[bool]) -> Result<Self> {
        cx.u32(dims.elements())?;
        let (kept, terms) = (merged(dims, summed, false), merged(dims, summed, true));
        Ok(SumParams {
            results: cx.u32(kept.size.iter().product())?,
            terms: cx.u32(terms.size.iter().product())?,
            terms_per_part: cx.u32(PART)?,
            kept_size_1: cx.u32(kept.size[1])?,
            kept_size_2: cx.u32(kept.size[2])?,
            kept_stride_0: cx.u32(kept.stride[0])?,
            kept_stride_1: cx.u32(kept.stride[1])?,
            kept_stride_2: cx.u32(kept.stride[2])?,
            term_size_1: cx.u32(terms.size[1])?,
            term_size_2: cx.u32(terms.size[2])?,
            term_stride_0: cx.u32(terms.stride[0])?,
            term_stride_1: cx.u32(terms.stride[1])?,
            term_stride_2: cx.u32(terms.stride[2])?,
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
        let params = SumParams::new(cx, &x.dims, &self.summed)?;
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
        let params = SumParams {
            terms_per_part: cx.u32(parts)?,
            ..SumParams::new(cx, &Dims::from([results, parts]), &[false, true])?
        };
        cx.launch(SUM_PARTS_F32, Grid::blocks([results, 1, 1]), &[to, y.into()], &params)
    }
}
