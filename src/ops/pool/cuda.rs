//! Window maxima on CUDA: `kernels/pool/pool.cu`.

use super::{MaxPool2d, MaxPool2dGrad};
use crate::{
    cuda::{Cx, DivisorParams, Grid, In, MAX_POOL2D_F32, MAX_POOL2D_GRAD_F32, Out},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct MaxPool2dParams {
    count: u64,
    rows: DivisorParams,
    cols: DivisorParams,
    stride_height: DivisorParams,
    stride_width: DivisorParams,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    top: u32,
    left: u32,
}

impl MaxPool2dParams {
    /// For a thread per element of planes of `rows` by `cols`, of which there are `count` elements.
    fn new(
        cx: &Cx,
        pool: &MaxPool2d,
        count: usize,
        [rows, cols]: [usize; 2],
        [image, output]: [[usize; 2]; 2],
    ) -> Result<Self> {
        // Places are counted in 32 bits, the padding included.
        let [height, width] = [0, 1].map(|axis| cx.u32(image[axis] + 2 * pool.padding[axis]));
        Ok(MaxPool2dParams {
            count: count as u64,
            rows: DivisorParams::new(cx, rows, count)?,
            cols: DivisorParams::new(cx, cols, count)?,
            stride_height: DivisorParams::new(cx, pool.stride[0], height? as usize)?,
            stride_width: DivisorParams::new(cx, pool.stride[1], width? as usize)?,
            height: cx.u32(image[0])?,
            width: cx.u32(image[1])?,
            out_height: cx.u32(output[0])?,
            out_width: cx.u32(output[1])?,
            kernel_height: cx.u32(pool.kernel[0])?,
            kernel_width: cx.u32(pool.kernel[1])?,
            top: cx.u32(pool.padding[0])?,
            left: cx.u32(pool.padding[1])?,
        })
    }
}

impl MaxPool2d {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y, codes) = (&ins[0], &outs[0], &outs[1]);
        let [image, output] = [x.dims, y.dims].map(|dims| [dims[2], dims[3]]);
        let count = y.dims.elements();
        let params = MaxPool2dParams::new(cx, self, count, output, [image, output])?;
        let grid = Grid::over(count, MAX_POOL2D_F32.threads as usize);
        cx.launch(MAX_POOL2D_F32, grid, &[x.into(), y.into(), codes.into()], &params)
    }
}

impl MaxPool2dGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, codes, dx) = (&ins[0], &ins[1], &outs[0]);
        let [image, output] = [dx.dims, dy.dims].map(|dims| [dims[2], dims[3]]);
        let count = dx.dims.elements();
        let params = MaxPool2dParams::new(cx, &self.pool, count, image, [image, output])?;
        let grid = Grid::over(count, MAX_POOL2D_GRAD_F32.threads as usize);
        cx.launch(MAX_POOL2D_GRAD_F32, grid, &[dy.into(), codes.into(), dx.into()], &params)
    }
}
