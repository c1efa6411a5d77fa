//! Comparing orders: indices ranked by scores, where near-ties may stand either way.

use anyhow::{Result, bail};

/// Scores closer than this share of the larger one are near-ties.
const NEAR: f64 = 1e-5;

/// Whether `got` is `want` up to swaps of neighbours in the ranking whose scores nearly tie, across the cut included.
/// `score(index)` is the score by which candidates were ranked.
pub(crate) fn same_order(got: &[i32], want: &[i32], score: impl Fn(i32) -> f64) -> Result<()> {
    if got.len() != want.len() {
        bail!("{} indices, must be {}", got.len(), want.len());
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, (&g, &w)) in got.iter().zip(want).enumerate() {
        if !seen.insert(g) {
            bail!("index {g} appears twice");
        }
        let (a, b) = (score(g), score(w));
        let near = g == w || (a - b).abs() <= NEAR * a.abs().max(b.abs());
        if !near {
            bail!("position {at} holds {g} (score {a:.9}), must be {w} (score {b:.9})");
        }
    }
    Ok(())
}

/// The score each candidate gets in a merge over `candidates`: softmax per row of the logits, mean over rows. Logits are
/// (N, R) of one image.
pub(crate) fn scores(logits: &[f64], rows: usize, candidates: &[i32]) -> Vec<f64> {
    let mut total = vec![0.0; candidates.len()];
    for r in 0..rows {
        let row: Vec<f64> = candidates.iter().map(|&n| logits[n as usize * rows + r]).collect();
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp: Vec<f64> = row.iter().map(|l| (l - largest).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for (t, e) in total.iter_mut().zip(&exp) {
            *t += e / sum / rows as f64;
        }
    }
    total
}
