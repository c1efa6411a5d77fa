//! Conversions on CUDA: `kernels/convert/convert.cu`.

use super::Convert;
use crate::{
    DType,
    cuda::{
        CONVERT_BF16_BF16, CONVERT_BF16_F16, CONVERT_BF16_F32, CONVERT_F16_BF16, CONVERT_F16_F16,
        CONVERT_F16_F32, CONVERT_F32_BF16, CONVERT_F32_F16, CONVERT_F32_F32, Cx, Grid, In, Kernel, Out,
    },
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ConvertParams {
    count: u64,
}

/// By the numbers of both types.
const KERNELS: [[Kernel; 3]; 3] = [
    [CONVERT_F32_F32, CONVERT_F32_F16, CONVERT_F32_BF16],
    [CONVERT_F16_F32, CONVERT_F16_F16, CONVERT_F16_BF16],
    [CONVERT_BF16_F32, CONVERT_BF16_F16, CONVERT_BF16_BF16],
];

fn number(dtype: DType) -> usize {
    match dtype {
        DType::F16 => 1,
        DType::BF16 => 2,
        _ => 0,
    }
}

impl Convert {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let count = y.dims.elements();
        let params = ConvertParams { count: count as u64 };
        let kernel = KERNELS[number(x.dtype)][number(y.dtype)];
        cx.launch(kernel, Grid::elements(count), &[x.into(), y.into()], &params)
    }
}
