use super::*;
use crate::{Device, testing::*};
use proptest::prelude::*;

/// Leading axes, rows N, picks K, axes of a row.
const SHAPES: &[(&[usize], usize, usize, &[usize])] = &[
    (&[], 5, 7, &[3]),
    (&[2], 4, 6, &[]),
    (&[3], 1, 2, &[5]),
    (&[2], 5, 3, &[8]),
    (&[2, 2], 9, 3, &[2, 3]),
    (&[2], 300, 150, &[130]),
    (&[], 1000, 3000, &[40]),
    (&[2], 3, 0, &[4]),
    (&[2], 3, 4, &[0]),
    (&[0], 3, 4, &[2]),
];

fn shape(lead: &[usize], size: usize, inner: &[usize]) -> Dims {
    Dims::of(lead).join(&[size]).unwrap().join(inner).unwrap()
}

#[test]
fn gather_and_scatter_add_match_their_specifications() {
    for &(lead, rows, picks, inner) in SHAPES {
        let indices = random_i32(shape(lead, picks, &[]), rows as u32, 3);
        judge(&Gather, &[&random(shape(lead, rows, inner), 1), &indices]);
        judge(&Gather, &[&random_i32(shape(lead, rows, inner), 1000, 1), &indices]);
        judge(&ScatterAdd { rows }, &[&random(shape(lead, picks, inner), 2), &indices]);
    }
    let bytes = Tensor::from_slice(&[1u8, 2, 3, 4, 5, 6], [3, 2], &Device::Cpu).unwrap();
    judge(&Gather, &[&bytes, &random_i32([5], 3, 1)]);
}

#[test]
fn gradients_are_each_other() {
    let indices = Tensor::from_slice(&[2, 0, 2, 1, 1, 1], [2, 3], &Device::Cpu).unwrap();
    let ins = [random([2, 4, 3], 1), indices.clone()];
    judge_function_on(Gather::ARMS, |x| Ok(vec![gather(&x[0], &x[1])?]), &ins);
    let ins = [random([2, 3, 2], 1), indices];
    judge_function_on(ScatterAdd::ARMS, |x| Ok(vec![scatter_add(&x[0], &x[1], 4)?]), &ins);
    let ins = [random([5, 2], 1), random_i32([7], 5, 2)];
    judge_function_on(Gather::ARMS, |x| Ok(vec![gather(&x[0], &x[1])?]), &ins);
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3, 4], 1);
    for dims in [&[][..], &[3, 2], &[2, 3, 4, 1]] {
        let indices = random_i32(Dims::new(dims).unwrap(), 2, 1);
        assert!(matches!(gather(&x, &indices), Err(Error::Shape { op: "gather", .. })), "{dims:?}");
    }
    assert!(matches!(gather(&x, &random([2, 3], 1)), Err(Error::DType { op: "gather", .. })));
    let short = random_i32([2, 2], 2, 1);
    assert!(matches!(scatter_add(&x, &short, 2), Err(Error::Shape { op: "scatter_add", .. })));
    for index in [-1, 3] {
        let outside = Tensor::from_slice(&[0, 1, 2, 0, index, 1], [2, 3], &Device::Cpu).unwrap();
        let refused = gather(&x, &outside).unwrap_err();
        assert!(
            matches!(refused, Error::Argument { op: "gather", .. })
                && refused.to_string().contains("number 4")
        );
        assert!(matches!(scatter_add(&x, &outside, 3), Err(Error::Argument { op: "scatter_add", .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// ⟨gather x, y⟩ = ⟨x, scatter_add y⟩.
    #[test]
    fn gather_and_scatter_add_are_adjoint(batch in 1usize..4, rows in 1usize..20, picks in 1usize..30, inner in 1usize..6, seed in 0u64..100) {
        let (x, y) = (random([batch, rows, inner], seed), random([batch, picks, inner], seed + 1));
        let indices = random_i32([batch, picks], rows as u32, seed + 2);
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            let (a, b) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
            a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let left = dot(&gather(&x, &indices).unwrap(), &y);
        let right = dot(&x, &scatter_add(&y, &indices, rows).unwrap());
        prop_assert!((left - right).abs() <= 1e-4 * (1.0 + left.abs()), "{left} {right}");
    }
}
