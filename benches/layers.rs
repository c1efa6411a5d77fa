//! The small layers: batch norm, pooling, linear, softmax and layer norm.

use crate::support::{Call, Case, between, device, many, one, uniform};
use foveate::{
    Result, Tensor,
    device::{run, run1},
    ops::{
        self, BatchNormConfig, BatchNormTensors, MatMul,
        batch_norm::{BatchNorm, BatchNormGrad},
        pool::{MaxPool2d, MaxPool2dGrad},
    },
};

/// weight, bias, running mean and running variance (c).
fn norm_tensors(c: usize) -> Result<[Tensor; 4]> {
    let constant = |value: f32| Tensor::full(value, [c], &device());
    Ok([uniform("w", [c])?, uniform("b", [c])?, constant(0.0)?, constant(1.0)?])
}

/// Batch statistics; the new running estimates are computed and dropped.
fn norm_forward(n: usize, c: usize, side: usize) -> Result<Call> {
    let (x, [weight, bias, mean, var]) = (uniform("x", [n, c, side, side])?, norm_tensors(c)?);
    one(move || {
        let tensors =
            BatchNormTensors { weight: &weight, bias: &bias, running_mean: &mean, running_var: &var };
        Ok(ops::batch_norm(&x, None, &tensors, BatchNormConfig::default())?.0)
    })
}

/// Gradients of x, weight and bias from saved statistics.
fn norm_backward(n: usize, c: usize, side: usize) -> Result<Call> {
    let (x, [weight, bias, mean, var]) = (uniform("x", [n, c, side, side])?, norm_tensors(c)?);
    let dy = uniform("grad", [n, c, side, side])?;
    let saved = run(&BatchNorm(BatchNormConfig::default()), &[&x, &weight, &bias, &mean, &var])?;
    let (mean, inv_std) = (saved[3].clone(), saved[4].clone());
    let op = BatchNormGrad { training: true, relu: false };
    many(move || Ok(run(&op, &[&dy, &x, &weight, &bias, &mean, &inv_std])?.into_vec()))
}

const POOL: MaxPool2d = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };

/// With the codes that backward needs.
fn pool_forward(n: usize) -> Result<Call> {
    let x = uniform("x", [n, 64, 25, 25])?;
    one(move || ops::max_pool2d(&x, POOL.kernel, POOL.stride, POOL.padding))
}

fn pool_backward(n: usize) -> Result<Call> {
    let (x, dy) = (uniform("x", [n, 64, 25, 25])?, uniform("grad", [n, 64, 13, 13])?);
    let codes = run(&POOL, &[&x])?[1].clone();
    let op = MaxPool2dGrad { pool: POOL, image: [25, 25] };
    one(move || run1(&op, &[&dy, &codes]))
}

fn global_pool(n: usize) -> Result<Call> {
    let x = uniform("x", [n, 128, 7, 7])?;
    one(move || ops::global_avg_pool(&x))
}

fn linear_forward(n: usize, inputs: usize, outputs: usize) -> Result<Call> {
    let (x, weight) = (uniform("x", [n, inputs])?, uniform("weight", [outputs, inputs])?);
    let bias = uniform("bias", [outputs])?;
    one(move || ops::linear(&x, &weight, Some(&bias)))
}

/// Gradients of x, weight and bias, without a tape around them.
fn linear_backward(n: usize, inputs: usize, outputs: usize) -> Result<Call> {
    let (x, weight) = (uniform("x", [n, inputs])?, uniform("weight", [outputs, inputs])?);
    let dy = uniform("grad", [n, outputs])?;
    let transposed = MatMul { transpose_a: true, ..MatMul::default() };
    many(move || {
        Ok(vec![ops::matmul(&dy, &weight)?, ops::matmul_with(transposed, &dy, &x)?, ops::sum(&dy, &[0])?])
    })
}

fn softmax(rows: usize, columns: usize) -> Result<Call> {
    let x = between("x", [rows, columns], -4.0, 4.0)?;
    one(move || ops::softmax(&x, -1))
}

fn layer_norm(n: usize, width: usize) -> Result<Call> {
    let (x, weight, bias) =
        (uniform("x", [n, width])?, uniform("weight", [width])?, uniform("bias", [width])?);
    one(move || ops::layer_norm(&x, Some((&weight, &bias)), 1e-6))
}

/// Of so many patches, where they are images.
pub(crate) fn cases(n: usize) -> Vec<Case> {
    [images(n), rows()].into_iter().flatten().collect()
}

fn images(n: usize) -> Vec<Case> {
    let norm = |side: usize| format!("training, {n}x64x{side}x{side}");
    let pool = format!("3x3 stride 2 padding 1, {n}x64x25x25");
    vec![
        Case::new("batch_norm/64-25/forward", &norm(25), move || norm_forward(n, 64, 25)),
        Case::new("batch_norm/64-25/backward", &norm(25), move || norm_backward(n, 64, 25)),
        Case::new("batch_norm/64-13/forward", &norm(13), move || norm_forward(n, 64, 13)),
        Case::new("batch_norm/64-13/backward", &norm(13), move || norm_backward(n, 64, 13)),
        Case::new("max_pool2d/forward", &pool, move || pool_forward(n)),
        Case::new("max_pool2d/backward", &pool, move || pool_backward(n)),
        Case::new("global_avg_pool/forward", &format!("{n}x128x7x7"), move || global_pool(n)),
    ]
}

fn rows() -> Vec<Case> {
    let large = 1600 * 128 * 128;
    vec![
        Case::new("linear/1600-128-128/forward", "1600x128 -> 128", || linear_forward(1600, 128, 128))
            .flops(2 * large),
        Case::new("linear/1600-128-128/backward", "1600x128 -> 128, all gradients", || {
            linear_backward(1600, 128, 128)
        })
        .flops(4 * large),
        Case::new("linear/64-128-512/forward", "64x128 -> 512", || linear_forward(64, 128, 512))
            .flops(2 * 64 * 128 * 512),
        Case::new("softmax/512-200", "512 rows of 200", || softmax(512, 200)),
        Case::new("softmax/16-32400", "16 rows of 32400", || softmax(16, 32_400)),
        Case::new("layer_norm/64-128", "64 rows of 128", || layer_norm(64, 128)),
        Case::new("layer_norm/3200-128", "3200 rows of 128", || layer_norm(3200, 128)),
    ]
}
