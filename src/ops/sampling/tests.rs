use super::*;
use crate::{Device, testing::*};

fn tensor(logits: &[f32], dims: [usize; 2]) -> Tensor {
    Tensor::from_slice(logits, dims, &Device::Cpu).unwrap()
}

/// Holds positions and threshold to the specification on every device.
fn judge_top_k(logits: &Tensor, k: usize, seed: u64) {
    if !wanted(logits.elements()) {
        return;
    }
    let op = GumbelTopK { k, words: Rng::new(seed).reserve(words_of(logits, 1)) };
    let n = logits.dims()[1];
    let rows: Vec<Vec<f64>> = logits
        .to_vec::<f32>()
        .unwrap()
        .chunks(n)
        .map(|row| row.iter().map(|&l| l.into()).collect())
        .collect();
    let keys: Vec<Vec<f64>> = rows.iter().zip(0..).map(|(row, b)| spec::keys(row, op.words, b)).collect();
    judge_order(&op, &[logits], &keys.iter().map(|keys| weights(keys)).collect::<Vec<_>>());
    let metas = op.infer(&[Meta::f32(logits.dims())]).unwrap();
    on_each_device(GumbelTopK::ARMS, |device| {
        let threshold = run(&op, &[&logits.to_device(device).unwrap()]).unwrap()[1].to_vec::<f32>().unwrap();
        assert_eq!(threshold.len(), metas[1].dims.elements());
        for (got, keys) in threshold.iter().zip(&keys) {
            let mut sorted: Vec<f64> = keys.iter().copied().filter(|key| !key.is_nan()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let want = sorted.get(k).copied().unwrap_or(f64::NEG_INFINITY);
            assert!(
                f64::from(*got) == want || (f64::from(*got) - want).abs() < 1e-5 * (1.0 + want.abs()),
                "{got}, not {want}"
            );
        }
    });
}

/// Differences of keys as ratios of scores; a NaN takes no part.
fn weights(keys: &[f64]) -> Vec<f64> {
    let most = keys.iter().copied().filter(|key| *key < f64::INFINITY).fold(f64::NEG_INFINITY, f64::max);
    keys.iter()
        .map(|&key| if key.is_nan() { f64::NEG_INFINITY } else { (key - most.max(-1e300)).exp() })
        .collect()
}

#[test]
fn draws_meet_their_specification() {
    for (dims, k) in [
        ([2, 1], 1),
        ([3, 7], 3),
        ([2, 33], 33),
        ([3, 1000], 10),
        ([2, 5001], 700),
        ([2, 70_001], 5),
        ([1, 131_075], 131_075),
    ] {
        let logits = random(dims, 3);
        judge_top_k(&logits, k, 9);
        if dims[1] < 10_000 {
            for draws in [1, 4] {
                let words = Rng::new(4).reserve(words_of(&logits, draws));
                judge(&GumbelMax { draws, words }, &[&logits]);
            }
        }
    }
    judge_top_k(&Tensor::zeros([0, 5], &Device::Cpu).unwrap(), 2, 1);
    let logits = random([1, 20_001], 5);
    judge(&GumbelMax { draws: 1, words: Rng::new(4).reserve(words_of(&logits, 1)) }, &[&logits]);
}

#[test]
fn special_logits() {
    const INF: f32 = f32::INFINITY;
    let drawn = |logits: &[f32], k: usize| {
        gumbel_top_k(&tensor(logits, [1, logits.len()]), k, &mut Rng::new(3))
            .unwrap()
            .to_vec::<i32>()
            .unwrap()
    };
    assert_eq!(drawn(&[-INF, f32::NAN, 0.0, -INF, INF, f32::NAN, INF], 7), [4, 6, 2, 0, 3, 1, 5]);
    assert_eq!(drawn(&[f32::NAN; 4], 3), [0, 1, 2]);
    assert_eq!(drawn(&[-3e38, -INF, 3e38], 3), [2, 0, 1]);
    let odd: Vec<f32> = (0..500).map(|n| [0.0, -INF, 1e30, f32::NAN, -80.0][n % 5]).collect();
    judge_top_k(&tensor(&odd, [2, 250]), 250, 5);
    judge_top_k(&tensor(&odd, [2, 250]), 120, 6);
    let all = gumbel_max(&tensor(&[-INF, -INF, f32::NAN, -INF], [2, 2]), 2, &mut Rng::new(1)).unwrap();
    assert_eq!(all.to_vec::<i32>().unwrap(), [0, 0, 1, 1]);
}

/// Lists of candidates that fit in 64 KB, in 128 KB, and in no block's shared memory.
#[test]
fn long_lists() {
    judge_top_k(&random([2, 8000], 3), 50, 3);
    for k in [6000, 10_000, 17_000] {
        judge_top_k(&random([1, 18_000], 4), k, 4);
    }
}

#[test]
fn a_million_positions() {
    let logits = random([1, 1_000_000], 6);
    judge_top_k(&logits, 8192, 2);
    let words = Rng::new(5).reserve(words_of(&logits, 3));
    judge(&GumbelMax { draws: 3, words }, &[&logits]);
}

#[test]
fn rows_of_nothing_but_ties_are_taken_in_order() {
    const INF: f32 = f32::INFINITY;
    for n in [40, 2049, 5000, 70_000].into_iter().filter(|&n| wanted(4 * n)) {
        for (tied, best) in [(-INF, 0.0), (f32::NAN, -INF), (f32::NAN, f32::NAN), (INF, INF), (-INF, INF)] {
            let row = |late: usize| (0..n).map(move |at| if at == late { best } else { tied });
            let late = n - 2;
            let logits = tensor(&row(late).chain(row(late)).collect::<Vec<f32>>(), [2, n]);
            let first = if best.to_bits() == tied.to_bits() { 0 } else { late as i32 };
            let want: Vec<i32> =
                if first == 0 { (0..30).collect() } else { [first].into_iter().chain(0..29).collect() };
            let op = GumbelTopK { k: 30, words: Rng::new(3).reserve(words_of(&logits, 1)) };
            on_each_device(GumbelTopK::ARMS, |device| {
                let outs = run(&op, &[&logits.to_device(device).unwrap()]).unwrap();
                let drawn = outs[0].to_vec::<i32>().unwrap();
                assert!(drawn.chunks(30).all(|row| row == want), "{tied} {best} {n} on {device}: {drawn:?}");
                let next = if tied == INF { INF } else { -INF };
                assert_eq!(outs[1].to_vec::<f32>().unwrap(), [next; 2], "{tied} {best} {n} on {device}");
            });
        }
    }
}

#[test]
fn huge_offsets_do_not_matter_to_the_filter() {
    // The bound that rules positions out must hold where logits swallow the noise in rounding.
    for offset in [-1e6_f32, 1e6, 3e7] {
        let logits: Vec<f32> = (0..4000).map(|n| offset + (n % 7) as f32).collect();
        judge_top_k_exactly(&tensor(&logits, [1, 4000]), 20);
    }
}

/// The k best of all keys in `f32`, as the crate computes them, without ruling anything out.
fn judge_top_k_exactly(logits: &Tensor, k: usize) {
    use crate::cpu::best;
    let words = Rng::new(8).reserve(words_of(logits, 1));
    let values = logits.to_vec::<f32>().unwrap();
    let key = |(n, &logit): (usize, &f32)| best::key(logit + noise::gumbel(words.word(n as u64)), n as u32);
    let mut keys: Vec<u64> = values.iter().enumerate().map(key).collect();
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let want: Vec<i32> = keys[..k].iter().map(|&key| best::place(key) as i32).collect();
    assert_eq!(run(&GumbelTopK { k, words }, &[logits]).unwrap()[0].to_vec::<i32>().unwrap(), want);
}

/// `Σ (seen − expected)² / expected`.
fn chi_squared(seen: &[usize], probabilities: &[f64]) -> f64 {
    let total: usize = seen.iter().sum();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    seen.iter()
        .zip(probabilities)
        .map(|(&s, &p)| (s as f64 - p * total as f64).powi(2) / (p * total as f64))
        .sum()
}

const P: [f64; 4] = [0.1, 0.2, 0.3, 0.4];

fn rows_of_p(rows: usize) -> Tensor {
    // Any constant may be added to logits.
    let row = P.map(|p| p.ln() as f32 + 7.5);
    tensor(&row.repeat(rows), [rows, 4])
}

#[test]
fn ordered_draws_follow_plackett_and_luce() {
    let drawn = gumbel_top_k(&rows_of_p(30_000), 2, &mut Rng::new(12)).unwrap().to_vec::<i32>().unwrap();
    let pairs: Vec<(usize, usize)> = (0..16).map(|c| (c / 4, c % 4)).filter(|(a, b)| a != b).collect();
    let seen: Vec<usize> =
        pairs.iter().map(|&(a, b)| drawn.chunks(2).filter(|d| *d == [a as i32, b as i32]).count()).collect();
    let want: Vec<f64> = pairs.iter().map(|&(a, b)| P[a] * P[b] / (1.0 - P[a])).collect();
    let chi = chi_squared(&seen, &want);
    assert!(chi < 31.3, "chi-squared {chi} with 11 degrees of freedom: {seen:?}");
}

#[test]
fn independent_draws_follow_the_softmax() {
    let drawn = gumbel_max(&rows_of_p(500), 80, &mut Rng::new(13)).unwrap().to_vec::<i32>().unwrap();
    let seen: Vec<usize> = (0..4).map(|p| drawn.iter().filter(|&&d| d == p).count()).collect();
    let chi = chi_squared(&seen, &P);
    assert!(chi < 16.3, "chi-squared {chi} with 3 degrees of freedom: {seen:?}");
    // Neighbouring draws are independent.
    let both = drawn.chunks(2).filter(|d| d[0] == d[1]).count() as f64 / 20_000.0;
    assert!((both - P.iter().map(|p| p * p).sum::<f64>()).abs() < 0.015, "{both}");
}

#[test]
fn the_threshold_says_how_likely_a_position_was_drawn() {
    // E[Σ over drawn of p / q(κ)] = Σ p = 1 (Kool et al. 2019).
    let (drawn, threshold) = gumbel_top_k_threshold(&rows_of_p(40_000), 2, &mut Rng::new(14)).unwrap();
    let (drawn, threshold) = (drawn.to_vec::<i32>().unwrap(), threshold.to_vec::<f32>().unwrap());
    let weight =
        |d: i32, kappa: f32| P[d as usize] / -(-(P[d as usize].ln() + 7.5 - f64::from(kappa)).exp()).exp_m1();
    let mean = drawn.chunks(2).zip(&threshold).map(|(d, &k)| weight(d[0], k) + weight(d[1], k)).sum::<f64>()
        / 40_000.0;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
}

#[test]
fn calls_use_words_of_their_own() {
    let (logits, mut rng) = (random([3, 50], 1), Rng::new(1));
    let a = gumbel_top_k(&logits, 5, &mut rng).unwrap().to_vec::<i32>().unwrap();
    assert_eq!(rng.state(), [1, 3 * 52]);
    let b = gumbel_top_k(&logits, 5, &mut rng).unwrap().to_vec::<i32>().unwrap();
    assert_ne!(a, b);
    assert_eq!(a, gumbel_top_k(&logits, 5, &mut Rng::new(1)).unwrap().to_vec::<i32>().unwrap());
}

#[test]
fn misuse_is_a_typed_error() {
    let (logits, mut rng) = (random([2, 4], 1), Rng::new(1));
    assert!(matches!(gumbel_top_k(&logits, 0, &mut rng), Err(Error::Argument { op: "gumbel_top_k", .. })));
    assert!(matches!(gumbel_top_k(&logits, 5, &mut rng), Err(Error::Argument { op: "gumbel_top_k", .. })));
    assert!(matches!(
        gumbel_top_k(&random([4], 1), 1, &mut rng),
        Err(Error::Shape { op: "gumbel_top_k", .. })
    ));
    assert!(matches!(gumbel_max(&logits, 0, &mut rng), Err(Error::Argument { op: "gumbel_max", .. })));
    assert!(matches!(
        gumbel_max(&random([2, 0], 1), 1, &mut rng),
        Err(Error::Argument { op: "gumbel_max", .. })
    ));
    let bytes = Tensor::from_slice(&[1_u8; 8], [2, 4], &Device::Cpu).unwrap();
    assert!(matches!(gumbel_max(&bytes, 1, &mut rng), Err(Error::DType { op: "gumbel_max", .. })));
}
