//! The estimated expectation and its gradients, formula by formula.

use super::{Estimator, ExpectationGradAttention};
use crate::spec::{In, Out, Real};

/// attention: (B, K), features: (B, K, D) -> y: (B, D)
pub(super) fn forward<T: Real>(replace: bool, attention: &In<T>, features: &In<T>, y: &mut Out<T>) {
    let [b, k, d] = [features.dims[0], features.dims[1], features.dims[2]];
    for row in 0..b {
        let a = &attention[row * k..(row + 1) * k];
        for at in 0..d {
            let f: Vec<T> = (0..k).map(|i| features[(row * k + i) * d + at]).collect();
            y[row * d + at] =
                terms(replace, a, &f).into_iter().fold(T::zero(), |sum, term| sum + term) / T::of(k as f64);
        }
    }
}

/// The K terms of which the estimate is the mean, for one feature of the samples; linear in `f`.
fn terms<T: Real>(replace: bool, a: &[T], f: &[T]) -> Vec<T> {
    if replace {
        return f.to_vec();
    }
    let remaining = remaining(a);
    let mut seen = T::zero();
    let mut terms = Vec::new();
    for i in 0..a.len() {
        terms.push(seen + remaining[i] * f[i]);
        seen += a[i] * f[i];
    }
    terms
}

/// The mass before each draw.
fn remaining<T: Real>(a: &[T]) -> Vec<T> {
    let mut left = T::one();
    a.iter()
        .map(|&a| {
            let before = left.max(a);
            left -= a;
            before
        })
        .collect()
}

/// attention: (B, K), dy: (B, D) -> df: (B, K, D)
pub(super) fn grad_features<T: Real>(replace: bool, attention: &In<T>, dy: &In<T>, df: &mut Out<T>) {
    let [b, k, d] = [df.dims[0], df.dims[1], df.dims[2]];
    for row in 0..b {
        let a = &attention[row * k..(row + 1) * k];
        for m in 0..k {
            // The weight of f_m: what the estimate is when it is 1 and all others are 0.
            let mut unit = vec![T::zero(); k];
            unit[m] = T::one();
            let weight = terms(replace, a, &unit).into_iter().fold(T::zero(), |sum, term| sum + term)
                / T::of(k as f64);
            for at in 0..d {
                df[(row * k + m) * d + at] = weight * dy[row * d + at];
            }
        }
    }
}

/// attention: (B, K), features: (B, K, D), dy: (B, D) -> da: (B, K)
pub(super) fn grad_attention<T: Real>(op: &ExpectationGradAttention, ins: &[In<T>], da: &mut Out<T>) {
    let [attention, features, dy] = [&ins[0], &ins[1], &ins[2]];
    let [b, k, d] = [features.dims[0], features.dims[1], features.dims[2]];
    let (w, tiny) = (T::one() / T::of(k as f64), T::of(1e-30));
    for row in 0..b {
        let a = &attention[row * k..(row + 1) * k];
        // p_m = ⟨G, f_m⟩, and h_m = ⟨G, F_m⟩, which is linear in the features too.
        let inner = |m: usize| {
            (0..d).fold(T::zero(), |sum, at| sum + dy[row * d + at] * features[(row * k + m) * d + at])
        };
        let p: Vec<T> = (0..k).map(inner).collect();
        let (h, r) = (terms(op.replace, a, &p), remaining(a));
        for m in 0..k {
            let by_a = h[m] / a[m].max(tiny);
            da[row * k + m] = w * match (op.replace, op.estimator) {
                (true, _) => by_a,
                (false, Estimator::Official) => (0..m).fold(by_a * r[m], |sum, j| sum + p[j] - p[m]),
                (false, Estimator::Unbiased) => {
                    (m + 1..k).fold(by_a, |sum, i| sum + h[i] / r[i].max(tiny) + p[m] - p[i])
                }
            };
        }
    }
}
