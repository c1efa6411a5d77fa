//! Picking and adding rows on CUDA: `kernels/gather/gather.cu`.

use super::{Gather, ScatterAdd};
use crate::{
    cuda::{Argument, Cx, GATHER_1, GATHER_4, GATHER_16, Grid, In, Out, SCATTER_ADD_F32},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct GatherParams {
    count: u64,
    picks: u32,
    rows: u32,
    inner: u32,
    blocks: u32,
}

impl Gather {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, indices, y) = (&ins[0], &ins[1], &outs[0]);
        let axis = indices.dims.rank() - 1;
        let (_, rows, inner) = x.dims.around(axis);
        let bytes = inner * x.dtype.size();
        // The widest chunk that rows are made of, if they begin at multiples of it.
        let fits = |chunk: usize| bytes.is_multiple_of(chunk) && Argument::from(x).is_aligned(chunk);
        let (kernel, chunk) = match () {
            () if fits(16) => (GATHER_16, 16),
            () if fits(4) => (GATHER_4, 4),
            () => (GATHER_1, 1),
        };
        let count = indices.dims.elements() * (bytes / chunk);
        let params = GatherParams {
            count: count as u64,
            picks: cx.u32(indices.dims[axis])?,
            rows: cx.u32(rows)?,
            inner: cx.u32(bytes / chunk)?,
            blocks: 0,
        };
        let grid = Grid::over(count, kernel.threads as usize);
        cx.launch(kernel, grid, &[x.into(), indices.into(), y.into()], &params)
    }
}

impl ScatterAdd {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, indices, y) = (&ins[0], &ins[1], &outs[0]);
        let (tables, rows, inner) = y.dims.around(indices.dims.rank() - 1);
        let blocks = (rows * inner).div_ceil(SCATTER_ADD_F32.threads as usize);
        let params = GatherParams {
            count: (rows * inner) as u64,
            picks: cx.u32(x.dims[indices.dims.rank() - 1])?,
            rows: cx.u32(rows)?,
            inner: cx.u32(inner)?,
            blocks: cx.u32(blocks)?,
        };
        let grid = Grid::blocks([tables * blocks, 1, 1]);
        cx.launch(SCATTER_ADD_F32, grid, &[x.into(), indices.into(), y.into()], &params)
    }
}
