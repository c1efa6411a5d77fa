//! The estimated expectation on CUDA: `kernels/expectation/expectation.cu`.

use super::{Estimator, Expectation, ExpectationGradAttention, ExpectationGradFeatures};
use crate::{
    cuda::{
        Cx, EXPECTATION_F32, EXPECTATION_GRAD_ATTENTION_F32, EXPECTATION_GRAD_FEATURES_F32, Grid, In, Out,
    },
    device::{Areas, Meta},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ExpectationParams {
    rows: u32,
    samples: u32,
    width: u32,
    kind: u32,
}

impl ExpectationParams {
    /// For B, K and D; which gradient matters for that of the attention alone.
    fn new(cx: &Cx, [b, k, d]: [usize; 3], replace: bool, estimator: Estimator) -> Result<Self> {
        let kind = match (replace, estimator) {
            (true, _) => 0,
            (false, Estimator::Official) => 1,
            (false, Estimator::Unbiased) => 2,
        };
        Ok(ExpectationParams { rows: cx.u32(b)?, samples: cx.u32(k)?, width: cx.u32(d)?, kind })
    }
}

impl Expectation {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = [0, 1, 2].map(|axis| ins[1].dims[axis]);
        let params = ExpectationParams::new(cx, sizes, self.replace, Estimator::default())?;
        let grid = Grid::over(outs[0].dims.elements(), EXPECTATION_F32.threads as usize);
        cx.launch(EXPECTATION_F32, grid, &[(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()], &params)
    }
}

impl ExpectationGradFeatures {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = [0, 1, 2].map(|axis| outs[0].dims[axis]);
        let params = ExpectationParams::new(cx, sizes, self.replace, Estimator::default())?;
        let kernel = EXPECTATION_GRAD_FEATURES_F32;
        let grid = Grid::over(ins[1].dims.elements(), kernel.threads as usize);
        cx.launch(kernel, grid, &[(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()], &params)
    }
}

impl ExpectationGradAttention {
    /// Bytes for the products with dy, and what the later samples of a row add to the earlier ones.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        Areas([ins[0].dims.elements(); 2]).bytes()
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = [0, 1, 2].map(|axis| ins[1].dims[axis]);
        let params = ExpectationParams::new(cx, sizes, self.replace, self.estimator)?;
        let [p, later] = Areas([ins[0].dims.elements(); 2]).arguments(cx);
        let [attention, features, dy] = [0, 1, 2].map(|at| (&ins[at]).into());
        let pointers = [attention, features, dy, (&outs[0]).into(), p, later];
        cx.launch(EXPECTATION_GRAD_ATTENTION_F32, Grid::blocks([sizes[0], 1, 1]), &pointers, &params)
    }
}
