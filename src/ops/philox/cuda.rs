//! Philox on CUDA: `kernels/philox/philox.cu`, a thread per block of four words.

use super::{Philox, RandomWords};
use crate::{
    cuda::{Argument, Cx, Grid, In, Kernel, Out, PHILOX_U32, RANDOM_WORDS_U32},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PhiloxParams {
    count: u64,
    first: u64,
}

fn launch(cx: &Cx, kernel: Kernel, pointers: &[Argument], count: usize, first: u64) -> Result<()> {
    let grid = Grid::over(count, 4 * kernel.threads as usize);
    cx.launch(kernel, grid, pointers, &PhiloxParams { count: count as u64, first })
}

impl Philox {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let pointers = [(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()];
        launch(cx, PHILOX_U32, &pointers, outs[0].dims.elements(), 0)
    }
}

impl RandomWords {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        launch(cx, RANDOM_WORDS_U32, &[(&ins[0]).into(), (&outs[0]).into()], self.count, self.first)
    }
}
