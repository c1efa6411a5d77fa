//! 16-bit floats on the CPU: operations compute in `f32`, so operands are widened before they run and results rounded
//! after, to the nearest, ties to even.

use super::{In, Out, Scratch};
use crate::{DType, error::Result, ops::elementwise::in_parallel};
use half::slice::HalfFloatSliceExt;
use smallvec::SmallVec;

/// `x` as `f32`, exactly.
pub(crate) fn widen<T: Sync>(x: &[T], y: &mut [f32])
where
    [T]: HalfFloatSliceExt,
{
    in_parallel(y, 1, |start, y| x[start..start + y.len()].convert_to_f32_slice(y));
}

/// `x` in 16 bits: rounded to the nearest, ties to even; infinite where it is too large; NaN stays NaN.
pub(crate) fn narrow<T: Send>(x: &[f32], y: &mut [T])
where
    [T]: HalfFloatSliceExt,
{
    in_parallel(y, 1, |start, y| y.convert_from_f32_slice(&x[start..start + y.len()]));
}

/// Calls `run`, the arm of an operation that computes in `f32`, with operands of f16 widened, and rounds its results where
/// they are to be f16. Operands and results of other types are handed on.
pub(crate) fn widened(
    op: &'static str,
    ins: &[In],
    outs: &mut [Out],
    run: impl FnOnce(&[In], &mut [Out]) -> Result<()>,
) -> Result<()> {
    let half = |dtype| dtype == DType::F16;
    if !ins.iter().any(|x| half(x.dtype)) && !outs.iter().any(|y| half(y.dtype)) {
        return run(ins, outs);
    }
    let of = |is_half, len| if is_half { Scratch::<f32>::new(len, op).map(Some) } else { Ok(None) };
    let mut operands: SmallVec<[Option<Scratch<f32>>; 8]> = SmallVec::new();
    for x in ins {
        let mut wide = of(half(x.dtype), x.dims.elements())?;
        if let Some(wide) = &mut wide {
            widen(x.get::<half::f16>()?, wide);
        }
        operands.push(wide);
    }
    let views: SmallVec<[In; 8]> = ins.iter().zip(&operands).map(|(x, wide)| wide_in(*x, wide)).collect();
    let mut results: SmallVec<[Option<Scratch<f32>>; 4]> =
        outs.iter().map(|y| of(half(y.dtype), y.dims.elements())).collect::<Result<_>>()?;
    let mut wide_outs: SmallVec<[Out; 4]> =
        outs.iter_mut().zip(&mut results).map(|(y, wide)| wide_out(y, wide)).collect();
    run(&views, &mut wide_outs)?;
    drop(wide_outs);
    for (y, wide) in outs.iter_mut().zip(&results) {
        if let Some(wide) = wide {
            narrow(wide, y.get::<half::f16>()?);
        }
    }
    Ok(())
}

fn wide_in<'a>(x: In<'a>, wide: &'a Option<Scratch<f32>>) -> In<'a> {
    match wide {
        Some(wide) => In { dtype: DType::F32, bytes: bytemuck::cast_slice(wide), ..x },
        None => x,
    }
}

fn wide_out<'a>(y: &'a mut Out, wide: &'a mut Option<Scratch<f32>>) -> Out<'a> {
    match wide {
        Some(wide) => Out { dims: y.dims, dtype: DType::F32, bytes: bytemuck::cast_slice_mut(wide) },
        None => Out { dims: y.dims, dtype: y.dtype, bytes: y.bytes },
    }
}
