//! Sums through wgpu: `kernels/reduce/sum.wgsl`.

use super::{Sum, merged};
use crate::{
    Dims,
    device::Meta,
    error::Result,
    wgpu::{Cx, In, Kernel, Out, View},
};

crate::wgpu_params! {
    struct SumParams {
        x_first: u32, y_first: u32, results: u32, terms: u32, terms_per_part: u32, parts: u32,
        kept_size_1: u32, kept_size_2: u32, kept_stride_0: u32, kept_stride_1: u32, kept_stride_2: u32,
        term_size_1: u32, term_size_2: u32, term_stride_0: u32, term_stride_1: u32, term_stride_2: u32,
    }
}

mod kernels {
    crate::wgpu_kernel! {
        op: "sum", texts: ["common/grid", "reduce/sum"], params: super::SumParams, tuning: [THREADS],
        FEW = "sum_f32", tried with [[128]];
        MANY = "sum_parts_f32", tried with [[128]];
    }
}

const THREADS: u32 = 128;
/// Terms from which a workgroup works on a result instead of a thread.
const MANY: usize = 128;
/// Terms of one part: a fixed number, so that the order of summation follows from the shape alone.
const PART: usize = 16 * 1024;

impl Sum {
    /// Bytes for the sums of the parts, if a result has several.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let terms = self.terms(&ins[0].dims);
        if terms <= PART { 0 } else { ins[0].dims.elements() / terms * terms.div_ceil(PART) * 4 }
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let (terms, results) = (self.terms(&x.dims), y.dims.elements());
        if terms < MANY {
            let groups = results.div_ceil(THREADS as usize);
            return launch(cx, &kernels::FEW, [x, y], (x.dims, &self.summed), (1, terms), groups);
        }
        let parts = terms.div_ceil(PART);
        if parts == 1 {
            return launch(cx, &kernels::MANY, [x, y], (x.dims, &self.summed), (1, terms), results);
        }
        // The parts of each result lie in a row.
        let row = Dims::from([results, parts]);
        let scratch = View { dims: row, ..cx.scratch()? };
        launch(cx, &kernels::MANY, [x, &scratch], (x.dims, &self.summed), (parts, PART), results * parts)?;
        launch(cx, &kernels::MANY, [&scratch, y], (row, &[false, true]), (1, parts), results)
    }
}

/// Sums the marked axes of a shape, each result in `parts` parts of `terms_per_part` terms.
fn launch(
    cx: &Cx,
    kernel: &Kernel<SumParams>,
    [x, y]: [&View; 2],
    (dims, summed): (Dims, &[bool]),
    (parts, terms_per_part): (usize, usize),
    groups: usize,
) -> Result<()> {
    let (kept, terms) = (merged(&dims, summed, false), merged(&dims, summed, true));
    let slices = [cx.bind(x)?, cx.bind(y)?];
    let params = SumParams {
        x_first: slices[0].first,
        y_first: slices[1].first,
        results: kept.size.iter().product::<usize>() as u32,
        terms: terms.size.iter().product::<usize>() as u32,
        terms_per_part: terms_per_part as u32,
        parts: parts as u32,
        kept_size_1: kept.size[1] as u32,
        kept_size_2: kept.size[2] as u32,
        kept_stride_0: kept.stride[0] as u32,
        kept_stride_1: kept.stride[1] as u32,
        kept_stride_2: kept.stride[2] as u32,
        term_size_1: terms.size[1] as u32,
        term_size_2: terms.size[2] as u32,
        term_stride_0: terms.stride[0] as u32,
        term_stride_1: terms.stride[1] as u32,
        term_stride_2: terms.stride[2] as u32,
    };
    cx.launch(kernel, &[THREADS], &params, &slices, cx.groups(groups)?)
}
