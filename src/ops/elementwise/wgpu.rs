//! Launches of the functions of one and of two numbers. Tensors larger than a binding are cut into runs.

use crate::{
    error::Result,
    wgpu::{Cx, In, Out, Tuning, Walk, element, walk_params},
};

const THREADS: u32 = 128;
/// Elements of one thread.
const STEPS: u32 = 4;

mod unary_kernels {
    crate::wgpu_params! {
        pub(super) struct UnaryParams {
            x_first: u32, dy_first: u32, y_first: u32, count: u32, factor: f32, shift: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "unary", texts: ["common/grid", "common/exp", "common/math", "elementwise/unary"], params: UnaryParams,
        tuning: [THREADS, STEPS, FUNCTION, Element],
        F32 = "unary_f32", tried with [[128, 4, 0, 0], [128, 4, 1, 0], [128, 4, 4, 1], [128, 4, 8, 0]];
        GRAD = "unary_grad_f32", tried with [[128, 4, 0, 0], [128, 4, 5, 1]];
    }
}
use unary_kernels::UnaryParams;

walk_params! { struct BinaryParams { a_first, b_first, y_first, start, count } }

mod binary_kernels {
    crate::wgpu_kernel! {
        op: "binary", texts: ["common/grid", "common/walk", "elementwise/binary"], params: super::BinaryParams,
        tuning: [THREADS, STEPS, FUNCTION, AXES, Element],
        F32 = "binary_f32", tried with [[128, 4, 0, 1, 0], [128, 4, 4, 6, 1]];
    }
}

/// FUNCTION of `factor · x + shift`.
pub(super) const SCALE: u32 = 8;

/// `y = f(x)`.
pub(super) fn map(cx: &Cx, function: u32, [factor, shift]: [f64; 2], x: &In, y: &Out) -> Result<()> {
    cx.each_run([x, y], 1, |count, slices| {
        let params = UnaryParams {
            x_first: slices[0].first,
            dy_first: 0,
            y_first: slices[1].first,
            count: count as u32,
            factor: factor as f32,
            shift: shift as f32,
        };
        let groups = cx.groups(count.div_ceil((THREADS * STEPS) as usize))?;
        cx.launch(
            &unary_kernels::F32,
            &[THREADS, STEPS, function, element(y.dtype)],
            &params,
            &slices,
            groups,
        )
    })
}

/// `dx = f'(v) dy`.
pub(super) fn map_grad(cx: &Cx, function: u32, dy: &In, v: &In, dx: &Out) -> Result<()> {
    cx.each_run([v, dy, dx], 1, |count, slices| {
        let params = UnaryParams {
            x_first: slices[0].first,
            dy_first: slices[1].first,
            y_first: slices[2].first,
            count: count as u32,
            factor: 0.0,
            shift: 0.0,
        };
        let groups = cx.groups(count.div_ceil((THREADS * STEPS) as usize))?;
        cx.launch(
            &unary_kernels::GRAD,
            &[THREADS, STEPS, function, element(dx.dtype)],
            &params,
            &slices,
            groups,
        )
    })
}

/// `y = f(a, b)` with broadcasting.
pub(super) fn zip(cx: &Cx, function: u32, a: &In, b: &In, y: &Out) -> Result<()> {
    let walk = Walk::broadcast(y.dims, a.dims, b.dims);
    let tuning: Tuning = &[THREADS, STEPS, function, walk.axes(), element(y.dtype)];
    // An operand of the result's shape is cut with it; one that is repeated is bound whole.
    let part = |operand: &In, run: &std::ops::Range<usize>| {
        if operand.dims.elements() == y.dims.elements() { run.clone() } else { 0..operand.dims.elements() }
    };
    for run in cx.cut(y.dims.elements(), |run| [(*a, part(a, run)), (*b, part(b, run)), (*y, run.clone())])? {
        let [from_a, from_b] = [part(a, &run), part(b, &run)];
        let slices = [
            cx.bind_range(a, from_a.clone())?,
            cx.bind_range(b, from_b.clone())?,
            cx.bind_range(y, run.clone())?,
        ];
        let params = BinaryParams {
            a_first: slices[0].first.wrapping_sub(from_a.start as u32),
            b_first: slices[1].first.wrapping_sub(from_b.start as u32),
            y_first: slices[2].first,
            start: run.start as u32,
            count: run.len() as u32,
            ..BinaryParams::along(&walk)
        };
        let groups = cx.groups(run.len().div_ceil((THREADS * STEPS) as usize))?;
        cx.launch(&binary_kernels::F32, tuning, &params, &slices, groups)?;
    }
    Ok(())
}
