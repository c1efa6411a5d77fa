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
        judge(&Binary::<Add>::default(), &[&a, &b]);
        judge(&Binary::<Sub>::default(), &[&b, &a]);
        judge(&Binary::<Mul>::default(), &[&a, &b]);
        judge(&Binary::<Div>::default(), &[&a, &b]);
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
