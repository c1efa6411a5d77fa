use super::*;
use crate::{Device, device::run, testing::*};
use proptest::prelude::*;

fn judge_all(dims: Dims, seed: u64) {
    let x = scale(&random(dims, seed), 2.0, 0.0).unwrap();
    let dy = random(dims, seed + 1);
    for axis in 0..dims.rank() {
        judge(&Softmax { axis }, &[&x]);
        judge(&LogSoftmax { axis }, &[&x]);
        let y = softmax(&x, axis as isize).unwrap();
        judge(&SoftmaxGrad { axis }, &[&dy, &y]);
        let y = log_softmax(&x, axis as isize).unwrap();
        judge(&LogSoftmaxGrad { axis }, &[&dy, &y]);
    }
}

#[test]
fn every_axis_matches_its_specification() {
    for dims in [
        &[7][..],
        &[3, 5],
        &[2, 1],
        &[16, 200, 4],
        &[2, 3, 100, 33],
        &[3, 300],
        &[2, 1500],
        &[3, 40_000],
        &[1],
        &[0, 4],
        &[4, 0],
    ] {
        judge_all(Dims::new(dims).unwrap(), 1);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_shape_matches(a in 1usize..6, b in 1usize..70, c in 1usize..40, seed in 0u64..1000) {
        judge_all(Dims::from([a, b, c]), seed);
    }
}

#[test]
fn rows_that_are_not_finite() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [0.0, -inf, 1.0, -inf, -inf, -inf, 0.0, inf, 1.0, 0.0, nan, 1.0];
    let x = Tensor::from_slice(&x, [4, 3], &Device::Cpu).unwrap();
    for axis in [0, 1] {
        judge(&Softmax { axis }, &[&x]);
        judge(&LogSoftmax { axis }, &[&x]);
    }
    let y = softmax(&x, 1).unwrap().to_vec::<f32>().unwrap();
    assert!(y[1] == 0.0 && y[3..].iter().all(|v| v.is_nan()));
}

#[test]
fn gradients_agree_with_differences() {
    for (dims, axis) in [(&[2, 3, 5][..], -1), (&[2, 3, 5], 1), (&[4, 1], 0), (&[3, 1], 1)] {
        let x = random(Dims::new(dims).unwrap(), 2);
        judge_function(|x| Ok(vec![softmax(&x[0], axis)?]), std::slice::from_ref(&x));
        judge_function(|x| Ok(vec![log_softmax(&x[0], axis)?]), std::slice::from_ref(&x));
        judge_function(|x| Ok(vec![softmax_smoothed(&x[0], axis, 0.3)?]), &[x]);
    }
}

#[test]
fn a_row_has_the_same_bits_wherever_it_stands() {
    let x = random([40, 999], 3);
    let all = softmax(&x, 1).unwrap();
    let some = softmax(&crate::ops::slice(&x, 17..19).unwrap(), 1).unwrap();
    assert_eq!(bits(&crate::ops::slice(&all, 17..19).unwrap()), bits(&some));
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3], 1);
    assert!(matches!(softmax(&x, 2), Err(Error::Argument { op: "softmax", .. })));
    assert!(matches!(log_softmax(&random([], 1), 0), Err(Error::Argument { op: "log_softmax", .. })));
    assert!(matches!(softmax(&random_i32([3], 5, 1), 0), Err(Error::DType { op: "softmax", .. })));
    for bad in [-0.1, 1.1, f64::NAN] {
        let refused = softmax_smoothed(&x, 0, bad);
        assert!(matches!(refused, Err(Error::Argument { op: "softmax_smoothed", .. })));
    }
    let refused = run(&SoftmaxGrad { axis: 0 }, &[&x, &random([3, 2], 1)]);
    assert!(matches!(refused, Err(Error::Shape { op: "softmax_grad", .. })));
    assert!(matches!(run(&Softmax { axis: 5 }, &[&x]), Err(Error::Argument { op: "softmax", .. })));
}
