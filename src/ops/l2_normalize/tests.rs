use super::*;
use crate::{Device, device::run, ops::scale, testing::*};
use proptest::prelude::*;

fn judge_shape(dims: Dims, seed: u64) {
    let (x, dy) = (random(dims, seed), random(dims, seed + 1));
    judge(&L2Normalize, &[&x]);
    if dims[dims.rank() - 1] != 1 {
        judge(&L2NormalizeGrad, &[&dy, &x]);
    }
}

/// The true gradient is zero: what is left is rounding.
#[test]
fn the_sign_of_a_single_value_has_no_gradient() {
    let (x, dy) = (away_from_zero([5, 1], 1), random([5, 1], 2));
    let dx = run(&L2NormalizeGrad, &[&dy, &x]).unwrap();
    assert!(dx[0].to_vec::<f32>().unwrap().iter().all(|v| v.abs() < 1e-6));
}

#[test]
fn every_shape_matches_its_specification() {
    for dims in [&[7][..], &[4, 1], &[3, 5, 33], &[1280, 32], &[3, 300], &[2, 5000], &[0, 5], &[3, 0]] {
        judge_shape(Dims::new(dims).unwrap(), 1);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_shape_matches(rows in 1usize..200, size in 1usize..150, seed in 0u64..1000) {
        judge_shape(Dims::from([rows, size]), seed);
    }
}

#[test]
fn short_rows_are_divided_by_the_floor() {
    let tiny = scale(&random([3, 4], 1), 1e-8, 0.0).unwrap();
    judge(&L2Normalize, &[&tiny]);
    judge(&L2NormalizeGrad, &[&random([3, 4], 2), &tiny]);
    let zero = Tensor::zeros([2, 3], &Device::Cpu).unwrap();
    assert_eq!(l2_normalize(&zero).unwrap().to_vec::<f32>().unwrap(), [0.0; 6]);
}

#[test]
fn gradients_agree_with_differences() {
    for dims in [&[2, 3, 5][..], &[3, 2]] {
        let x = away_from_zero(Dims::new(dims).unwrap(), 1);
        judge_function(|x| Ok(vec![l2_normalize(&x[0])?]), &[x]);
    }
}

#[test]
fn misuse_is_a_typed_error() {
    assert!(matches!(l2_normalize(&random([], 1)), Err(Error::Shape { op: "l2_normalize", .. })));
    assert!(matches!(l2_normalize(&random_i32([3], 5, 1)), Err(Error::DType { op: "l2_normalize", .. })));
    let refused = run(&L2NormalizeGrad, &[&random([2, 3], 1), &random([3, 2], 1)]);
    assert!(matches!(refused, Err(Error::Shape { op: "l2_normalize_grad", .. })));
}
