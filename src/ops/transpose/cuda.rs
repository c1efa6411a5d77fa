//! The permutation on CUDA: `kernels/transpose/transpose.cu` where both tensors run far enough along axes of their own,
//! else the copy of a box in `kernels/view/view.cu`.

use super::Transpose;
use crate::{
    cuda::{Cx, DivisorParams, Grid, In, Out, TRANSPOSE_1, TRANSPOSE_2, TRANSPOSE_4, WalkParams},
    device::walk::{BoxAxis, distances, merged},
    dims::MAX_AXES,
    error::Result,
    ops::view::cuda::copy,
};
use bytemuck::NoUninit;
use smallvec::SmallVec;

/// Edge of the tile that a block moves: `TILE` of the kernel.
const TILE: usize = 32;
/// The shortest axis that is worth a tile.
const LEAST: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct TransposeParams {
    others: WalkParams,
    x_last: u64,
    y_near: u64,
    last: u32,
    near: u32,
    tiles_last: DivisorParams,
    tiles_near: DivisorParams,
}

impl Transpose {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let (from, to) = (distances(x.dims, x.dims), distances(y.dims, y.dims));
        let axes: SmallVec<[BoxAxis; MAX_AXES]> =
            (0..y.dims.rank()).map(|axis| (y.dims[axis], from[self.permutation[axis]], to[axis])).collect();
        let mut others = merged(axes.iter().copied());
        let long = |at: &usize| others[*at].0 >= LEAST;
        let near = others.iter().position(|axis| axis.1 == 1).filter(long);
        let last = others.iter().position(|axis| axis.2 == 1).filter(long);
        let (Some(near), Some(last), true) = (near, last, near != last) else {
            return copy(cx, x, y, axes.into_iter(), [0, 0]);
        };
        let kernel = match x.dtype.size() {
            1 => TRANSPOSE_1,
            2 => TRANSPOSE_2,
            _ => TRANSPOSE_4,
        };
        let ((near_size, _, y_near), (last_size, x_last, _)) = (others[near], others[last]);
        others.remove(near.max(last));
        others.remove(near.min(last));
        let tiles = [last_size, near_size].map(|size| size.div_ceil(TILE));
        let others = WalkParams::new(cx, others.into_iter().rev())?;
        let blocks = tiles[0] * tiles[1] * others.count();
        let params = TransposeParams {
            others,
            x_last: x_last as u64,
            y_near: y_near as u64,
            last: cx.u32(last_size)?,
            near: cx.u32(near_size)?,
            tiles_last: DivisorParams::new(cx, tiles[0], blocks)?,
            tiles_near: DivisorParams::new(cx, tiles[1], blocks)?,
        };
        cx.launch(kernel, Grid::blocks([blocks, 1, 1]), &[x.into(), y.into()], &params)
    }
}
