//! Functions of one and of two numbers on CUDA: `kernels/elementwise/elementwise.cu`.

use crate::{
    cuda::{
        ADD_F32, ADD_RELU_F32, Cx, DIV_F32, EXP_F32, EXP_GRAD_F32, Grid, In, Kernel, LOG_F32, LOG_GRAD_F32,
        MUL_F32, Out, RELU_F32, RELU_GRAD_F32, SCALE_F32, SIGMOID_F32, SIGMOID_GRAD_F32, SQRT_F32,
        SQRT_GRAD_F32, SQUARE_F32, SQUARE_GRAD_F32, SUB_F32, SWISH_F32, SWISH_GRAD_F32, TANH_F32,
        TANH_GRAD_F32, WalkParams,
    },
    device::walk::broadcast,
    error::Result,
};
use bytemuck::NoUninit;

/// By [`Function::NUMBER`](super::Function::NUMBER).
const UNARY: [Kernel; 8] =
    [RELU_F32, TANH_F32, SIGMOID_F32, EXP_F32, LOG_F32, SWISH_F32, SQRT_F32, SQUARE_F32];
/// Their gradients.
const UNARY_GRAD: [Kernel; 8] = [
    RELU_GRAD_F32,
    TANH_GRAD_F32,
    SIGMOID_GRAD_F32,
    EXP_GRAD_F32,
    LOG_GRAD_F32,
    SWISH_GRAD_F32,
    SQRT_GRAD_F32,
    SQUARE_GRAD_F32,
];
/// By [`Kind::NUMBER`](super::Kind::NUMBER).
const BINARY: [Kernel; 5] = [ADD_F32, SUB_F32, MUL_F32, DIV_F32, ADD_RELU_F32];

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct UnaryParams {
    count: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ScaleParams {
    count: u64,
    factor: f32,
    shift: f32,
}

/// `y = f(x)`.
pub(super) fn map(cx: &Cx, function: u32, x: &In, y: &Out) -> Result<()> {
    let count = y.dims.elements();
    let params = UnaryParams { count: count as u64 };
    cx.launch(cx.numbered(&UNARY, function)?, Grid::elements(count), &[x.into(), y.into()], &params)
}

/// `dx = f'(v) dy`.
pub(super) fn map_grad(cx: &Cx, function: u32, dy: &In, v: &In, dx: &Out) -> Result<()> {
    let count = dx.dims.elements();
    let params = UnaryParams { count: count as u64 };
    let pointers = [dy.into(), v.into(), dx.into()];
    cx.launch(cx.numbered(&UNARY_GRAD, function)?, Grid::elements(count), &pointers, &params)
}

/// `y = factor · x + shift`.
pub(super) fn scale(cx: &Cx, [factor, shift]: [f64; 2], x: &In, y: &Out) -> Result<()> {
    let count = y.dims.elements();
    let params = ScaleParams { count: count as u64, factor: factor as f32, shift: shift as f32 };
    cx.launch(SCALE_F32, Grid::elements(count), &[x.into(), y.into()], &params)
}

/// `y = f(a, b)` with broadcasting.
pub(super) fn zip(cx: &Cx, function: u32, a: &In, b: &In, y: &Out) -> Result<()> {
    let params = WalkParams::new(cx, broadcast(y.dims, a.dims, b.dims))?;
    let grid = Grid::elements(params.count());
    cx.launch(cx.numbered(&BINARY, function)?, grid, &[a.into(), b.into(), y.into()], &params)
}
