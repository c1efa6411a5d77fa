//! Losses and the entropy through wgpu. Gradients larger than a binding are cut into runs of rows or elements.

use super::{
    Reduction,
    class::ClassKind,
    entropy::{Entropy, EntropyGrad},
    pair::{Operand, PairKind},
};
use crate::{
    error::Result,
    wgpu::{Cx, In, Out, ROW_THREADS, View, lanes, row_groups, times},
};
use std::ops::Range;

const THREADS: usize = 128;
/// Elements of a part of a sum of pairs.
const PART: usize = 4096;

mod class {
    crate::wgpu_params! {
        pub(super) struct ClassLossParams {
            x_first: u32, t_first: u32, weights_first: u32, dy_first: u32, y_first: u32, rows: u32, classes: u32,
            first_row: u32, rows_here: u32, factor: f32, eps: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "class_loss", texts: ["common/grid", "common/exp", "common/math", "losses/class"], params: ClassLossParams,
        tuning: [FUNCTION, WEIGHTS, DIVIDE],
        LOSS = "class_loss_f32", tried with [[0, 0, 0], [1, 1, 1]];
        GRAD = "class_loss_grad_f32", tried with [[0, 0, 0], [1, 1, 1]];
    }
}

mod pair {
    crate::wgpu_params! {
        pub(super) struct PairLossParams {
            x_first: u32, t_first: u32, dy_first: u32, y_first: u32, count: u32, part: u32, factor: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "pair_loss", texts: ["common/grid", "common/exp", "common/math", "losses/pair"], params: PairLossParams,
        tuning: [FUNCTION, OF_T],
        PARTS = "pair_loss_parts_f32", tried with [[0, 0], [1, 0], [2, 0]];
        SUM = "pair_loss_sum_f32", tried with [[0, 0]];
        GRAD = "pair_loss_grad_f32", tried with [[0, 0], [1, 1], [2, 0]];
    }
}

mod rows {
    crate::wgpu_params! {
        pub(super) struct EntropyParams { p_first: u32, dh_first: u32, y_first: u32, rows: u32, size: u32, eps: f32 }
    }
    crate::wgpu_kernel! {
        op: "entropy", texts: ["common/grid", "common/exp", "common/math", "common/lanes", "losses/entropy"],
        params: EntropyParams, tuning: [THREADS, LANES],
        ENTROPY = "entropy_f32", tried with [[128, 1], [128, 128]];
        GRAD = "entropy_grad_f32", tried with [[128, 1]];
    }
}

/// Number of rows and of classes, the factor of the loss, and the tuning constants.
fn class_settings<K: ClassKind>(reduction: Reduction, ins: &[In]) -> (usize, usize, f32, [u32; 3]) {
    let (rows, classes) = (ins[1].dims.elements(), ins[0].dims[ins[0].dims.rank() - 1]);
    let (weighted, mean) = (ins.len() > 2, reduction == Reduction::Mean);
    let factor = if mean && !weighted { (1.0 / rows as f64) as f32 } else { 1.0 };
    (rows, classes, factor, [K::NUMBER, weighted.into(), (mean && weighted).into()])
}

/// scores, classes[, weights] -> loss
pub(super) fn class_loss<K: ClassKind>(
    cx: &Cx,
    kind: &K,
    reduction: Reduction,
    ins: &[In],
    loss: &Out,
) -> Result<()> {
    let (rows, classes, factor, tuning) = class_settings::<K>(reduction, ins);
    let x = cx.bind(&ins[0])?;
    let slices = [x, cx.bind(&ins[1])?, cx.bind(ins.get(2).unwrap_or(&ins[0]))?, cx.bind(loss)?];
    let params = class::ClassLossParams {
        x_first: x.first,
        t_first: slices[1].first,
        weights_first: slices[2].first,
        dy_first: 0,
        y_first: slices[3].first,
        rows: rows as u32,
        classes: classes as u32,
        first_row: 0,
        rows_here: rows as u32,
        factor: if rows == 0 && reduction == Reduction::Mean { f32::NAN } else { factor },
        eps: kind.eps() as f32,
    };
    cx.launch(&class::LOSS, &tuning, &params, &slices, [1, 1, 1])
}

/// dy, scores, classes[, weights] -> dscores
pub(super) fn class_loss_grad<K: ClassKind>(
    cx: &Cx,
    kind: &K,
    reduction: Reduction,
    ins: &[In],
    dx: &Out,
) -> Result<()> {
    let (dy, x) = (&ins[0], &ins[1]);
    let (rows, classes, factor, tuning) = class_settings::<K>(reduction, &ins[1..]);
    for run in cx.cut(rows, |run| [(*x, times(run, classes)), (*dx, times(run, classes))])? {
        let slices = [
            cx.bind_range(x, times(&run, classes))?,
            cx.bind(&ins[2])?,
            cx.bind(ins.get(3).unwrap_or(dy))?,
            cx.bind(dy)?,
            cx.bind_range(dx, times(&run, classes))?,
        ];
        let params = class::ClassLossParams {
            x_first: slices[0].first,
            t_first: slices[1].first,
            weights_first: slices[2].first,
            dy_first: slices[3].first,
            y_first: slices[4].first,
            rows: rows as u32,
            classes: classes as u32,
            first_row: run.start as u32,
            rows_here: run.len() as u32,
            factor,
            eps: kind.eps() as f32,
        };
        cx.launch(&class::GRAD, &tuning, &params, &slices, cx.groups(run.len().div_ceil(THREADS))?)?;
    }
    Ok(())
}

/// Bytes for the sums of the parts of `count` pairs.
pub(super) fn pair_scratch(count: usize) -> usize {
    count.div_ceil(PART).max(1) * 4
}

/// x, t -> factor times the sum of the losses
pub(super) fn pair_loss<K: PairKind>(cx: &Cx, factor: f64, ins: &[In], loss: &Out) -> Result<()> {
    let (x, t) = (&ins[0], &ins[1]);
    let count = x.dims.elements();
    let parts = count.div_ceil(PART);
    let sums = View { dims: [parts].into(), ..cx.scratch()? };
    let of = |run: &Range<usize>| run.start * PART..(run.end * PART).min(count);
    for run in cx.cut(parts, |run| [(*x, of(run)), (*t, of(run))])? {
        let slices =
            [cx.bind_range(x, of(&run))?, cx.bind_range(t, of(&run))?, cx.bind_range(&sums, run.clone())?];
        let params = pair::PairLossParams {
            x_first: slices[0].first,
            t_first: slices[1].first,
            dy_first: 0,
            y_first: slices[2].first,
            count: of(&run).len() as u32,
            part: PART as u32,
            factor: 1.0,
        };
        cx.launch(&pair::PARTS, &[K::NUMBER, 0], &params, &slices, cx.groups(run.len())?)?;
    }
    let slices = [cx.bind(&sums)?, cx.bind(loss)?];
    let params = pair::PairLossParams {
        x_first: slices[0].first,
        t_first: 0,
        dy_first: 0,
        y_first: slices[1].first,
        count: parts as u32,
        part: PART as u32,
        factor: if factor.is_finite() { factor as f32 } else { f32::NAN },
    };
    cx.launch(&pair::SUM, &[0, 0], &params, &slices, [1, 1, 1])
}

/// dy, x, t -> the gradient of one of the operands
pub(super) fn pair_loss_grad<K: PairKind>(
    cx: &Cx,
    factor: f64,
    of: Operand,
    ins: &[In],
    to: &Out,
) -> Result<()> {
    let (dy, x, t) = (&ins[0], &ins[1], &ins[2]);
    let tuning = [K::NUMBER, (of == Operand::T).into()];
    for run in cx.cut(x.dims.elements(), |run| [(*x, run.clone()), (*t, run.clone()), (*to, run.clone())])? {
        let slices = [
            cx.bind_range(x, run.clone())?,
            cx.bind_range(t, run.clone())?,
            cx.bind(dy)?,
            cx.bind_range(to, run.clone())?,
        ];
        let params = pair::PairLossParams {
            x_first: slices[0].first,
            t_first: slices[1].first,
            dy_first: slices[2].first,
            y_first: slices[3].first,
            count: run.len() as u32,
            part: 0,
            factor: factor as f32,
        };
        cx.launch(&pair::GRAD, &tuning, &params, &slices, cx.groups(run.len().div_ceil(THREADS))?)?;
    }
    Ok(())
}

/// Rows of p and their size.
fn entropy_sizes(p: &View) -> (usize, usize) {
    let size = p.dims[p.dims.rank() - 1];
    (p.dims[..p.dims.rank() - 1].iter().product(), size)
}

impl Entropy {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (p, h) = (&ins[0], &outs[0]);
        let (rows, size) = entropy_sizes(p);
        let lanes = lanes(size, 1);
        for run in cx.cut(rows, |run| [(*p, times(run, size))])? {
            let slices = [cx.bind_range(p, times(&run, size))?, cx.bind_range(h, run.clone())?];
            let params = rows::EntropyParams {
                p_first: slices[0].first,
                dh_first: 0,
                y_first: slices[1].first,
                rows: run.len() as u32,
                size: size as u32,
                eps: self.eps as f32,
            };
            let groups = cx.groups(row_groups(run.len(), lanes))?;
            cx.launch(&rows::ENTROPY, &[ROW_THREADS, lanes], &params, &slices, groups)?;
        }
        Ok(())
    }
}

impl EntropyGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dh, p, dp) = (&ins[0], &ins[1], &outs[0]);
        let (rows, size) = entropy_sizes(p);
        if size == 0 {
            return Ok(());
        }
        for run in cx.cut(rows, |run| [(*p, times(run, size)), (*dp, times(run, size))])? {
            let slices = [
                cx.bind_range(p, times(&run, size))?,
                cx.bind_range(dh, run.clone())?,
                cx.bind_range(dp, times(&run, size))?,
            ];
            let params = rows::EntropyParams {
                p_first: slices[0].first,
                dh_first: slices[1].first,
                y_first: slices[2].first,
                rows: run.len() as u32,
                size: size as u32,
                eps: self.eps as f32,
            };
            let groups = cx.groups(times(&run, size).len().div_ceil(ROW_THREADS as usize))?;
            cx.launch(&rows::GRAD, &[ROW_THREADS, 1], &params, &slices, groups)?;
        }
        Ok(())
    }
}
