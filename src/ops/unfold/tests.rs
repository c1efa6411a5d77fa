use super::*;
use crate::{Device, testing::*};
use proptest::prelude::*;

/// Image, patch, stride.
const SHAPES: &[([usize; 4], [usize; 2], [usize; 2])] = &[
    ([2, 3, 20, 30], [5, 6], [5, 6]),
    ([3, 2, 61, 47], [25, 13], [9, 11]),
    ([1, 1, 7, 7], [7, 7], [3, 3]),
    ([2, 2, 40, 33], [5, 5], [13, 8]),
    ([2, 1, 5, 1], [1, 1], [1, 1]),
    ([0, 2, 4, 4], [2, 2], [1, 1]),
    // Even lines, which may be moved two elements at a time.
    ([2, 3, 20, 30], [6, 6], [4, 6]),
    ([3, 2, 9, 10], [4, 2], [2, 4]),
];

#[test]
fn unfold_and_fold_match_their_specifications() {
    for &(dims, patch, stride) in SHAPES {
        let x = random(dims, 1);
        judge(&Unfold { patch, stride }, &[&x]);
        let bytes: Vec<u8> = (0..x.elements()).map(|i| (i * 37 % 251) as u8).collect();
        judge(&Unfold { patch, stride }, &[&Tensor::from_slice(&bytes, dims, &Device::Cpu).unwrap()]);
        let patches = unfold(&x, patch, stride).unwrap();
        judge(&Fold { image: [dims[2], dims[3]], stride }, &[&random(patches.dims(), 2)]);
    }
}

#[test]
fn gradients_are_each_other() {
    judge_function_on(Unfold::ARMS, |x| Ok(vec![unfold(&x[0], [3, 2], [2, 1])?]), &[random([2, 2, 6, 4], 1)]);
    judge_function_on(Fold::ARMS, |x| Ok(vec![fold(&x[0], [5, 4], [2, 2])?]), &[random([2, 4, 2, 3, 2], 2)]);
}

proptest! {
    #![proptest_config(crate::testing::cases(40))]

    /// ⟨unfold x, y⟩ = ⟨x, fold y⟩ for every x, y and grid.
    #[test]
    fn fold_is_the_adjoint_of_unfold(
        b in 1usize..3, c in 1usize..4, ph in 1usize..9, pw in 1usize..9, more_h in 0usize..12, more_w in 0usize..12,
        sh in 1usize..7, sw in 1usize..7, seed in 0u64..1000,
    ) {
        let image = [ph + more_h, pw + more_w];
        let x = check64(&random([b, c, image[0], image[1]], seed));
        let patches = unfold(&x, [ph, pw], [sh, sw]).unwrap();
        let y = check64(&random(patches.dims(), seed + 1));
        let folded = fold(&y, image, [sh, sw]).unwrap();
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            a.to_vec::<f64>().unwrap().iter().zip(&b.to_vec::<f64>().unwrap()).map(|(a, b)| a * b).sum()
        };
        let (left, right) = (dot(&patches, &y), dot(&x, &folded));
        prop_assert!((left - right).abs() <= 1e-9 * (1.0 + left.abs()), "{} {}", left, right);
        let narrow = random([b, c, image[0], image[1]], seed);
        judge(&Unfold { patch: [ph, pw], stride: [sh, sw] }, &[&narrow]);
    }
}

fn check64(t: &Tensor) -> Tensor {
    crate::check::to_f64(t).unwrap()
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([1, 1, 4, 4], 1);
    assert!(matches!(unfold(&x, [5, 2], [1, 1]), Err(Error::Shape { op: "unfold", .. })));
    assert!(matches!(unfold(&x, [2, 2], [0, 1]), Err(Error::Argument { op: "unfold", .. })));
    assert!(matches!(unfold(&random([4, 4], 1), [2, 2], [1, 1]), Err(Error::Shape { op: "unfold", .. })));
    assert!(matches!(
        fold(&random([1, 3, 1, 2, 2], 1), [4, 4], [2, 2]),
        Err(Error::Shape { op: "fold", .. })
    ));
    let indices = Tensor::from_slice(&[1i32; 16], [1, 1, 4, 4], &Device::Cpu).unwrap();
    assert!(matches!(unfold(&indices, [2, 2], [1, 1]), Err(Error::DType { op: "unfold", .. })));
}
