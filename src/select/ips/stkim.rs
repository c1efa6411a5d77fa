//! Stochastic masking of the best patches while Iterative Patch Selection merges.
//!
//! STKIM, stochastic top-K instance masking (Zhang et al., "Attention-Challenging Multiple Instance Learning for Whole Slide
//! Image Classification", ECCV 2024), keeps attention from settling on a few instances. In the form that Riffi-Aslett and
//! Fell (arXiv 2412.11237) gave it here, each of the K best candidates of every merge loses its score with probability p
//! before the M best are taken.
//!
//! Which ranks are masked is drawn by counter for (merge, image, rank) and does not depend on the scores, so that the host
//! knows it beforehand: nothing is read back, and every device masks the same.

use crate::{
    Rng, Tensor,
    error::{Error, Result},
    ops::{self, top_m_merge::TopMMerge},
    rng::Words,
};
use std::ops::Range;

/// Stochastic top-K instance masking: at every merge each of the best candidates loses its score at random, and stands behind
/// all others. A selection that masks merges chunk by chunk on every device, also where another would be one CUDA graph.
///
/// ```
/// use foveate::select::{IpsConfig, Stkim};
/// let config = IpsConfig { stkim: Some(Stkim::new(10, 0.05)), ..IpsConfig::megapixel_mnist() };
/// assert!(config.check().is_ok() && !config.stkim.unwrap().in_evaluation);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stkim {
    /// K, how many of the best may be masked.
    pub top: usize,
    /// p, the probability for each of them.
    pub probability: f32,
    /// Whether it also masks in evaluation, as the published code does.
    pub in_evaluation: bool,
}

impl Stkim {
    /// Masking in training alone.
    pub fn new(top: usize, probability: f32) -> Self {
        Stkim { top, probability, in_evaluation: false }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.top > 0 && (0.0..=1.0).contains(&self.probability) {
            return Ok(());
        }
        let what = format!("{self:?}: top must be at least 1, and the probability from 0 to 1");
        Err(Error::argument("ips", what))
    }
}

/// The masks of one selection.
#[derive(Clone, Copy)]
pub(super) struct Masks {
    stkim: Stkim,
    /// A word for each (merge, image, rank).
    words: Words,
}

impl Masks {
    /// For `images` images with so many merges each.
    pub(super) fn new(stkim: Stkim, images: usize, merges: usize, rng: &mut Rng) -> Self {
        let words = images.saturating_mul(merges).saturating_mul(stkim.top);
        Masks { stkim, words: rng.reserve(words as u64) }
    }

    /// Indices (B, M), i32, of the candidates (B, P, R) that remain when `op` merges them and masks: as
    /// [`ops::top_m_merge`]. The first merge is number `first` of the selection.
    pub(super) fn merge(&self, op: TopMMerge, candidates: &Tensor, first: usize) -> Result<Tensor> {
        let (images, count) = (candidates.dims()[0], candidates.dims()[1]);
        let row = |values: Range<usize>| -> Result<Tensor> {
            let (length, values): (_, Vec<i32>) = (values.len(), values.map(|v| v as i32).collect());
            Tensor::from_slice(&values.repeat(images), [images, length], &candidates.device())
        };
        let mut kept = row(0..op.keep.min(count))?;
        for (merge, start) in (op.keep..count).step_by(op.chunk).enumerate() {
            let fresh = start..(start + op.chunk).min(count);
            let line = [ops::gather(candidates, &kept)?, ops::narrow(candidates, 1, fresh.clone())?];
            let line = ops::concat(&[&line[0], &line[1]], 1)?;
            let ranked = ranked(&line, op.keep.saturating_add(self.stkim.top))?;
            let remain: Vec<i32> = (0..images)
                .flat_map(|image| self.remaining((first + merge) * images + image, ranked.dims()[1], op.keep))
                .collect();
            let remain = Tensor::from_slice(&remain, [images, op.keep], &candidates.device())?;
            let places = ops::concat(&[&kept, &row(fresh)?], 1)?;
            kept = ops::gather(&places, &ops::gather(&ranked, &remain)?)?;
        }
        Ok(kept)
    }

    /// The `keep` of `ranks` ranks that remain in the draw `draw`: best first those that are not masked, then those that are.
    fn remaining(&self, draw: usize, ranks: usize, keep: usize) -> impl Iterator<Item = i32> {
        let first = draw * self.stkim.top;
        let masked = |rank: &usize| {
            let word = self.words.word((first + rank) as u64);
            *rank < self.stkim.top && uniform(word) < self.stkim.probability
        };
        let (masked, others): (Vec<usize>, Vec<usize>) = (0..ranks).partition(masked);
        others.into_iter().chain(masked).take(keep).map(|rank| rank as i32)
    }
}

