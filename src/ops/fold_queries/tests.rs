use super::*;
use crate::testing::*;

/// Queries T, features D, heads H, length of a key dk.
const SIZES: &[[usize; 4]] =
    &[[1, 1, 1, 1], [4, 128, 8, 16], [3, 5, 2, 7], [1, 24, 3, 2], [2, 6, 1, 6], [0, 4, 2, 3]];

fn operands([t, d, h, key]: [usize; 4]) -> [Tensor; 3] {
    [random([t, d], 1), random([h * key, d], 2), random([h * key, d], 3)]
}

#[test]
fn the_fold_matches_its_specification() {
    for &sizes in SIZES {
        let ([q, wq, wk], fold) = (operands(sizes), FoldQueries { heads: sizes[2] });
        judge_in_both(&fold, &[&q, &wq, &wk]);
        judge_in_both(
            &FoldQueriesGrad { fold },
            &[&random([sizes[2] * sizes[0], sizes[1]], 4), &q, &wq, &wk],
        );
    }
}

#[test]
fn gradients_of_the_fold() {
    for sizes in [[2, 3, 2, 2], [1, 4, 3, 1]] {
        let f = |x: &[Tensor]| Ok(vec![fold_queries(&x[0], &x[1], &x[2], sizes[2])?]);
        judge_function_on(FoldQueries::ARMS, f, &operands(sizes));
    }
}

#[test]
fn folded_logits_are_those_of_projected_queries_and_keys() {
    let [q, wq, wk] = operands([3, 10, 2, 4]);
    let x = random([7, 10], 5);
    let logits = crate::ops::linear(&x, &fold_queries(&q, &wq, &wk, 2).unwrap(), None).unwrap();
    let queries = crate::ops::linear(&q, &wq, None).unwrap().to_vec::<f32>().unwrap();
    let keys = crate::ops::linear(&x, &wk, None).unwrap().to_vec::<f32>().unwrap();
    for (at, logit) in logits.to_vec::<f32>().unwrap().into_iter().enumerate() {
        let (n, h, t) = (at / 6, at / 3 % 2, at % 3);
        let want: f32 =
            (0..4).map(|j| queries[t * 8 + h * 4 + j] * keys[n * 8 + h * 4 + j]).sum::<f32>() / 2.0;
        assert!((logit - want).abs() < 1e-4 * (1.0 + want.abs()), "{logit} {want}");
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let [q, wq, wk] = operands([2, 4, 2, 3]);
    let refused = |q: &Tensor, wq: &Tensor, wk: &Tensor, heads| fold_queries(q, wq, wk, heads).unwrap_err();
    assert!(matches!(refused(&q, &wq, &random([6, 5], 1), 2), Error::Shape { op: "fold_queries", .. }));
    assert!(matches!(refused(&random([2, 5], 1), &wq, &wk, 2), Error::Shape { op: "fold_queries", .. }));
    assert!(matches!(refused(&random([1, 2, 4], 1), &wq, &wk, 2), Error::Shape { op: "fold_queries", .. }));
    for heads in [0, 4] {
        assert!(matches!(refused(&q, &wq, &wk, heads), Error::Argument { op: "fold_queries", .. }));
    }
    assert!(matches!(
        refused(&q, &random_i32([6, 4], 3, 1), &wk, 2),
        Error::DType { op: "fold_queries", .. }
    ));
}
