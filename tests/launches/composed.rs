//! Convolutions, products and attention, sampling, and what moves patches.

use super::Bench;
use foveate::{
    Precision, Rng, Tensor,
    ops::{
        BatchNormConfig, Estimator, IndicatorGradient, ResizeMode,
        blend_patches::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators},
        conv2d::{Algorithm, Conv2d, Conv2dFused, Conv2dGradInput, Conv2dGradWeight, Conv2dStatistics},
        cross_attention::{CrossAttention, CrossAttentionGrad},
        expectation::{Expectation, ExpectationGradAttention, ExpectationGradFeatures},
        extract_patches::{ExtractPatches, PlacePatches},
        fold_queries::{FoldQueries, FoldQueriesGrad},
        gated_attention::{GatedAttention, GatedAttentionGrad},
        gather::{Gather, ScatterAdd},
        linear::Linear,
        matmul::MatMul,
        perturbed_top_k::{Noise, PerturbedTopK, PerturbedTopKGrad},
        philox::{Philox, RandomWords},
        resize::{Resize, ResizeGrad},
        sampling::{GumbelMax, GumbelTopK},
        top_m_merge::TopMMerge,
        unfold::{Fold, Grid, Unfold},
    },
};

pub(super) fn check(bench: &Bench) {
    convolutions(bench);
    products(bench);
    attention(bench);
    pooling(bench);
    patches(bench);
    samples(bench);
}

fn convolutions(bench: &Bench) {
    let (x, weight) = (bench.full([2, 3, 12, 10]), bench.full([4, 3, 3, 3]));
    let (conv, y) = (Conv2d::new(1, 1), bench.full([2, 4, 12, 10]));
    bench.takes(1, &conv, &[&x, &weight]);
    bench.takes(1, &Conv2dFused { conv, relu: true }, &[&x, &weight, &bench.full([4]), &y]);
    // The merge of the parts' statistics.
    let (norm, running) = (BatchNormConfig::default(), bench.full([4]));
    bench.takes(2, &Conv2dStatistics { conv, norm }, &[&x, &weight, &running, &running]);
    bench.takes(1, &Conv2dGradInput { conv, image: [12, 10] }, &[&y, &weight]);
    bench.takes(1, &Conv2dGradWeight { conv, kernel: [3, 3] }, &[&x, &y]);
    // Filters, tiles, their products, results; and weights, pixels, the convolution of both.
    bench.takes(4, &conv.by(Algorithm::Winograd4), &[&x, &weight]);
    bench.takes(3, &conv.by(Algorithm::Pipelined(None)).precision(Precision::F16), &[&x, &weight]);
    // Many pixels: their sums in splits, which are then added.
    let (x, y) = (bench.full([2, 3, 40, 40]), bench.full([2, 4, 40, 40]));
    bench.takes(2, &Conv2dGradWeight { conv, kernel: [3, 3] }, &[&x, &y]);
}

fn products(bench: &Bench) {
    let x = bench.full([40, 30]);
    bench.takes(1, &Linear::default(), &[&x, &x]);
    bench.takes(1, &Linear::default(), &[&x, &x, &bench.full([40])]);
    bench.takes(1, &MatMul::default(), &[&bench.full([2, 5, 4]), &bench.full([2, 4, 3])]);
    // A long inner axis: its parts, and their sum.
    let long = bench.full([3, 5000]);
    bench.takes(2, &Linear::default(), &[&long, &long]);
}

/// Two heads of one query of eight features, over two images of forty inputs.
fn attention(bench: &Bench) {
    let (q, matrix, u) = (bench.full([1, 8]), bench.full([8, 8]), bench.full([2, 8]));
    let fold = FoldQueries { heads: 2 };
    bench.takes(2, &fold, &[&q, &matrix, &matrix]);
    bench.takes(5, &FoldQueriesGrad { fold }, &[&u, &q, &matrix, &matrix]);

    let (x, scores) = (bench.full([2, 40, 8]), bench.full([2, 40]));
    let attention = CrossAttention { heads: 2, dropout: None, keep: false, precision: None };
    // Logits, softmax, scores, weighted sums, values, outputs.
    bench.takes(6, &attention, &[&x, &u, &matrix, &matrix]);
    let grad = CrossAttentionGrad { attention: CrossAttention { keep: true, ..attention }, wants: [true; 4] };
    let (p, z, dy) = (bench.full([2, 2, 40]), bench.full([2, 2, 8]), bench.full([2, 1, 8]));
    bench.takes(10, &grad, &[&x, &u, &matrix, &matrix, &p, &z, &dy, &scores]);
}