/// Uniform in the open interval (0, 1).
fn uniform(word: u32) -> f32 {
    ((word >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0)
}

/// The best `most` of a line of candidates (B, L, R), all present at once, best first; all L where there are no more.
fn ranked(line: &Tensor, most: usize) -> Result<Tensor> {
    let [images, length, rows] = [0, 1, 2].map(|axis| line.dims()[axis]);
    if most < length {
        return ops::top_m_merge(line, most, length - most);
    }
    // One more, which takes no part, so that all others are ranked.
    let nobody = Tensor::from_slice(&vec![f32::NAN; images * rows], [images, 1, rows], &line.device())?;
    ops::top_m_merge(&ops::concat(&[line, &nobody], 1)?, length, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::Op, testing::*};

    const MERGE: TopMMerge = TopMMerge { keep: 5, chunk: 4 };

    fn masks(top: usize, probability: f32, merges: usize) -> Masks {
        Masks::new(Stkim::new(top, probability), 2, merges, &mut Rng::new(4))
    }

    /// The same bits as the plain selection where nothing is masked, whether all of a line can be masked or some of it.
    #[test]
    fn a_probability_of_zero_is_the_plain_selection() {
        let logits = random([2, 31, 3], 1);
        on_each_device(TopMMerge::ARMS, |device| {
            let logits = logits.to_device(device).unwrap();
            let plain = ops::top_m_merge(&logits, MERGE.keep, MERGE.chunk).unwrap();
            for top in [1, 3, 4, 30] {
                let kept = masks(top, 0.0, 7).merge(MERGE, &logits, 0).unwrap();
                assert_eq!(kept.to_vec::<i32>().unwrap(), plain.to_vec::<i32>().unwrap(), "{top}");
            }
        });
    }

    /// Every device masks as plain loops over one row of logits do, whose order is that of the scores.
    #[test]
    fn masked_merges_are_those_of_plain_loops() {
        let logits = random([2, 31, 1], 2);
        let values = logits.to_vec::<f32>().unwrap();
        for (top, probability) in [(3, 0.5), (9, 0.7), (2, 1.0), (20, 1.0)] {
            let masks = masks(top, probability, 7);
            let mut want = Vec::new();
            for (image, values) in values.chunks(31).enumerate() {
                let mut kept: Vec<usize> = (0..5).collect();
                for (merge, start) in (5..31).step_by(4).enumerate() {
                    kept.extend(start..(start + 4).min(31));
                    kept.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
                    let drawn = |rank: usize| {
                        let word = masks.words.word(((merge * 2 + image) * top + rank) as u64);
                        rank < top && f64::from(word >> 9) + 0.5 < f64::from(probability) * 8_388_608.0
                    };
                    let ranks: Vec<usize> = (0..kept.len()).collect();
                    let (lost, left): (Vec<usize>, Vec<usize>) = ranks.iter().partition(|&&rank| drawn(rank));
                    kept = left.into_iter().chain(lost).take(5).map(|rank| kept[rank]).collect();
                }
                want.extend(kept.into_iter().map(|candidate| candidate as i32));
            }
            on_each_device(TopMMerge::ARMS, |device| {
                let kept = masks.merge(MERGE, &logits.to_device(device).unwrap(), 0).unwrap();
                assert_eq!(kept.to_vec::<i32>().unwrap(), want, "{top} with {probability} on {device}");
            });
        }
    }

    /// Of the K best, the expected share is masked, each as often as any other, and no one else.
    #[test]
    fn the_expected_share_is_masked() {
        let (top, probability, draws) = (8, 0.3, 4000);
        let masks = masks(top, probability, draws / 2);
        let mut remained = [0_usize; 20];
        for draw in 0..draws {
            // With as many kept as can be left, those that are missing were masked.
            let remaining: Vec<i32> = masks.remaining(draw, 20, 12).collect();
            assert!((8..20).take(12 - 8).all(|rank| remaining.contains(&rank)), "{remaining:?}");
            remaining.iter().for_each(|rank| remained[*rank as usize] += 1);
        }
        for (rank, times) in remained[..top].iter().enumerate() {
            let share = 1.0 - *times as f64 / draws as f64;
            // Four standard errors.
            assert!(
                (share - f64::from(probability)).abs() < 0.03,
                "rank {rank} is masked {share} of the time"
            );
        }
    }
}
