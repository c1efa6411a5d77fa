use super::*;
use crate::{Device, Rng, device::Numbers, testing::*};
use proptest::prelude::*;

/// Holds the operation to its specification on every device; candidates of nearly equal scores may change places.
fn judge_merge(logits: &Tensor, keep: usize, chunk: usize) {
    let op = TopMMerge { keep, chunk };
    let [n, r] = [logits.dims()[1], logits.dims()[2]];
    let wide = Numbers::<f64>::of(logits).unwrap();
    let scores: Vec<Vec<f64>> = (0..logits.dims()[0])
        .map(|b| {
            let image = &wide.x[b * n * r..(b + 1) * n * r];
            let (_, rows) = spec::replay(&op, image, n);
            let score = |logits| spec::score(logits, &rows).unwrap_or(f64::NEG_INFINITY);
            image.chunks(r).map(score).collect()
        })
        .collect();
    judge_order(&op, &[logits], &scores);
}

fn kept(logits: &[f32], dims: [usize; 3], keep: usize, chunk: usize) -> Vec<i32> {
    let logits = Tensor::from_slice(logits, dims, &Device::Cpu).unwrap();
    top_m_merge(&logits, keep, chunk).unwrap().to_vec().unwrap()
}

/// Standard normal logits times `scale`.
fn spread(dims: [usize; 3], scale: f32, seed: u64) -> Tensor {
    let data: Vec<f32> = random(dims, seed).to_vec::<f32>().unwrap().iter().map(|v| v * scale).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

#[test]
fn random_logits() {
    // (B, N, R), M, I
    for (dims, keep, chunk) in [
        ([3, 900, 32], 100, 100),
        ([2, 192, 8], 10, 32),
        ([2, 137, 5], 13, 29),
        ([1, 30, 2], 7, 1),
        ([2, 61, 1], 60, 100),
        ([2, 100, 17], 1, 3),
        ([1, 50, 40], 1, 49),
        ([2, 9, 3], 20, 4),
        ([2, 9, 3], 9, 4),
        ([0, 9, 3], 4, 4),
        ([2, 0, 3], 4, 4),
    ] {
        judge_merge(&spread(dims, 2.0, 1), keep, chunk);
    }
}

#[test]
fn long_lines() {
    judge_merge(&spread([2, 6_000, 5], 2.0, 6), 2_000, 2_100);
    judge_merge(&spread([1, 20_000, 8], 2.0, 3), 5000, 5000);
    judge_merge(&spread([2, 25_000, 1], 2.0, 4), 8192, 8192);
    judge_merge(&spread([1, 30_001, 3], 2.0, 5), 10_000, 9_999);
}

/// Rows drawn from `kinds` different ones, some of them with special values: ties everywhere.
fn tied(dims: [usize; 3], kinds: usize, special: &[f32], seed: u64) -> Tensor {
    let [b, n, r] = dims;
    let mut rng = Rng::new(seed);
    let mut rows: Vec<Vec<f32>> = (0..kinds).map(|_| (0..r).map(|_| 2.0 * rng.normal()).collect()).collect();
    for (row, &value) in rows.iter_mut().zip(special) {
        row[rng.below(r as u32) as usize] = value;
    }
    let data: Vec<f32> = (0..b * n).flat_map(|_| rows[rng.below(kinds as u32) as usize].clone()).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

#[test]
fn ties_infinities_and_nan() {
    const ODD: [f32; 5] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NAN];
    for (dims, keep, chunk) in
        [([2, 300, 4], 40, 60), ([2, 901, 32], 100, 100), ([3, 77, 1], 5, 7), ([1, 3000, 8], 700, 800)]
    {
        judge_merge(&tied(dims, 1, &[], 1), keep, chunk);
        judge_merge(&tied(dims, 2, &[], 2), keep, chunk);
        judge_merge(&tied(dims, 10, &[], 3), keep, chunk);
        judge_merge(&tied(dims, 10, &ODD, 4), keep, chunk);
        // More candidates left out than there are places for the others.
        judge_merge(&tied(dims, 6, &ODD, 5), keep, chunk);
        judge_merge(&tied(dims, 5, &[f32::NAN; 5], 6), keep, chunk);
        judge_merge(&tied(dims, 1, &[f32::NEG_INFINITY], 7), keep, chunk);
    }
}

#[test]
fn special_logits_are_ruled_on() {
    const INF: f32 = f32::INFINITY;
    assert_eq!(kept(&[f32::NAN, 1.0, INF, 2.0, -INF, 3.0], [1, 6, 1], 6, 1), [0, 1, 2, 3, 4, 5], "N ≤ M");
    assert_eq!(kept(&[f32::NAN, 1.0, INF, 2.0, -INF, 3.0], [1, 6, 1], 5, 1), [5, 3, 1, 4, 0]);
    assert_eq!(kept(&[f32::NAN, f32::NAN, INF, -INF], [1, 4, 1], 3, 1), [3, 0, 1]);
    assert_eq!(kept(&[-INF; 6], [1, 6, 1], 3, 2), [0, 1, 2]);
    // One bad logit takes the candidate out of every row, however good the others are.
    assert_eq!(kept(&[9.0, f32::NAN, 0.0, 0.0, 1.0, 0.0], [1, 3, 2], 2, 1), [2, 1]);
    // Minus infinity in one row is a probability of 0 there, and the others count.
    assert_eq!(kept(&[9.0, -INF, 0.0, 0.0, 1.0, 0.0], [1, 3, 2], 2, 1), [0, 2]);
    // A row of minus infinities decides nothing.
    assert_eq!(kept(&[0.0, -INF, 2.0, -INF, 1.0, -INF], [1, 3, 2], 2, 1), [1, 2]);
    assert_eq!(kept(&[88.0, 3e38, -3e38, 3e38], [1, 4, 1], 3, 1), [1, 3, 0]);
}

#[test]
fn several_rows_depend_on_what_arrives_when() {
    // Row 0 loves candidate 0 and row 1 candidate 1; once 2 and 3 are in, the normalisers have changed.
    let logits = [5.0, 0.0, 0.0, 5.0, 4.9, 4.9, 6.0, -9.0];
    assert_eq!(kept(&logits, [1, 4, 2], 2, 2), kept(&logits, [1, 4, 2], 2, 1));
    let logits = spread([1, 900, 32], 2.0, 1).to_vec::<f32>().unwrap();
    assert_ne!(kept(&logits, [1, 900, 32], 100, 100), kept(&logits, [1, 900, 32], 100, 800));
}

#[test]
fn merging_chunk_by_chunk_is_the_same_as_at_once() {
    let (n, r, keep, chunk) = (500, 12, 40, 37);
    let logits = tied([1, n, r], 300, &[f32::NAN, f32::INFINITY], 8).to_vec::<f32>().unwrap();
    let row = |c: i32| &logits[c as usize * r..(c as usize + 1) * r];
    let mut list: Vec<i32> = (0..keep as i32).collect();
    for first in (keep..n).step_by(chunk) {
        let line: Vec<i32> = list.into_iter().chain(first as i32..n.min(first + chunk) as i32).collect();
        let data: Vec<f32> = line.iter().flat_map(|&c| row(c)).copied().collect();
        let places = kept(&data, [1, line.len(), r], keep, chunk);
        list = places.into_iter().map(|at| line[at as usize]).collect();
    }
    assert_eq!(list, kept(&logits, [1, n, r], keep, chunk));
}

proptest! {
    #![proptest_config(crate::testing::cases(60))]

    /// With one row the order of the scores never changes: any chunking finds the M largest of all, earlier ones first.
    #[test]
    fn one_row_is_a_plain_top_m(
        n in 1usize..200, keep in 1usize..60, chunk in 1usize..80, levels in 1u32..300, seed in 0u64..1000,
    ) {
        let mut rng = Rng::new(seed);
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let value = |rng: &mut Rng| match rng.below(levels + 3) {
            v if v < levels => v as f32 * 0.125,
            v => odd[(v - levels) as usize],
        };
        let logits: Vec<f32> = (0..n).map(|_| value(&mut rng)).collect();
        let mut all: Vec<i32> = (0..n as i32).collect();
        if n > keep {
            let rank = |c: &i32| Some(logits[*c as usize]).filter(|&l| l < f32::INFINITY);
            all.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap());
        }
        all.truncate(keep);
        prop_assert_eq!(kept(&logits, [1, n, 1], keep, chunk), all);
    }

    #[test]
    fn any_shape_meets_the_specification(
        b in 1usize..4, n in 1usize..150, r in 1usize..40, keep in 1usize..90, chunk in 1usize..90, kinds in 1usize..400,
        seed in 0u64..1000,
    ) {
        judge_merge(&tied([b, n, r], kinds, &[], seed), keep, chunk);
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([1, 4, 2], 1);
    assert!(matches!(top_m_merge(&x, 0, 1), Err(Error::Argument { op: "top_m_merge", .. })));
    assert!(matches!(top_m_merge(&x, 1, 0), Err(Error::Argument { op: "top_m_merge", .. })));
    assert!(matches!(top_m_merge(&random([4, 2], 1), 1, 1), Err(Error::Shape { op: "top_m_merge", .. })));
    assert!(matches!(top_m_merge(&random([1, 4, 0], 1), 1, 1), Err(Error::Shape { op: "top_m_merge", .. })));
    let bytes = Tensor::from_slice(&[1_u8; 8], [1, 4, 2], &Device::Cpu).unwrap();
    assert!(matches!(top_m_merge(&bytes, 1, 1), Err(Error::DType { op: "top_m_merge", .. })));
}
