use super::*;
use crate::{Device, testing::*};
use proptest::prelude::*;

#[test]
fn every_order_of_the_axes() {
    for dims in [&[2, 3, 5, 4][..], &[2, 17, 3, 40], &[40, 1, 50, 70], &[1, 6, 1, 1], &[3, 0, 2, 2]] {
        let dims = Dims::new(dims).unwrap();
        let x = random(dims, 1);
        let bytes: Vec<u8> = (0..x.elements()).map(|i| (i * 37 % 251) as u8).collect();
        let image = Tensor::from_slice(&bytes, dims, &Device::Cpu).unwrap();
        let half: Vec<half::f16> = (0..x.elements()).map(|i| half::f16::from_f32((i % 99) as f32)).collect();
        let half = Tensor::from_slice(&half, dims, &Device::Cpu).unwrap();
        for code in 0..24 {
            let mut left = vec![0, 1, 2, 3];
            let permutation = [code / 6, code / 2 % 3, code % 2, 0].map(|pick| left.remove(pick));
            let op = Transpose { permutation: permutation.as_slice().into() };
            judge(&op, &[&x]);
            judge(&op, &[&image]);
            judge(&op, &[&half]);
        }
    }
    judge(&Transpose { permutation: smallvec![] }, &[&random([], 1)]);
    judge(&Transpose { permutation: smallvec![1, 0] }, &[&random([300, 700], 1)]);
}

#[test]
fn the_gradient_goes_back() {
    judge_function_on(Transpose::ARMS, |x| Ok(vec![transpose(&x[0], &[2, 0, 1])?]), &[random([2, 3, 5], 1)]);
    judge_function_on(Transpose::ARMS, |x| Ok(vec![transpose(&x[0], &[1, 0])?]), &[random([1, 4], 1)]);
}

#[test]
fn an_order_must_name_every_axis_once() {
    for permutation in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2]] {
        let refused = transpose(&random([2, 3], 1), permutation).unwrap_err();
        assert!(matches!(refused, Error::Argument { op: "transpose", .. }), "{refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn two_orders_in_a_row_are_one(dims in prop::array::uniform5(1usize..6), a in 0usize..120, b in 0usize..120) {
        let order = |mut code: usize| {
            let mut left = vec![0, 1, 2, 3, 4];
            [5, 4, 3, 2, 1].map(|n| { let pick = code % n; code /= n; left.remove(pick) })
        };
        let (first, second) = (order(a), order(b));
        let x = random(dims, 1);
        let twice = transpose(&transpose(&x, &first).unwrap(), &second).unwrap();
        let once = transpose(&x, &second.map(|axis| first[axis])).unwrap();
        prop_assert_eq!(bits(&twice), bits(&once));
    }
}
