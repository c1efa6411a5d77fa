//! Picking and adding rows through wgpu. Results larger than a binding are cut into runs of elements.

use super::{Gather, ScatterAdd};
use crate::{
    Dims,
    error::Result,
    wgpu::{Cx, In, Kernel, Out, Tuning},
};
use std::ops::Range;

const THREADS: usize = 128;

mod gather_kernels {
    crate::wgpu_params! {
        pub(super) struct GatherParams {
            x_first: u32, indices_first: u32, y_first: u32, start: u32, count: u32, picks: u32, rows: u32, inner: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gather", texts: ["common/grid", "gather/gather"], params: GatherParams, tuning: [PER_WORD],
        WORDS = "gather_words", tried with [[1]];
        SMALL = "gather_small", tried with [[4], [2]];
    }
}

mod scatter_kernels {
    crate::wgpu_kernel! {
        op: "scatter_add", texts: ["common/grid", "gather/scatter_add"], params: super::gather_kernels::GatherParams,
        tuning: [],
        F32 = "scatter_add_f32", tried with [[]];
    }
}
use gather_kernels::GatherParams;

impl Gather {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let per_word = 4 / outs[0].dtype.size();
        let kernel = if per_word == 1 { &gather_kernels::WORDS } else { &gather_kernels::SMALL };
        launch(cx, kernel, &[per_word as u32], ins, &outs[0], ins[0].dims)
    }
}

impl ScatterAdd {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, &scatter_kernels::F32, &[], ins, &outs[0], outs[0].dims)
    }
}

/// Runs over the elements of y. `tables` is the shape of the side whose rows the indices name.
fn launch(
    cx: &Cx,
    kernel: &Kernel<GatherParams>,
    tuning: Tuning,
    ins: &[In],
    y: &Out,
    tables: Dims,
) -> Result<()> {
    let (x, indices) = (&ins[0], &ins[1]);
    let axis = indices.dims.rank() - 1;
    let (_, rows, inner) = tables.around(axis);
    let per_word = tuning.first().map_or(1, |&count| count as usize);
    // Everything that belongs to the tables a run of elements of y is in.
    let of_tables = |run: &Range<usize>, view: &In| {
        let (table, whole) = (y.dims.around(axis), view.dims.around(axis));
        let (table, whole) = (table.1 * table.2, whole.1 * whole.2);
        run.start / table * whole..run.end.div_ceil(table) * whole
    };
    let needs = |run: &Range<usize>| {
        [(*x, of_tables(run, x)), (*indices, of_tables(run, indices)), (*y, run.clone())]
    };
    for run in cx.cut(y.dims.elements(), needs)? {
        let [from, picks, _] = needs(&run).map(|(_, range)| range);
        let slices = [
            cx.bind_range(x, from.clone())?,
            cx.bind_range(indices, picks.clone())?,
            cx.bind_range(y, run.clone())?,
        ];
        let table = y.dims[axis] * inner;
        let params = GatherParams {
            x_first: slices[0].first,
            indices_first: slices[1].first,
            y_first: slices[2].first,
            start: (run.start % table) as u32,
            count: run.len() as u32,
            picks: indices.dims[axis] as u32,
            rows: rows as u32,
            inner: inner as u32,
        };
        let groups = cx.groups(run.len().div_ceil(per_word * THREADS))?;
        cx.launch(kernel, tuning, &params, &slices, groups)?;
    }
    Ok(())
}
