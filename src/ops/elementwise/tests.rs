use super::*;
use crate::{Dims, testing::*};

#[test]
fn binary_operations_broadcast_like_numpy() {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[3, 4], &[3, 4]),
        (&[2, 3, 4], &[4]),
        (&[2, 3, 4], &[3, 1]),
        (&[2, 1, 4], &[2, 3, 1]),
        (&[], &[2, 3]),
        (&[7, 1, 5, 3], &[1, 2, 1, 3]),
        (&[50, 40, 60], &[40, 1]),
        (&[100_000], &[1]),
        (&[0, 3], &[3]),
    ];
    for (a, b) in shapes {
        let (a, b) = (random(Dims::new(a).unwrap(), 1), away_from_zero(Dims::new(b).unwrap(), 2));
        judge_in_both(&Binary::<Add>::default(), &[&a, &b]);
        judge_in_both(&Binary::<Sub>::default(), &[&b, &a]);
        judge_in_both(&Binary::<Mul>::default(), &[&a, &b]);
        judge_in_both(&Binary::<Div>::default(), &[&a, &b]);
    }
}

#[test]
fn gradients_of_binary_operations() {
    for (a, b) in [(vec![2, 3, 4], vec![2, 3, 4]), (vec![2, 3, 4], vec![3, 1]), (vec![1, 3], vec![5, 1])] {
        let ins = [random(Dims::new(&a).unwrap(), 1), away_from_zero(Dims::new(&b).unwrap(), 2)];
        for f in [add, sub, mul, div] {
            judge_function(|x| Ok(vec![f(&x[0], &x[1])?]), &ins);
        }
    }
}

#[test]
fn shapes_that_do_not_broadcast_are_refused() {
    let error = add(&random([2, 3], 1), &random([2], 2)).unwrap_err();
    assert!(matches!(error, Error::Shape { op: "add", .. }), "{error}");
    assert!(error.to_string().contains("[2, 3]") && error.to_string().contains("[2]"), "{error}");
}

/// Shapes that leave every kind of remainder, and an empty one.
const SHAPES: &[&[usize]] = &[&[], &[1], &[17], &[2, 3, 5], &[0, 4], &[40_001]];

fn positive(dims: &[usize], seed: u64) -> Tensor {
    let x = away_from_zero(Dims::new(dims).unwrap(), seed);
    let data: Vec<f32> = x.to_vec::<f32>().unwrap().into_iter().map(f32::abs).collect();
    Tensor::from_slice(&data, x.dims(), &crate::Device::Cpu).unwrap()
}

fn judge_unary<F: Function>(positive_only: bool) {
    for dims in SHAPES {
        let x = if positive_only { positive(dims, 3) } else { random(Dims::new(dims).unwrap(), 3) };
        judge_in_both(&Unary::<F>::default(), &[&x]);
        let dy = random(x.dims(), 4);
        judge_in_both(&UnaryGrad::<F>::default(), &[&dy, &x]);
    }
}

#[test]
fn unary_operations_match_their_specifications() {
    judge_unary::<Exp>(false);
    judge_unary::<Log>(true);
    judge_unary::<Relu>(false);
    judge_unary::<Sigmoid>(false);
    judge_unary::<Sqrt>(true);
    judge_unary::<Square>(false);
    judge_unary::<Swish>(false);
    judge_unary::<Tanh>(false);
    for dims in SHAPES {
        judge_in_both(&Scale { factor: -1.7, shift: 0.3 }, &[&random(Dims::new(dims).unwrap(), 5)]);
    }
}

#[test]
fn gradients_of_unary_operations() {
    let x = away_from_zero([2, 3, 5], 6);
    for f in [relu, tanh, sigmoid, exp, swish, square, neg] {
        judge_function(|x| Ok(vec![f(&x[0])?]), std::slice::from_ref(&x));
    }
    for f in [log, sqrt] {
        judge_function(|x| Ok(vec![f(&x[0])?]), &[positive(&[2, 3, 5], 7)]);
    }
    judge_function(|x| Ok(vec![scale(&x[0], 2.5, -1.0)?]), &[x]);
}

#[test]
fn gradient_of_a_rectified_sum() {
    for dims in [&[2, 3, 4][..], &[3, 1], &[1]] {
        let a = away_from_zero([2, 3, 4], 8);
        let b = random(Dims::new(dims).unwrap(), 9);
        let b = scale(&b, 0.1, 0.0).unwrap();
        judge_in_both(&Binary::<AddRelu>::default(), &[&a, &b]);
        judge_function(|x| Ok(vec![add_relu(&x[0], &x[1])?]), &[a, b]);
    }
}

#[test]
fn nan_passes_through_a_relu() {
    let x = Tensor::from_slice(&[f32::NAN, -1.0], [2], &crate::Device::Cpu).unwrap();
    let y = relu(&x).unwrap().to_vec::<f32>().unwrap();
    assert!(y[0].is_nan() && y[1] == 0.0);
    assert!(add_relu(&x, &x).unwrap().to_vec::<f32>().unwrap()[0].is_nan());
}

#[test]
fn unary_misuse_is_a_typed_error() {
    let indices = random_i32([3], 5, 1);
    assert!(matches!(relu(&indices), Err(Error::DType { op: "relu", .. })));
    assert!(matches!(scale(&indices, 1.0, 0.0), Err(Error::DType { op: "scale", .. })));
    let (dy, x) = (random([2, 3], 1), random([3, 2], 2));
    let refused = crate::device::run(&UnaryGrad::<Tanh>::default(), &[&dy, &x]);
    assert!(matches!(refused, Err(Error::Shape { op: "tanh_grad", .. })));
}
