use super::*;
use crate::testing::*;
use proptest::prelude::*;

fn stored(batch: &[usize], rows: usize, columns: usize, transposed: bool, seed: u64) -> Tensor {
    let last = if transposed { [columns, rows] } else { [rows, columns] };
    random(Dims::of(batch).join(&last).unwrap(), seed)
}

/// Leading axes of both operands, and M, K, N.
type Shape = (&'static [usize], &'static [usize], [usize; 3]);

const SHAPES: &[Shape] = &[
    (&[], &[], [1, 1, 1]),
    (&[], &[], [5, 7, 3]),
    (&[], &[], [70, 600, 33]),
    (&[2], &[2], [3, 4, 5]),
    (&[3, 1], &[2], [4, 3, 2]),
    (&[2, 3], &[], [5, 2, 4]),
    (&[], &[4], [2, 3, 1]),
    (&[], &[], [40, 20, 50]),
    (&[20], &[20], [40, 33, 50]),
    (&[1], &[6], [17, 65, 31]),
    (&[0], &[], [2, 3, 4]),
    (&[2], &[1], [0, 3, 4]),
    (&[2], &[2], [2, 0, 3]),
];

#[test]
fn products_match_their_specification() {
    for &(a, b, [m, k, n]) in SHAPES {
        for flags in 0..4 {
            let op = MatMul { transpose_a: flags & 1 == 1, transpose_b: flags & 2 == 2, precision: None };
            judge_in_both(&op, &[&stored(a, m, k, op.transpose_a, 1), &stored(b, k, n, op.transpose_b, 2)]);
        }
    }
}

#[test]
fn gradients_of_products() {
    for &(a, b, [m, k, n]) in &[
        (&[2][..], &[2][..], [3, 4, 5]),
        (&[2, 1], &[3], [1, 3, 2]),
        (&[3], &[], [2, 3, 4]),
        (&[], &[2], [3, 1, 2]),
    ] {
        for flags in 0..4 {
            let op = MatMul { transpose_a: flags & 1 == 1, transpose_b: flags & 2 == 2, precision: None };
            let ins = [stored(a, m, k, op.transpose_a, 1), stored(b, k, n, op.transpose_b, 2)];
            judge_function_on(MatMul::ARMS, |x| Ok(vec![matmul_with(op, &x[0], &x[1])?]), &ins);
            let short = ins.each_ref().map(half);
            judge_short_function_on(MatMul::ARMS, |x| Ok(vec![matmul_with(op, &x[0], &x[1])?]), &short);
        }
    }
}

#[test]
fn only_what_a_gradient_needs_is_saved() {
    let tape = crate::Tape::new();
    let (a, b) = (random([4, 3], 1), random([3, 2], 2));
    let watched = tape.watch(&a).unwrap();
    matmul(&watched, &b).unwrap();
    assert_eq!(tape.saved_bytes(), b.elements() * 4);
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3], 1);
    for y in [random([2, 3], 2), random([3], 3)] {
        assert!(matches!(matmul(&x, &y), Err(Error::Shape { op: "matmul", .. })));
    }
    let unlike = matmul(&random([2, 2, 3], 1), &random([3, 3, 2], 2)).unwrap_err();
    assert!(
        matches!(unlike, Error::Shape { op: "matmul", .. }) && unlike.to_string().contains("[2]"),
        "{unlike}"
    );
    assert!(matches!(matmul(&random_i32([2, 2], 5, 1), &x), Err(Error::DType { op: "matmul", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// (a b) c = a (b c), and transposed storage changes nothing.
    #[test]
    fn the_product_is_associative(batch in 1usize..4, m in 1usize..20, k in 1usize..20, l in 1usize..20, n in 1usize..20, seed in 0u64..100) {
        let (a, b, c) = (random([batch, m, k], seed), random([k, l], seed + 1), random([batch, l, n], seed + 2));
        let left = matmul(&matmul(&a, &b).unwrap(), &c).unwrap().to_vec::<f32>().unwrap();
        let right = matmul(&a, &matmul(&b, &c).unwrap()).unwrap().to_vec::<f32>().unwrap();
        let size = rms(left.iter().map(|&v| f64::from(v)));
        let error = rms(left.iter().zip(&right).map(|(a, b)| f64::from(a - b)));
        prop_assert!(error <= 1e-6 * (1.0 + size), "{error} of {size}");
        let turned = crate::ops::transpose(&b, &[1, 0]).unwrap();
        let flags = MatMul { transpose_b: true, ..MatMul::default() };
        let (plain, by_flag) = (matmul(&a, &b).unwrap(), matmul_with(flags, &a, &turned).unwrap());
        prop_assert_eq!(bits(&plain), bits(&by_flag));
    }
}
