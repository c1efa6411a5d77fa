use super::*;
use crate::{Tape, testing::*};

/// Batch B, inputs N, features D, heads H, queries T, value length dv, outputs O.
const SIZES: &[[usize; 7]] = &[
    [1, 1, 1, 1, 1, 1, 1],
    [4, 100, 128, 8, 4, 16, 128],
    [2, 10, 192, 8, 1, 24, 192],
    [3, 7, 5, 2, 3, 4, 6],
    [1, 600, 33, 3, 2, 5, 9],
    [2, 0, 4, 2, 1, 2, 3],
    [0, 5, 4, 2, 1, 2, 3],
];

/// x, u, wv, wo
fn operands([b, n, d, h, t, value, o]: [usize; 7]) -> [Tensor; 4] {
    [random([b, n, d], 1), random([h * t, d], 2), random([h * value, d], 3), random([o, h * value], 4)]
}

fn dropout(p: f32) -> Option<Dropout> {
    Some(Dropout { p, words: Rng::new(5).reserve(1 << 20) })
}

#[test]
fn attention_matches_its_specification() {
    for &sizes in SIZES {
        let ins = operands(sizes);
        let ins: Vec<&Tensor> = ins.iter().collect();
        for dropout in [None, dropout(0.1), dropout(0.7)] {
            for keep in [false, true] {
                judge_in_both(&CrossAttention { heads: sizes[3], dropout, keep, precision: None }, &ins);
            }
        }
    }
}

#[test]
fn gradients_match_their_specification() {
    for &sizes in SIZES {
        let ins = operands(sizes);
        for dropout in [None, dropout(0.3)] {
            let attention = CrossAttention { heads: sizes[3], dropout, keep: true, precision: None };
            let outs = crate::device::run(&attention, &ins.each_ref()).unwrap();
            let (dy, dscores) = (random(outs[0].dims(), 5), random(outs[1].dims(), 6));
            let mut all: Vec<&Tensor> = ins.iter().collect();
            all.extend([&outs[2], &outs[3], &dy, &dscores]);
            for wants in [
                [true; 4],
                [true, false, false, false],
                [false, true, true, false],
                [false, false, false, true],
            ] {
                judge(&CrossAttentionGrad { attention, wants }, &all);
                // What the forward pass kept is f32.
                let short =
                    |(at, t): (usize, &&Tensor)| if [4, 5].contains(&at) { (*t).clone() } else { half(t) };
                let short: Vec<Tensor> = all.iter().enumerate().map(short).collect();
                judge(&CrossAttentionGrad { attention, wants }, &short.iter().collect::<Vec<_>>());
            }
        }
    }
}

/// x, q, wq, wk, wv, wo
fn layer([b, n, d, h, t, value, o]: [usize; 7], key: usize) -> [Tensor; 6] {
    let [x, _, wv, wo] = operands([b, n, d, h, t, value, o]);
    [x, random([t, d], 7), random([h * key, d], 8), random([h * key, d], 9), wv, wo]
}

fn attend(x: &[Tensor], heads: usize, dropout: Option<(f32, &mut Rng)>) -> Result<Vec<Tensor>> {
    let (y, scores) = cross_attention(&x[0], &x[1], [&x[2], &x[3], &x[4], &x[5]], heads, dropout)?;
    Ok(vec![y, scores])
}

#[test]
fn gradients_agree_with_differences() {
    for (sizes, key) in [([2, 3, 4, 2, 2, 2, 3], 1), ([2, 2, 3, 1, 1, 2, 2], 3), ([2, 1, 2, 2, 1, 1, 2], 1)] {
        let ins = layer(sizes, key);
        judge_function_on(CrossAttention::ARMS, |x| attend(x, sizes[3], None), &ins);
        judge_short_function_on(
            CrossAttention::ARMS,
            |x| attend(x, sizes[3], None),
            &ins.each_ref().map(half),
        );
        let dropped = |x: &[Tensor]| attend(x, sizes[3], Some((0.4, &mut Rng::new(3))));
        judge_function_on(CrossAttention::ARMS, dropped, &ins);
        judge_function_on(CrossAttention::ARMS, |x| Ok(vec![attend(x, sizes[3], None)?.remove(1)]), &ins);
        judge_function_on(CrossAttention::ARMS, |x| Ok(vec![attend(x, sizes[3], None)?.remove(0)]), &ins);
    }
}

