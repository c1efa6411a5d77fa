//! The arithmetic of one row or one element of each loss, and its derivative.

use crate::spec::Real;

/// `log Σ exp(row)`, shifted by the largest so that nothing overflows.
pub(super) fn log_sum_exp<T: Real>(row: &[T]) -> T {
    let largest = row.iter().copied().fold(T::neg_infinity(), T::max);
    largest + row.iter().map(|&v| (v - largest).exp()).fold(T::of(0.0), |a, b| a + b).ln()
}

/// `log(1 + exp(−|x|)) + max(x, 0) − x t`: binary cross-entropy of the logit x against t.
pub(super) fn bce_with_logits<T: Real>(x: T, t: T) -> T {
    (-x.abs()).exp().ln_1p() + x.max(T::of(0.0)) - x * t
}

/// `σ(x) − t`.
pub(super) fn bce_with_logits_derivative<T: Real>(x: T, t: T) -> T {
    let e = (-x.abs()).exp();
    let sigmoid = if x >= T::of(0.0) { T::of(1.0) / (T::of(1.0) + e) } else { e / (T::of(1.0) + e) };
    sigmoid - t
}

/// Binary cross-entropy of the probability p against t, its logarithms not below −100.
pub(super) fn bce<T: Real>(p: T, t: T) -> T {
    let one = T::of(1.0);
    let log = |v: T| v.ln().max(T::of(-100.0));
    -(t * log(p) + (one - t) * log(one - p))
}

/// `(p − t) / max(p (1 − p), 1e-12)`.
pub(super) fn bce_derivative<T: Real>(p: T, t: T) -> T {
    (p - t) / (p * (T::of(1.0) - p)).max(T::of(1e-12))
}
