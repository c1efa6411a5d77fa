//! Results of a batch that are computed some rows at a time, each into its place.

use super::{Meta, Op, run, run_in_place};
use crate::{DType, error::Result, tensor::Tensor};
use smallvec::SmallVec;
use std::ops::Range;

/// The rows of a batch in so many runs, or fewer. The reference computation in `f64` takes them all at once.
pub(crate) fn runs(batch: usize, count: usize, dtype: DType) -> impl Iterator<Item = Range<usize>> {
    let each = if dtype == DType::F64 { batch } else { batch.div_ceil(count) }.max(1);
    (0..batch.div_ceil(each)).map(move |at| at * each..((at + 1) * each).min(batch))
}

/// Runs `op` on the rows `rows` of operands and writes its results there in `wholes`, of `batch` rows: they come to be with
/// the first rows. No other handle of them may exist, or they are copied.
pub(crate) fn run_rows<O: Op>(
    op: &O,
    rows: Range<usize>,
    batch: usize,
    wholes: &mut [Option<Tensor>],
    ins: &[&Tensor],
) -> Result<()> {
    if rows.len() == batch {
        wholes.iter_mut().zip(run(op, ins)?).for_each(|(whole, out)| *whole = Some(out));
        return Ok(());
    }
    let metas: SmallVec<[Meta; 4]> = ins.iter().map(|t| Meta { dims: t.dims, dtype: t.dtype }).collect();
    let mut views: SmallVec<[Tensor; 2]> = SmallVec::new();
    for (whole, meta) in wholes.iter_mut().zip(op.infer(&metas)?) {
        let whole = match whole.take() {
            Some(whole) => whole,
            None => Tensor::unwritten(meta.dims.with(0, batch), meta.dtype, &ins[0].device(), O::NAME)?,
        };
        let row: usize = meta.dims[1..].iter().product();
        views.push(Tensor { offset: rows.start * row, dims: meta.dims, ..whole });
    }
    run_in_place(op, &mut views.iter_mut().collect::<SmallVec<[&mut Tensor; 2]>>(), ins)?;
    for (whole, view) in wholes.iter_mut().zip(views) {
        *whole = Some(Tensor { offset: 0, dims: view.dims.with(0, batch), ..view });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::{self, pool::MaxPool2d},
        testing::{bits, on_each_device, random},
    };

    #[test]
    fn rows_one_after_another_make_the_whole() {
        let pool = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        let x = random([7, 3, 5, 7], 1);
        let want = run(&pool, &[&x]).unwrap();
        on_each_device(MaxPool2d::ARMS, |device| {
            let x = x.to_device(device).unwrap();
            let mut wholes = [None, None];
            for rows in runs(7, 3, DType::F32) {
                let part = ops::slice(&x, rows.clone()).unwrap();
                run_rows(&pool, rows, 7, &mut wholes, &[&part]).unwrap();
            }
            for (got, want) in wholes.iter().zip(&want) {
                assert_eq!(bits(got.as_ref().unwrap()), bits(want), "{device}");
            }
        });
        assert_eq!(runs(7, 3, DType::F32).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert!(runs(7, 3, DType::F64).eq(std::iter::once(0..7)));
        assert_eq!(runs(0, 3, DType::F32).count(), 0);
    }
}
