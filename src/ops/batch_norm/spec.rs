//! Batch normalisation as plain loops.

use super::{BatchNormConfig, BatchNormGrad, Sizes};
use crate::spec::{In, Out, Real};

/// x (B, C, …), weight, bias, running_mean, running_var (C)[, residual] -> y, running_mean, running_var, mean, inv_std
pub(super) fn train<T: Real>(config: &BatchNormConfig, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [y, new_mean, new_var, mean, inv_std] = outs else { return };
    let sizes = Sizes::of(ins[0].dims);
    let n = T::of((sizes.batch * sizes.plane) as f64);
    let share = T::of(config.momentum);
    for c in 0..sizes.channels {
        let values = || elements(sizes, c).map(|i| ins[0][i]);
        let m = values().fold(T::zero(), |sum, x| sum + x) / n;
        let squares = values().fold(T::zero(), |sum, x| sum + (x - m) * (x - m));
        mean[c] = m;
        inv_std[c] = T::one() / (squares / n + T::of(config.eps)).sqrt();
        new_mean[c] = (T::one() - share) * ins[3][c] + share * m;
        new_var[c] = (T::one() - share) * ins[4][c] + share * squares / (n - T::one());
    }
    normalise(config, ins, mean, inv_std, y);
}

/// x (B, C, …), weight, bias, running_mean, running_var (C)[, residual] -> y, inv_std (C)
pub(super) fn eval<T: Real>(config: &BatchNormConfig, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [y, inv_std] = outs else { return };
    for (inv_std, &var) in inv_std.iter_mut().zip(ins[4].iter()) {
        *inv_std = T::one() / (var + T::of(config.eps)).sqrt();
    }
    normalise(config, ins, &ins[3], inv_std, y);
}

fn normalise<T: Real>(config: &BatchNormConfig, ins: &[In<T>], mean: &[T], inv_std: &[T], y: &mut [T]) {
    let sizes = Sizes::of(ins[0].dims);
    for c in 0..sizes.channels {
        for i in elements(sizes, c) {
            let residual = ins.get(5).map_or(T::zero(), |r| r[i]);
            let v = (ins[0][i] - mean[c]) * inv_std[c] * ins[1][c] + ins[2][c] + residual;
            y[i] = if config.relu && v < T::zero() { T::zero() } else { v };
        }
    }
}

/// dy, x (B, C, …), weight, bias, mean, inv_std (C) -> dx, dweight, dbias
pub(super) fn grad<T: Real>(op: &BatchNormGrad, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [dy, x, weight, bias, mean, inv_std] = ins else { return };
    let [dx, dweight, dbias] = outs else { return };
    let sizes = Sizes::of(x.dims);
    let n = T::of((sizes.batch * sizes.plane) as f64);
    for c in 0..sizes.channels {
        let normal = |i: usize| (x[i] - mean[c]) * inv_std[c];
        let blocked = |i: usize| op.relu && normal(i) * weight[c] + bias[c] <= T::zero();
        let g = |i: usize| if blocked(i) { T::zero() } else { dy[i] };
        for i in elements(sizes, c) {
            dbias[c] += g(i);
            dweight[c] += g(i) * normal(i);
        }
        for i in elements(sizes, c) {
            let through_statistics =
                if op.training { (dbias[c] + normal(i) * dweight[c]) / n } else { T::zero() };
            dx[i] = weight[c] * inv_std[c] * (g(i) - through_statistics);
        }
    }
}

/// The positions of a channel's elements.
fn elements(sizes: Sizes, c: usize) -> impl Iterator<Item = usize> {
    (0..sizes.batch)
        .flat_map(move |b| (0..sizes.plane).map(move |i| (b * sizes.channels + c) * sizes.plane + i))
}
