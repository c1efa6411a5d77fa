//! The perturbed top-k and its gradient as plain loops.

use super::{Noise, PerturbedTopK, PerturbedTopKGrad, row_words};
use crate::{
    ops::sampling::noise::exact,
    spec::{In, Out, Real},
};
use std::cmp::Ordering;

/// scores: (B, N), noise: (B, S, N) -> indicators: (B, k, N), positions: (B, S, k)
pub(super) fn forward<T: Real>(op: &PerturbedTopK, ins: &[In<T>], outs: &mut [Out<T>]) {
    let ([b, n], k, s) = ([ins[0].dims[0], ins[0].dims[1]], op.k, outs[1].dims[1]);
    for sample in 0..b * s {
        let image = sample / s;
        let z = |at: usize| noise(op.noise, ins.get(1), sample, n, at);
        let perturbed: Vec<T> =
            (0..n).map(|at| ins[0][image * n + at] + T::of(op.sigma.into()) * z(at)).collect();
        let rank = |at: usize| Some(perturbed[at]).filter(|value| !value.is_nan());
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| rank(b).partial_cmp(&rank(a)).unwrap_or(Ordering::Equal));
        order.truncate(k);
        order.sort_unstable();
        for (j, position) in order.into_iter().enumerate() {
            outs[1].int[sample * k + j] = position as i64;
            outs[0][(image * k + j) * n + position] += T::one() / T::of(s as f64);
        }
    }
}

/// Z[sample, at]
fn noise<T: Real>(noise: Noise, given: Option<&In<T>>, sample: usize, n: usize, at: usize) -> T {
    match (noise, given) {
        (Noise::Drawn { words, .. }, _) => {
            let pair = sample as u64 * row_words(n) + at as u64 / 2 * 2;
            exact::normals::<T>([words.word(pair), words.word(pair + 1)])[at % 2]
        }
        (Noise::Given, Some(noise)) => noise[sample * n + at],
        (Noise::Given, None) => T::zero(),
    }
}

/// dy: (B, k, N), positions: (B, S, k), noise: (B, S, N) -> dscores: (B, N)
pub(super) fn grad<T: Real>(op: &PerturbedTopKGrad, ins: &[In<T>], dscores: &mut Out<T>) {
    let [b, k, n] = [ins[0].dims[0], ins[0].dims[1], ins[0].dims[2]];
    let s = ins[1].dims[1];
    for sample in 0..b * s {
        let image = sample / s;
        // A position that is none of the n was not chosen.
        let chosen = |j: usize| usize::try_from(ins[1].int[sample * k + j]).ok().filter(|&at| at < n);
        let c = (0..k).fold(T::zero(), |sum, j| {
            sum + chosen(j).map_or(T::zero(), |at| ins[0][(image * k + j) * n + at])
        });
        for at in 0..n {
            let z: T = noise(op.noise, ins.get(2), sample, n, at);
            dscores[image * n + at] += z * c / (T::of(s as f64) * T::of(op.sigma.into()));
        }
    }
}
