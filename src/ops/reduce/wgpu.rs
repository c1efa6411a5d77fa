//! Sums and maxima through wgpu.

use super::{ArgMax, Max, MaxGrad, Sum, merged};
use crate::{
    Dims,
    device::Meta,
    error::Result,
    ops::view::wgpu::fill,
    wgpu::{Cx, In, Kernel, Out, ROW_THREADS, Slice, View, element, lanes, row_groups},
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
        op: "sum", texts: ["common/grid", "reduce/sum"], params: super::SumParams, tuning: [THREADS, ElementX, ElementY],
        FEW = "sum_f32", tried with [[128, 0, 0], [128, 1, 1]];
        MANY = "sum_parts_f32", tried with [[128, 0, 0], [128, 1, 0]];
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
    let tuning = [THREADS, element(x.dtype), element(y.dtype)];
    cx.launch(kernel, &tuning, &params, &slices, cx.groups(groups)?)
}

mod max_kernels {
    crate::wgpu_params! {
        pub(super) struct MaxParams {
            x_first: u32, y_first: u32, at_first: u32, results: u32, terms: u32,
            kept_size_1: u32, kept_size_2: u32, kept_stride_0: u32, kept_stride_1: u32, kept_stride_2: u32,
            term_size_1: u32, term_size_2: u32, term_stride_0: u32, term_stride_1: u32, term_stride_2: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "max", texts: ["common/grid", "common/exp", "common/math", "reduce/max"], params: MaxParams,
        tuning: [THREADS, LANES],
        MAX = "max_f32", tried with [[128, 1], [128, 128]];
        ARGMAX = "argmax_f32", tried with [[128, 1], [128, 128]];
    }
}

mod grad_kernels {
    crate::wgpu_params! {
        pub(super) struct MaxGradParams {
            dy_first: u32, at_first: u32, dx_first: u32, count: u32, start: u32, elements: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "max_grad", texts: ["common/grid", "reduce/max_grad"], params: MaxGradParams, tuning: [],
        F32 = "max_grad_f32", tried with [[]];
    }
}

/// Runs a kernel that looks for the maxima over the marked axes of x; `slices` are x and its results.
fn launch_max(
    cx: &Cx,
    kernel: &Kernel<max_kernels::MaxParams>,
    (dims, over): (Dims, &[bool]),
    slices: &[Slice],
) -> Result<()> {
    let (kept, terms) = (merged(&dims, over, false), merged(&dims, over, true));
    let (results, count) = (kept.size.iter().product::<usize>(), terms.size.iter().product::<usize>());
    let params = max_kernels::MaxParams {
        x_first: slices[0].first,
        y_first: slices[1].first,
        at_first: slices[slices.len() - 1].first,
        results: results as u32,
        terms: count as u32,
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
    let lanes = lanes(count, terms.stride[2]);
    cx.launch(kernel, &[ROW_THREADS, lanes], &params, slices, cx.groups(row_groups(results, lanes))?)
}

impl Max {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let slices = [cx.bind(&ins[0])?, cx.bind(&outs[0])?, cx.bind(&outs[1])?];
        launch_max(cx, &max_kernels::MAX, (ins[0].dims, &self.over), &slices)
    }
}

impl ArgMax {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let dims = ins[0].dims;
        let mut over = [false; crate::dims::MAX_AXES];
        over[self.axis] = true;
        let slices = [cx.bind(&ins[0])?, cx.bind(&outs[0])?];
        launch_max(cx, &max_kernels::ARGMAX, (dims, &over[..dims.rank()]), &slices)
    }
}

impl MaxGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, at, dx) = (&ins[0], &ins[1], &outs[0]);
        fill(cx, dx, 0)?;
        let count = dy.dims.elements();
        for run in cx.cut(dx.dims.elements(), |run| [(*dx, run.clone())])? {
            let slices = [cx.bind(dy)?, cx.bind(at)?, cx.bind_range(dx, run.clone())?];
            let params = grad_kernels::MaxGradParams {
                dy_first: slices[0].first,
                at_first: slices[1].first,
                dx_first: slices[2].first,
                count: count as u32,
                start: run.start as u32,
                elements: run.len() as u32,
            };
            let groups = cx.groups(count.div_ceil(ROW_THREADS as usize))?;
            cx.launch(&grad_kernels::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}
