//! Random shapes for the operations whose folders test chosen ones: against their specifications on every device, and
//! their gradients against central differences.

use crate::{
    Device, Dims, Rng, Tensor,
    ops::{
        self, Conv1d, Estimator, IndicatorGradient, Reduction,
        blend_patches::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators},
        cross_attention::CrossAttention,
        dropout::Dropout,
        expectation::{Expectation, ExpectationGradAttention, ExpectationGradFeatures},
        fold_queries::FoldQueries,
        gated_attention::GatedAttention,
        image::NormalizeImage,
        linear::Linear,
        perturbed_top_k::{Noise, PerturbedTopK, PerturbedTopKGrad},
        philox::{Philox, RandomWords},
        reduce::{ArgMax, Max, Sum},
        sampling::GumbelMax,
        unfold::Grid,
        view::Expand,
    },
    testing::*,
};
use proptest::{collection::vec, prelude::*};

/// Differences and the `f64` result confirm a function of a few operands, whose gradients are all watched.
fn differentiable(f: impl Fn(&[Tensor]) -> crate::Result<Vec<Tensor>>, inputs: &[Tensor]) {
    judge_function(f, inputs);
}

/// None of them small, where differences of a logarithm say little.
fn probabilities(dims: impl Into<Dims>, seed: u64) -> Tensor {
    ops::softmax(&ops::scale(&random(dims, seed), 0.3, 0.0).unwrap(), -1).unwrap()
}

/// Classes below `count`, one a row.
fn classes(rows: usize, count: usize, seed: u64) -> Tensor {
    random_i32([rows], count as u32, seed)
}

