//! Losses and the entropy on CUDA: `kernels/losses/losses.cu`.

use super::{
    Reduction,
    class::ClassKind,
    entropy::{Entropy, EntropyGrad},
    pair::{Operand, PairKind},
};
use crate::{
    cuda::{
        Argument, BCE_GRAD_F32, BCE_PARTS_F32, BCE_WITH_LOGITS_GRAD_F32, BCE_WITH_LOGITS_PARTS_F32,
        CROSS_ENTROPY_F32, CROSS_ENTROPY_GRAD_F32, Cx, DivisorParams, ENTROPY_1_F32, ENTROPY_8_F32,
        ENTROPY_32_F32, ENTROPY_1024_F32, ENTROPY_GRAD_F32, Grid, In, Kernel, MSE_GRAD_F32, MSE_PARTS_F32,
        NLL_F32, NLL_GRAD_F32, Out, PAIR_LOSS_SUM_F32, by_row,
    },
    error::Result,
};
use bytemuck::NoUninit;

/// By [`ClassKind::NUMBER`].
const CLASS: [Kernel; 2] = [CROSS_ENTROPY_F32, NLL_F32];
const CLASS_GRAD: [Kernel; 2] = [CROSS_ENTROPY_GRAD_F32, NLL_GRAD_F32];
/// By [`PairKind::NUMBER`].
const PAIR: [Kernel; 3] = [BCE_WITH_LOGITS_PARTS_F32, BCE_PARTS_F32, MSE_PARTS_F32];
const PAIR_GRAD: [Kernel; 3] = [BCE_WITH_LOGITS_GRAD_F32, BCE_GRAD_F32, MSE_GRAD_F32];
const ENTROPY: [Kernel; 4] = [ENTROPY_1_F32, ENTROPY_8_F32, ENTROPY_32_F32, ENTROPY_1024_F32];

/// Elements of a part of a sum of pairs: a fixed number, so that the order of summation follows from the shape alone.
const PART: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ClassLossParams {
    rows: u64,
    classes: u32,
    divide: u32,
    factor: f32,
    eps: f32,
}

impl ClassLossParams {
    /// For scores, classes and, if there are any, weights.
    fn new<K: ClassKind>(cx: &Cx, kind: &K, reduction: Reduction, ins: &[In]) -> Result<Self> {
        let (rows, classes) = (ins[1].dims.elements(), ins[0].dims[ins[0].dims.rank() - 1]);
        let (weighted, mean) = (ins.len() > 2, reduction == Reduction::Mean);
        let factor = match (mean, weighted) {
            (true, false) => 1.0 / rows as f64,
            _ => 1.0,
        };
        Ok(ClassLossParams {
            rows: rows as u64,
            classes: cx.u32(classes)?,
            divide: (mean && weighted).into(),
            factor: if rows == 0 && mean { f32::NAN } else { factor as f32 },
            eps: kind.eps() as f32,
        })
    }
}

/// scores, classes[, weights] -> loss
pub(super) fn class_loss<K: ClassKind>(
    cx: &Cx,
    kind: &K,
    reduction: Reduction,
    ins: &[In],
    loss: &Out,
) -> Result<()> {
    let params = ClassLossParams::new(cx, kind, reduction, ins)?;
    let weights = ins.get(2).map_or(Argument::NONE, Argument::from);
    let pointers = [(&ins[0]).into(), (&ins[1]).into(), weights, loss.into()];
    cx.launch(cx.numbered(&CLASS, K::NUMBER)?, Grid::blocks([1; 3]), &pointers, &params)
}

