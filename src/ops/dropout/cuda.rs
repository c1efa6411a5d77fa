//! Dropout on CUDA: `kernels/dropout/dropout.cu`, a thread per block of four random words.

use super::Dropout;
use crate::{
    cuda::{Cx, DROPOUT_F32, Grid, In, Out},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct DropoutParams {
    count: u64,
    first: u64,
    key_0: u32,
    key_1: u32,
    threshold: u32,
    scale: f32,
}

impl Dropout {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let count = ins[0].dims.elements();
        let params = DropoutParams {
            count: count as u64,
            first: self.words.first,
            key_0: self.words.key[0],
            key_1: self.words.key[1],
            threshold: self.threshold(),
            scale: self.scale() as f32,
        };
        let grid = Grid::over(count, 4 * DROPOUT_F32.threads as usize);
        cx.launch(DROPOUT_F32, grid, &[(&ins[0]).into(), (&outs[0]).into()], &params)
    }
}