fn pooling(bench: &Bench) {
    let (h, matrix, vector) = (bench.full([2, 40, 8]), bench.full([8, 8]), bench.full([8]));
    // Two layers, the gate, the softmax, the weighted sum.
    let pool = GatedAttention { keep: false, precision: None };
    bench.takes(5, &pool, &[&h, &matrix, &vector, &matrix, &vector, &vector]);
    let (a, dy) = (bench.full([2, 40]), bench.full([2, 8]));
    let grad = GatedAttentionGrad { wants: [true; 6], precision: None };
    bench.takes(11, &grad, &[&h, &matrix, &matrix, &vector, &a, &h, &h, &dy, &a]);
}

fn patches(bench: &Bench) {
    let x = bench.full([2, 3, 12, 10]);
    bench.takes(1, &Unfold { patch: [3, 3], stride: [2, 2] }, &[&x]);
    bench.takes(1, &Fold { image: [12, 10], stride: [3, 2] }, &[&bench.full([2, 20, 3, 3, 2])]);
    let offsets = bench.indices([2, 4, 2]);
    bench.takes(1, &ExtractPatches { patch: [5, 5] }, &[&x, &offsets]);
    bench.takes(1, &PlacePatches { image: [12, 10] }, &[&bench.full([2, 4, 3, 5, 5]), &offsets]);
    for mode in [ResizeMode::Area, ResizeMode::Bilinear] {
        bench.takes(1, &Resize { size: [6, 5], mode }, &[&x]);
        bench.takes(1, &ResizeGrad { image: [24, 20], mode }, &[&x]);
    }
    let grid = Grid { patch: [3, 2], stride: [3, 2], counts: [4, 5] };
    let (w, dy, gradient) = (bench.full([2, 4, 20]), bench.full([2, 4, 3, 3, 2]), IndicatorGradient::Full);
    bench.takes(1, &BlendPatches { grid }, &[&x, &w]);
    bench.takes(1, &BlendPatchesGradImage { grid, image: [12, 10] }, &[&w, &dy]);
    bench.takes(1, &BlendPatchesGradIndicators { grid, gradient }, &[&x, &w, &dy]);
    bench.takes(1, &Gather, &[&bench.full([2, 9, 5]), &bench.indices([2, 4])]);
    bench.takes(1, &ScatterAdd { rows: 9 }, &[&bench.full([2, 4, 5]), &bench.indices([2, 4])]);
}

fn samples(bench: &Bench) {
    bench.takes(1, &TopMMerge { keep: 5, chunk: 7 }, &[&bench.full([2, 40, 3])]);
    let words = |count: u64| Rng::new(1).reserve(count);
    let (few, many) = (bench.full([2, 1000]), bench.full([2, 50_000]));
    bench.takes(1, &GumbelMax { draws: 3, words: words(6000) }, &[&few]);
    bench.takes(1, &GumbelTopK { k: 9, words: words(2000) }, &[&few]);
    // Parts and their winners; zeros, a count for each digit, candidates, sorting.
    bench.takes(2, &GumbelMax { draws: 3, words: words(300_000) }, &[&many]);
    bench.takes(8, &GumbelTopK { k: 9, words: words(100_000) }, &[&many]);

    let (a, f, dy) = (bench.full([2, 4]), bench.full([2, 4, 6]), bench.full([2, 6]));
    let (replace, estimator) = (false, Estimator::Unbiased);
    bench.takes(1, &Expectation { replace }, &[&a, &f]);
    bench.takes(1, &ExpectationGradFeatures { replace }, &[&a, &dy]);
    bench.takes(1, &ExpectationGradAttention { replace, estimator }, &[&a, &f, &dy]);

    // Choices, their counts; backward runs of samples, and their sum if there are several.
    for (samples, backward) in [(10, 1), (100, 2)] {
        let noise = Noise::Drawn { samples, words: words(200 * samples as u64) };
        let (k, sigma) = (3, 0.05);
        bench.takes(2, &PerturbedTopK { k, sigma, noise }, &[&bench.full([2, 100])]);
        let (dy, positions) = (bench.full([2, k, 100]), bench.indices([2, samples, k]));
        bench.takes(backward, &PerturbedTopKGrad { sigma, noise }, &[&dy, &positions]);
    }
    let word = |dims: [usize; 2]| Tensor::full(1_u32, dims, bench.device).unwrap();
    bench.takes(1, &Philox, &[&word([9, 4]), &word([9, 2])]);
    let key = Tensor::full(1_u32, [2], bench.device).unwrap();
    bench.takes(1, &RandomWords { first: 0, count: 99 }, &[&key]);
}
