//! The running selection as plain loops.

use super::TopMMerge;
use crate::spec::{In, Out, Real};

/// logits: (B, N, R) -> indices: (B, min(M, N))
pub(super) fn merge<T: Real>(op: &TopMMerge, logits: &In<T>, indices: &mut Out<T>) {
    let [_, n, r] = [logits.dims[0], logits.dims[1], logits.dims[2]];
    let keep = op.keep.min(n);
    for b in 0..indices.dims[0] {
        let (kept, _) = replay(op, &logits[b * n * r..(b + 1) * n * r], n);
        for (at, candidate) in kept.into_iter().enumerate() {
            indices.int[b * keep + at] = candidate as i64;
        }
    }
}

/// What one image keeps of its logits (N, R), and the normalisers of the last merge (of all, if there was none).
pub(super) fn replay<T: Real>(op: &TopMMerge, logits: &[T], n: usize) -> (Vec<usize>, Vec<Row<T>>) {
    let rows = logits.len().checked_div(n).unwrap_or(0);
    let logits = |candidate: usize| &logits[candidate * rows..(candidate + 1) * rows];
    let mut kept: Vec<usize> = (0..op.keep.min(n)).collect();
    let mut normalisers = normalise(kept.iter().map(|&c| logits(c)), rows);
    for first in (kept.len()..n).step_by(op.chunk) {
        let line: Vec<usize> = kept.into_iter().chain(first..n.min(first + op.chunk)).collect();
        normalisers = normalise(line.iter().map(|&c| logits(c)), rows);
        let mut scored: Vec<(usize, Option<T>)> =
            line.into_iter().map(|c| (c, score(logits(c), &normalisers))).collect();
        // The sort is stable, a missing score is less than any other, and no score is NaN.
        scored.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal));
        kept = scored.into_iter().take(op.keep).map(|(candidate, _)| candidate).collect();
    }
    (kept, normalisers)
}

/// The normaliser of one row's softmax: its largest logit, and the sum of `exp(logit − largest)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<T> {
    largest: T,
    sum: T,
}

fn normalise<'a, T: Real>(candidates: impl Iterator<Item = &'a [T]> + Clone, rows: usize) -> Vec<Row<T>> {
    let valid = candidates.filter(|logits| is_valid(logits));
    let largest = |r: usize| valid.clone().fold(T::neg_infinity(), |most, logits| most.max(logits[r]));
    let row = |r: usize| {
        let largest = largest(r);
        let sum = valid.clone().fold(T::zero(), |sum, logits| sum + weight(logits[r], largest));
        Row { largest, sum }
    };
    (0..rows).map(row).collect()
}

/// The mean of a candidate's probabilities; `None` if it takes no part.
pub(super) fn score<T: Real>(logits: &[T], rows: &[Row<T>]) -> Option<T> {
    let probability = |(&logit, row): (&T, &Row<T>)| match weight(logit, row.largest) {
        weight if weight > T::zero() => weight / row.sum,
        _ => T::zero(),
    };
    let sum = logits.iter().zip(rows).map(probability).fold(T::zero(), |sum, p| sum + p);
    is_valid(logits).then(|| sum / T::of(rows.len() as f64))
}

fn is_valid<T: Real>(logits: &[T]) -> bool {
    logits.iter().all(|&l| l < T::infinity())
}

/// `exp(logit − largest)`, which is 0 for a logit of −∞ even where the largest is −∞ too.
fn weight<T: Real>(logit: T, largest: T) -> T {
    if logit == T::neg_infinity() { T::zero() } else { (logit - largest).exp() }
}
