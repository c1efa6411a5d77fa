//! Conversions on the CPU.

use super::Convert;
use crate::{
    DType,
    cpu::{In, Out, narrow, widen},
    error::Result,
    ops::elementwise::in_parallel,
};
use half::{bf16, f16};

impl Convert {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (x, y) = (&ins[0], &mut outs[0]);
        match (x.dtype, y.dtype) {
            (DType::F16, DType::F32) => widen(x.get::<f16>()?, y.f32()?),
            (DType::BF16, DType::F32) => widen(x.get::<bf16>()?, y.f32()?),
            (DType::F32, DType::F16) => narrow(x.f32()?, y.get::<f16>()?),
            (DType::F32, DType::BF16) => narrow(x.f32()?, y.get::<bf16>()?),
            (DType::F16, DType::BF16) => {
                let x = x.get::<f16>()?;
                each(x, y.get::<bf16>()?, |x| bf16::from_f32(x.to_f32()));
            }
            (DType::BF16, DType::F16) => {
                let x = x.get::<bf16>()?;
                each(x, y.get::<f16>()?, |x| f16::from_f32(x.to_f32()));
            }
            _ => y.bytes.copy_from_slice(x.bytes),
        }
        Ok(())
    }
}

fn each<T: Copy + Sync, U: Send>(x: &[T], y: &mut [U], f: impl Fn(T) -> U + Sync) {
    in_parallel(y, 1, |start, y| y.iter_mut().zip(&x[start..]).for_each(|(y, x)| *y = f(*x)));
}
