//! Batch normalisation as plain loops.

use super::{BatchNormConfig, BatchNormGrad, Sizes};
use crate::spec::{In, Out, Real};

/// x (B, C, …), weight, bias, running_mean, running_var (C)[, residual] -> y, running_mean, running_var, mean, inv_std
pub(super) fn train<T: Real>(config: &BatchNormConfig, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [y, rest @ ..] = outs else { return };
    statistics(config, &ins[0], [&ins[3], &ins[4]], rest);
    let [_, _, mean, inv_std] = rest else { return };
    normalise(config.relu, ins, mean, inv_std, y);
}

/// x (B, C, …), running_mean, running_var (C) -> running_mean, running_var, mean, inv_std (C)
pub(super) fn statistics<T: Real>(
    config: &BatchNormConfig,
    x: &In<T>,
    running: [&In<T>; 2],
    outs: &mut [Out<T>],
) {
    let [new_mean, new_var, mean, inv_std] = outs else { return };
    let sizes = Sizes::of(x.dims);
    let n = T::of((sizes.batch * sizes.plane) as f64);
    let share = T::of(config.momentum);
    for c in 0..sizes.channels {
        let values = || elements(sizes, c).map(|i| x[i]);
        let m = values().fold(T::zero(), |sum, x| sum + x) / n;
        let squares = values().fold(T::zero(), |sum, x| sum + (x - m) * (x - m));
        mean[c] = m;
        inv_std[c] = T::one() / (squares / n + T::of(config.eps)).sqrt();
        new_mean[c] = (T::one() - share) * running[0][c] + share * m;
        new_var[c] = (T::one() - share) * running[1][c] + share * squares / (n - T::one());
    }
}

/// x (B, C, …), weight, bias, running_mean, running_var (C)[, residual] -> y, inv_std (C)
pub(super) fn eval<T: Real>(config: &BatchNormConfig, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [y, inv_std] = outs else { return };
    for (inv_std, &var) in inv_std.iter_mut().zip(ins[4].iter()) {
        *inv_std = T::one() / (var + T::of(config.eps)).sqrt();
    }
    normalise(config.relu, ins, &ins[3], inv_std, y);
}

/// x (B, C, …), weight, bias (C), and at 5 the residual -> y
pub(super) fn normalise<T: Real>(relu: bool, ins: &[In<T>], mean: &[T], inv_std: &[T], y: &mut [T]) {
    let sizes = Sizes::of(ins[0].dims);
    for c in 0..sizes.channels {
        for i in elements(sizes, c) {
            let residual = ins.get(5).map_or(T::zero(), |r| r[i]);
            let v = (ins[0][i] - mean[c]) * inv_std[c] * ins[1][c] + ins[2][c] + residual;
            y[i] = if relu && v < T::zero() { T::zero() } else { v };
        }
    }
}

/// dy, x (B, C, …), weight, bias, mean, inv_std (C) -> dx, dweight, dbias
pub(super) fn grad<T: Real>(op: &BatchNormGrad, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [dx, dweight, dbias] = outs else { return };
    let sizes = Sizes::of(ins[1].dims);
    let n = T::of((sizes.batch * sizes.plane) as f64);
    grad_sums(op.relu, ins, dweight, dbias);
    let share = if op.training { T::one() / n } else { T::zero() };
    grad_x(op.relu, share, ins, [dweight, dbias], dx);
}

/// The normalised value, and dy where the ReLU, if there was one, let it through.
fn normal_and_g<T: Real>(relu: bool, ins: &[In<T>], c: usize, i: usize) -> [T; 2] {
    let [dy, x, weight, bias, mean, inv_std, ..] = ins else { return [T::zero(); 2] };
    let normal = (x[i] - mean[c]) * inv_std[c];
    let blocked = relu && normal * weight[c] + bias[c] <= T::zero();
    [normal, if blocked { T::zero() } else { dy[i] }]
}

/// dy, x (B, C, …), weight, bias, mean, inv_std (C) -> dweight, dbias
pub(super) fn grad_sums<T: Real>(relu: bool, ins: &[In<T>], dweight: &mut [T], dbias: &mut [T]) {
    let sizes = Sizes::of(ins[1].dims);
    for c in 0..sizes.channels {
        for i in elements(sizes, c) {
            let [normal, g] = normal_and_g(relu, ins, c, i);
            dbias[c] += g;
            dweight[c] += g * normal;
        }
    }
}

/// dy, x (B, C, …), weight, bias, mean, inv_std (C); dweight, dbias, of which so great a share goes through the statistics
/// -> dx
pub(super) fn grad_x<T: Real>(
    relu: bool,
    share: T,
    ins: &[In<T>],
    [dweight, dbias]: [&[T]; 2],
    dx: &mut [T],
) {
    let sizes = Sizes::of(ins[1].dims);
    for c in 0..sizes.channels {
        for i in elements(sizes, c) {
            let [normal, g] = normal_and_g(relu, ins, c, i);
            let through_statistics = (dbias[c] + normal * dweight[c]) * share;
            dx[i] = ins[2][c] * ins[5][c] * (g - through_statistics);
        }
    }
}

/// The positions of a channel's elements.
fn elements(sizes: Sizes, c: usize) -> impl Iterator<Item = usize> {
    (0..sizes.batch)
        .flat_map(move |b| (0..sizes.plane).map(move |i| (b * sizes.channels + c) * sizes.plane + i))
}
