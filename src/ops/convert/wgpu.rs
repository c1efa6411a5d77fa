//! Conversions through wgpu. The kernel works on words, so any adapter will do, and every one rounds alike.

use super::Convert;
use crate::{
    DType,
    error::Result,
    wgpu::{Cx, In, Out},
};

mod kernels {
    crate::wgpu_params! {
        pub(super) struct ConvertParams { x_first: u32, y_first: u32, count: u32 }
    }
    crate::wgpu_kernel! {
        op: "convert", texts: ["common/grid", "convert/convert"], params: ConvertParams, tuning: [THREADS, FROM, TO],
        WORDS = "convert", tried with [[128, 0, 1], [128, 1, 0], [128, 2, 1]];
    }
}

const THREADS: u32 = 128;

/// The kernel's number of a float type.
fn number(dtype: DType) -> u32 {
    match dtype {
        DType::F16 => 1,
        DType::BF16 => 2,
        _ => 0,
    }
}

/// `y = x`, each in the type of its view.
pub(in crate::ops) fn convert(cx: &Cx, x: &In, y: &Out) -> Result<()> {
    let tuning = [THREADS, number(x.dtype), number(y.dtype)];
    let per_word = 4 / y.dtype.size();
    cx.each_run([x, y], 1, |count, slices| {
        let [x_first, y_first] = slices.map(|slice| slice.first);
        let params = kernels::ConvertParams { x_first, y_first, count: count as u32 };
        let words = (y_first as usize % per_word + count).div_ceil(per_word);
        cx.launch(&kernels::WORDS, &tuning, &params, &slices, cx.groups(words.div_ceil(THREADS as usize))?)
    })
}

impl Convert {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        convert(cx, &ins[0], &outs[0])
    }
}