/// dy, scores, classes[, weights] -> dscores
pub(super) fn class_loss_grad<K: ClassKind>(
    cx: &Cx,
    kind: &K,
    reduction: Reduction,
    ins: &[In],
    dx: &Out,
) -> Result<()> {
    let params = ClassLossParams::new(cx, kind, reduction, &ins[1..])?;
    let weights = ins.get(3).map_or(Argument::NONE, Argument::from);
    let pointers = [(&ins[0]).into(), (&ins[1]).into(), (&ins[2]).into(), weights, dx.into()];
    let kernel = cx.numbered(&CLASS_GRAD, K::NUMBER)?;
    // A warp has a row.
    let grid = Grid::over(params.rows as usize, kernel.threads as usize / 32);
    cx.launch(kernel, grid, &pointers, &params)
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PairLossParams {
    count: u64,
    part: u64,
    of_t: u32,
    factor: f32,
}

/// Bytes for the sums of the parts of `count` pairs, if there are several.
pub(super) fn pair_scratch(count: usize) -> usize {
    if count <= PART { 0 } else { count.div_ceil(PART) * size_of::<f32>() }
}

/// x, t -> factor times the sum of the losses
pub(super) fn pair_loss<K: PairKind>(cx: &Cx, factor: f64, ins: &[In], loss: &Out) -> Result<()> {
    let (x, t, count) = (Argument::from(&ins[0]), (&ins[1]).into(), ins[0].dims.elements());
    let parts = count.div_ceil(PART).max(1);
    let factor = if factor.is_finite() { factor as f32 } else { f32::NAN };
    let all = PairLossParams { count: count as u64, part: PART as u64, of_t: 0, factor };
    let (to, params): (Argument, _) =
        if parts == 1 { (loss.into(), all) } else { (cx.scratch(), PairLossParams { factor: 1.0, ..all }) };
    let kernel = cx.numbered(&PAIR, K::NUMBER)?;
    cx.launch(kernel, Grid::blocks([parts, 1, 1]), &[x, t, to], &params)?;
    if parts == 1 {
        return Ok(());
    }
    let params = PairLossParams { count: parts as u64, ..all };
    cx.launch(PAIR_LOSS_SUM_F32, Grid::blocks([1; 3]), &[to, loss.into()], &params)
}

/// dy, x, t -> the gradient of one of the operands
pub(super) fn pair_loss_grad<K: PairKind>(
    cx: &Cx,
    factor: f64,
    of: Operand,
    ins: &[In],
    to: &Out,
) -> Result<()> {
    let count = to.dims.elements();
    let params = PairLossParams {
        count: count as u64,
        part: 0,
        of_t: (of == Operand::T).into(),
        factor: factor as f32,
    };
    let pointers = [(&ins[0]).into(), (&ins[1]).into(), (&ins[2]).into(), to.into()];
    cx.launch(cx.numbered(&PAIR_GRAD, K::NUMBER)?, Grid::elements(count), &pointers, &params)
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct EntropyParams {
    rows: u64,
    size: DivisorParams,
    eps: f32,
    padding: u32,
}

impl EntropyParams {
    /// For p (.., K); with the numbers of its rows and of the elements of a row.
    fn new(cx: &Cx, p: &In, eps: f64) -> Result<(Self, usize, usize)> {
        let (rows, size, _) = p.dims.around(p.dims.rank() - 1);
        let divisor = DivisorParams::new(cx, size, rows * size)?;
        Ok((EntropyParams { rows: rows as u64, size: divisor, eps: eps as f32, padding: 0 }, rows, size))
    }
}

impl Entropy {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (params, rows, size) = EntropyParams::new(cx, &ins[0], self.eps)?;
        if size == 0 {
            return crate::ops::view::cuda::zero(cx, &outs[0]);
        }
        let (kernel, grid) = by_row(&ENTROPY, rows, size, 1);
        cx.launch(kernel, grid, &[(&ins[0]).into(), (&outs[0]).into()], &params)
    }
}

impl EntropyGrad {
    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (params, rows, size) = EntropyParams::new(cx, &ins[1], self.eps)?;
        let pointers = [(&ins[0]).into(), (&ins[1]).into(), (&outs[0]).into()];
        cx.launch(ENTROPY_GRAD_F32, Grid::elements(rows * size), &pointers, &params)
    }
}