#[test]
fn gradients_that_nobody_wants_are_not_computed() {
    let [x, q, wq, wk, wv, wo] = layer([2, 6, 8, 2, 3, 4, 5], 4);
    let tape = Tape::new();
    let watched = tape.watch(&wv).unwrap();
    let (y, _) = cross_attention(&x, &q, [&wq, &wk, &watched, &wo], 2, None).unwrap();
    let loss = crate::ops::sum_all(&y).unwrap();
    assert_eq!(tape.backward(&loss).unwrap().of(&watched).unwrap().dims(), wv.dims());
}

#[test]
fn an_image_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let ins = layer([5, 150, 64, 4, 2, 16, 48], 16);
    let run = |ins: &[Tensor], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| attend(ins, 4, None)).unwrap()
    };
    let whole = run(&ins, 2);
    for rows in [0..1, 2..4, 4..5] {
        let mut part = ins.to_vec();
        part[0] = ins[0].rows(rows.clone()).unwrap();
        for (got, whole) in run(&part, 3).iter().zip(&whole) {
            assert_eq!(bits(got), bits(&whole.rows(rows.clone()).unwrap()));
        }
    }
    let gradient = |threads: usize| {
        let tape = Tape::new();
        let watched: Vec<Tensor> = ins.iter().map(|t| tape.watch(t).unwrap()).collect();
        let outs = run(&watched, threads);
        let dy = random(outs[0].dims(), 3);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let grads = pool.install(|| tape.backward_from(&[(&outs[0], &dy)])).unwrap();
        watched.iter().map(|t| bits(grads.of(t).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(gradient(1), gradient(4));
}

#[test]
fn dropout_drops_its_share_and_keeps_the_expectation() {
    let (rows, inputs) = (32, 1000);
    let mut mask = vec![0.0; rows * inputs];
    let dropout = dropout(0.25).unwrap();
    cpu::draw(&dropout, 3, &mut mask);
    let dropped = mask.iter().filter(|&&m| m == 0.0).count() as f64 / mask.len() as f64;
    assert!((dropped - 0.25).abs() < 0.01, "{dropped}");
    assert!(mask.iter().all(|&m| m == 0.0 || m == (1.0 / 0.75)));
    let mut other = vec![0.0; rows * inputs];
    cpu::draw(&dropout, 4, &mut other);
    assert_ne!(mask, other, "images share no words");
}

#[test]
fn misuse_is_a_typed_error() {
    let [x, q, wq, wk, wv, wo] = layer([2, 6, 8, 2, 3, 4, 5], 4);
    let refused = |x: &Tensor, weights: [&Tensor; 4], heads: usize, p: f32| {
        cross_attention(x, &q, weights, heads, Some((p, &mut Rng::new(1)))).unwrap_err()
    };
    let weights = [&wq, &wk, &wv, &wo];
    assert!(matches!(
        refused(&random([2, 6, 7], 1), weights, 2, 0.1),
        Error::Shape { op: "cross_attention", .. }
    ));
    assert!(matches!(
        refused(&random([6, 8], 1), weights, 2, 0.1),
        Error::Shape { op: "cross_attention", .. }
    ));
    assert!(matches!(
        refused(&x, [&wq, &wk, &wv, &random([5, 9], 1)], 2, 0.1),
        Error::Shape { op: "cross_attention", .. }
    ));
    assert!(matches!(
        refused(&x, [&wq, &wk, &random([7, 8], 1), &random([5, 7], 1)], 2, 0.1),
        Error::Argument { .. }
    ));
    assert!(matches!(refused(&x, weights, 3, 0.1), Error::Argument { op: "fold_queries", .. }));
    for p in [-0.1, 1.0, f32::NAN] {
        assert!(matches!(refused(&x, weights, 2, p), Error::Argument { op: "cross_attention", .. }));
    }
    let empty = refused(
        &random([2, 3, 0], 1),
        [&random([2, 0], 1), &random([2, 0], 1), &random([2, 0], 1), &wo],
        2,
        0.1,
    );
    assert!(matches!(empty, Error::Shape { .. }));
}