fn words(rows: usize, seed: u32) -> Tensor {
    let data: Vec<u32> = (0..rows as u32 * 4).map(|i| i.wrapping_mul(0x9E37_79B9) ^ seed).collect();
    Tensor::from_slice(&data, [rows, 4], &Device::Cpu).unwrap()
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn broadcasting(sizes in vec(1usize..5, 1..5), hidden in vec(any::<[bool; 2]>(), 4), cut in 0usize..3, seed in 0u64..99) {
        let with_ones = |side: usize, from: usize| {
            let axes: Vec<usize> = sizes.iter().zip(&hidden).map(|(&n, ones)| if ones[side] { 1 } else { n }).collect();
            Dims::new(&axes[from.min(axes.len() - 1)..]).unwrap()
        };
        let (a, b) = (away_from_zero(with_ones(0, 0), seed), away_from_zero(with_ones(1, cut), seed + 1));
        for f in [ops::add, ops::sub, ops::mul, ops::div] {
            differentiable(|x| Ok(vec![f(&x[0], &x[1])?]), &[a.clone(), b.clone()]);
            differentiable(|x| Ok(vec![f(&x[1], &x[0])?]), &[a.clone(), b.clone()]);
        }
        let whole = ops::add(&a, &b).unwrap().dims();
        judge(&Expand { dims: whole }, &[&a]);
        differentiable(|x| Ok(vec![ops::expand(&x[0], whole)?]), &[b]);
    }

    #[test]
    fn reductions(sizes in vec(1usize..6, 1..5), over in vec(any::<bool>(), 4), seed in 0u64..99) {
        let x = random(Dims::new(&sizes).unwrap(), seed);
        let marked: Vec<bool> = over[..sizes.len()].to_vec();
        judge(&Sum { summed: marked.iter().copied().collect() }, &[&x]);
        judge(&Max { over: marked.iter().copied().collect() }, &[&x]);
        judge(&ArgMax { axis: over.iter().filter(|o| **o).count() % sizes.len() }, &[&x]);
        let axes: Vec<isize> = (0..sizes.len()).filter(|&a| marked[a]).map(|a| a as isize).collect();
        differentiable(|x| Ok(vec![ops::sum(&x[0], &axes)?, ops::mean(&x[0], &axes)?, ops::max(&x[0], &axes)?]), &[x]);
    }

    #[test]
    fn linear_layers(rows in 1usize..40, inputs in 1usize..70, outputs in 1usize..40, seed in 0u64..99) {
        let (x, w, b) = (random([rows, inputs], seed), random([outputs, inputs], seed + 1), random([outputs], seed + 2));
        judge(&Linear::default(), &[&x, &w]);
        judge(&Linear::default(), &[&x, &w, &b]);
        if rows * inputs * outputs < 600 {
            differentiable(|t| Ok(vec![ops::linear(&t[0], &t[1], Some(&t[2]))?]), &[x, w, b]);
        }
    }

    #[test]
    fn losses(rows in 1usize..7, count in 1usize..6, seed in 0u64..99, mean: bool, weighted: bool) {
        let reduction = if mean { Reduction::Mean } else { Reduction::Sum };
        let (x, t) = (random([rows, count], seed), probabilities([rows, count], seed + 1));
        let (p, y) = (probabilities([rows, count], seed + 2), classes(rows, count, seed));
        let weights = ops::exp(&random([count], seed + 3)).unwrap();
        let weights = |like: &Tensor| match weighted {
            true if like.dtype() == crate::DType::F64 => Some(crate::check::to_f64(&weights).unwrap()),
            true => Some(weights.clone()),
            false => None,
        };
        differentiable(|s| Ok(vec![ops::cross_entropy(&s[0], &y, weights(&s[0]).as_ref(), reduction)?]), std::slice::from_ref(&x));
        differentiable(|s| Ok(vec![ops::nll(&s[0], &y, weights(&s[0]).as_ref(), 1e-6, reduction)?]), std::slice::from_ref(&p));
        let wide = |t: &Tensor, like: &Tensor| match like.dtype() {
            crate::DType::F64 => crate::check::to_f64(t).unwrap(),
            _ => t.clone(),
        };
        differentiable(|s| Ok(vec![ops::bce_with_logits(&s[0], &wide(&t, &s[0]), reduction)?]), std::slice::from_ref(&x));
        differentiable(|s| Ok(vec![ops::mse(&s[0], &wide(&t, &s[0]), reduction)?]), &[x]);
        if count > 1 {
            differentiable(|s| Ok(vec![ops::bce(&s[0], &wide(&t, &s[0]), reduction)?]), std::slice::from_ref(&p));
        }
        differentiable(|s| Ok(vec![ops::entropy(&s[0], 1e-6)?, ops::entropy_term(&s[0])?]), &[p]);
    }

    #[test]
    fn attention(
        batch in 1usize..4, inputs in 1usize..30, heads in 1usize..4, queries in 1usize..4, width in 1usize..6,
        value in 1usize..6, outputs in 1usize..8, seed in 0u64..99,
    ) {
        let features = width * heads;
        let (x, u) = (random([batch, inputs, features], seed), random([heads * queries, features], seed + 1));
        let (wv, wo) = (random([heads * value, features], seed + 2), random([outputs, heads * value], seed + 3));
        let attention = CrossAttention { heads, dropout: None, keep: true, precision: None };
        judge(&attention, &[&x, &u, &wv, &wo]);
        let (q, wq, wk) = (random([queries, features], seed + 4), random([features, features], seed + 5), random([features, features], seed + 6));
        judge(&FoldQueries { heads }, &[&q, &wq, &wk]);
        if batch * inputs * features < 60 {
            let operands = [x, q, wq, wk, wv, wo];
            let f = |t: &[Tensor]| {
                let (y, scores) = ops::cross_attention(&t[0], &t[1], [&t[2], &t[3], &t[4], &t[5]], heads, None)?;
                Ok(vec![y, scores])
            };
            differentiable(f, &operands);
        }
    }

    #[test]
    fn gated_attention(batch in 1usize..4, instances in 1usize..7, features in 1usize..6, hidden in 1usize..5, seed in 0u64..99) {
        let operands = [
            random([batch, instances, features], seed), random([hidden, features], seed + 1), random([hidden], seed + 2),
            random([hidden, features], seed + 3), random([hidden], seed + 4), random([hidden], seed + 5),
        ];
        judge(&GatedAttention { keep: true, precision: None }, &operands.each_ref());
        differentiable(|t| {
            let (y, a) = ops::gated_attention(&t[0], &t[1], &t[2], &t[3], &t[4], &t[5])?;
            Ok(vec![y, a])
        }, &operands);
    }

    #[test]
    fn sequences_and_borders(
        batch in 1usize..3, (groups, c, out) in (1usize..3, 1usize..3, 1usize..3), length in 1usize..9, kernel in 1usize..4,
        stride in 1usize..3, padding in prop::array::uniform2(0usize..3), border in prop::array::uniform4(0usize..3), seed in 0u64..99,
    ) {
        let conv = Conv1d { stride, padding, groups };
        let (x, w) = (random([batch, c * groups, length], seed), random([out * groups, c, kernel], seed + 1));
        let b = random([out * groups], seed + 2);
        match kernel <= length + padding[0] + padding[1] {
            true => differentiable(|t| Ok(vec![ops::conv1d(&t[0], &t[1], Some(&t[2]), conv)?]), &[x, w, b]),
            false => prop_assert!(ops::conv1d(&x, &w, None, conv).is_err()),
        }
        let image = random([batch, c, length, 3], seed + 3);
        differentiable(|t| {
            let padded = ops::pad2d(&t[0], border)?;
            Ok(vec![ops::crop2d(&padded, border)?, padded])
        }, &[image]);
    }

    #[test]
    fn joining_and_cutting(sizes in vec(1usize..5, 1..4), parts in vec(0usize..4, 1..4), axis in 0usize..3, seed in 0u64..99) {
        let axis = axis % sizes.len();
        let part = |(at, &n): (usize, &usize)| random(Dims::new(&sizes).unwrap().with(axis, n), seed + at as u64);
        let tensors: Vec<Tensor> = parts.iter().enumerate().map(part).collect();
        let whole: usize = parts.iter().sum();
        let joined = ops::concat(&tensors.iter().collect::<Vec<_>>(), axis as isize).unwrap();
        prop_assert_eq!(joined.dims()[axis], whole);
        let mut from = 0;
        for (tensor, &n) in tensors.iter().zip(&parts) {
            let cut = ops::narrow(&joined, axis as isize, from..from + n).unwrap();
            prop_assert_eq!(bits(&cut), bits(tensor));
            let padded = ops::pad(&cut, axis as isize, from, whole).unwrap();
            let again = ops::narrow(&padded, axis as isize, from..from + n).unwrap();
            prop_assert_eq!(bits(&again), bits(tensor));
            from += n;
        }
        differentiable(|t| Ok(vec![ops::concat(&t.iter().collect::<Vec<_>>(), axis as isize)?]), &tensors);
    }

    #[test]
    fn blended_patches(
        batch in 1usize..3, channels in 1usize..3, k in 1usize..4, patch in prop::array::uniform2(1usize..5),
        stride in prop::array::uniform2(1usize..4), counts in prop::array::uniform2(1usize..4), seed in 0u64..99,
    ) {
        let image = [0, 1].map(|a| (counts[a] - 1) * stride[a] + patch[a]);
        let grid = Grid { patch, stride, counts };
        let x = random([batch, channels, image[0], image[1]], seed);
        let w = random([batch, k, counts[0] * counts[1]], seed + 1);
        let dy = random([batch, k, channels, patch[0], patch[1]], seed + 2);
        judge(&BlendPatches { grid }, &[&x, &w]);
        judge(&BlendPatchesGradImage { grid, image }, &[&w, &dy]);
        for gradient in [IndicatorGradient::Full, IndicatorGradient::Hit] {
            judge(&BlendPatchesGradIndicators { grid, gradient }, &[&x, &w, &dy]);
        }
    }

    #[test]
    fn expectations(batch in 1usize..4, k in 1usize..12, width in 1usize..9, seed in 0u64..99) {
        let a = ops::scale(&probabilities([batch, k], seed), 0.8, 0.0).unwrap();
        let (f, dy) = (random([batch, k, width], seed + 1), random([batch, width], seed + 2));
        for replace in [false, true] {
            judge(&Expectation { replace }, &[&a, &f]);
            judge(&ExpectationGradFeatures { replace }, &[&a, &dy]);
            for estimator in [Estimator::Official, Estimator::Unbiased] {
                judge(&ExpectationGradAttention { replace, estimator }, &[&a, &f, &dy]);
            }
        }
    }

    #[test]
    fn perturbed_selection(batch in 1usize..4, n in 1usize..40, samples in 1usize..20, k in 1usize..8, seed in 0u64..99) {
        let (k, scores) = (k.min(n), random([batch, n], seed));
        let noise = Noise::Drawn { samples, words: Rng::new(seed).reserve(1 << 16) };
        let op = PerturbedTopK { k, sigma: 0.4, noise };
        judge(&op, &[&scores]);
        let positions = crate::device::run(&op, &[&scores]).unwrap().remove(1);
        judge(&PerturbedTopKGrad { sigma: 0.4, noise }, &[&random([batch, k, n], seed + 1), &positions]);
    }

    #[test]
    fn random_numbers(rows in 1usize..50, first in 0u64..u64::MAX / 2, key: u32, draws in 1usize..6, seed in 0u64..99) {
        let keys = words(rows, key);
        let keys = Tensor::from_slice(&keys.to_vec::<u32>().unwrap()[..2 * rows], [rows, 2], &Device::Cpu).unwrap();
        judge(&Philox, &[&words(rows, !key), &keys]);
        let key = Tensor::from_slice(&[key, !key], [2], &Device::Cpu).unwrap();
        judge(&RandomWords { first, count: rows }, &[&key]);
        let words = Rng::new(seed).reserve(1 << 20);
        judge(&GumbelMax { draws, words }, &[&random([3, rows], seed)]);
        judge(&Dropout { p: 0.3, words }, &[&random([rows, draws], seed + 1)]);
    }

    #[test]
    fn pictures(batch in 1usize..3, channels in 1usize..4, h in 1usize..9, w in 1usize..9, seed in 0u64..99) {
        let mut rng = Rng::new(seed);
        let bytes: Vec<u8> = (0..batch * channels * h * w).map(|_| rng.below(256) as u8).collect();
        let x = Tensor::from_slice(&bytes, [batch, channels, h, w], &Device::Cpu).unwrap();
        let per_channel = |low: f64| (0..channels).map(|c| low + 0.1 * c as f64).collect();
        judge(&NormalizeImage { scale: per_channel(0.004), shift: per_channel(-0.5) }, &[&x]);
    }
}
