//! Gumbel sampling as plain loops: all keys, sorted.

use super::{GumbelMax, GumbelTopK, noise::exact, row_words};
use crate::{
    rng::Words,
    spec::{In, Out, Real},
};
use std::cmp::Ordering;

/// logits: (B, N) -> positions: (B, k), threshold: (B)
pub(super) fn top_k<T: Real>(op: &GumbelTopK, logits: &In<T>, outs: &mut [Out<T>]) {
    let n = logits.dims[1];
    for b in 0..logits.dims[0] {
        let keys = keys(&logits[b * n..(b + 1) * n], op.words, b as u64);
        let order = order(&keys);
        for (j, &position) in order.iter().take(op.k).enumerate() {
            outs[0].int[b * op.k + j] = position as i64;
        }
        let next = order.get(op.k).map_or(T::neg_infinity(), |&position| keys[position]);
        outs[1][b] = if next.is_nan() { T::neg_infinity() } else { next };
    }
}

/// logits: (B, N) -> positions: (B, draws)
pub(super) fn max<T: Real>(op: &GumbelMax, logits: &In<T>, positions: &mut Out<T>) {
    let n = logits.dims[1];
    for row in 0..positions.dims.elements() {
        let b = row / op.draws;
        let keys = keys(&logits[b * n..(b + 1) * n], op.words, row as u64);
        positions.int[row] = order(&keys)[0] as i64;
    }
}

/// The perturbed logits of a row: logits (N).
pub(super) fn keys<T: Real>(logits: &[T], words: Words, row: u64) -> Vec<T> {
    let word = |n: usize| words.word(row * row_words(logits.len()) + n as u64);
    logits.iter().enumerate().map(|(n, &logit)| logit + exact::gumbel::<T>(word(n))).collect()
}

/// Positions by descending key, equal ones by position, NaN last.
fn order<T: Real>(keys: &[T]) -> Vec<usize> {
    let rank = |position: usize| Some(keys[position]).filter(|key| !key.is_nan());
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|&a, &b| rank(b).partial_cmp(&rank(a)).unwrap_or(Ordering::Equal));
    order
}
