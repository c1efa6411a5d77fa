use super::*;
use crate::{Device, testing::*};
use proptest::prelude::*;

const MODES: [ResizeMode; 2] = [ResizeMode::Area, ResizeMode::Bilinear];

#[test]
fn values_and_gradients_match_their_specifications() {
    for (dims, size) in [
        ([2, 3, 64, 96], [32, 48]),
        ([2, 1, 150, 150], [18, 18]),
        ([1, 2, 37, 53], [11, 19]),
        ([2, 1, 9, 11], [20, 31]),
        ([3, 2, 1, 1], [4, 5]),
        ([2, 2, 5, 7], [1, 1]),
        ([2, 1, 6, 40], [9, 13]),
        ([0, 2, 4, 4], [2, 2]),
    ] {
        for mode in MODES {
            judge(&Resize { size, mode }, &[&random(dims, 1)]);
            let dy = random([dims[0], dims[1], size[0], size[1]], 2);
            judge(&ResizeGrad { image: [dims[2], dims[3]], mode }, &[&dy]);
        }
    }
}

#[test]
fn gradients_are_derivatives() {
    for mode in MODES {
        for (dims, size) in [([2, 2, 5, 4], [3, 6]), ([2, 1, 3, 7], [2, 3])] {
            judge_function_on(Resize::ARMS, |x| Ok(vec![resize(&x[0], size, mode)?]), &[random(dims, 1)]);
        }
    }
}

#[test]
fn weights_are_those_of_the_definitions() {
    // 7 to 3: bins 0..3, 2..5, 4..7.
    let starts = [0, 1, 2].map(|i| ResizeMode::Area.taps(i, 3, 7).0);
    assert_eq!((starts, ResizeMode::Area.taps(1, 3, 7).1.len()), ([0, 2, 4], 3));
    // Half as large: between two pixels. Twice as large: a quarter off, and clamped at the borders.
    let linear = |i, small, large| ResizeMode::Bilinear.taps(i, small, large);
    assert_eq!(linear(1, 2, 4), (2, smallvec![0.5, 0.5]));
    assert_eq!(linear(0, 4, 2), (0, smallvec![1.0, 0.0]));
    assert_eq!(linear(1, 4, 2), (0, smallvec![0.75, 0.25]));
    assert_eq!(linear(3, 4, 2), (1, smallvec![1.0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A constant image stays what it is, and the same size changes nothing.
    #[test]
    fn constants_stay(h in 1usize..40, w in 1usize..40, to_h in 1usize..40, to_w in 1usize..40, seed in 0u64..1000) {
        for mode in MODES {
            let constant = Tensor::full(3.5_f32, [2, 1, h, w], &Device::Cpu).unwrap();
            let y = resize(&constant, [to_h, to_w], mode).unwrap().to_vec::<f32>().unwrap();
            prop_assert!(y.iter().all(|v| (v - 3.5).abs() < 1e-5), "{:?}", y);
            let x = random([1, 2, h, w], seed);
            prop_assert_eq!(resize(&x, [h, w], mode).unwrap().to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([1, 1, 4, 4], 1);
    assert!(matches!(resize(&x, [0, 2], ResizeMode::Area), Err(Error::Argument { op: "resize", .. })));
    assert!(matches!(
        resize(&random([4, 4], 1), [2, 2], ResizeMode::Area),
        Err(Error::Shape { op: "resize", .. })
    ));
    assert!(matches!(
        resize(&random([1, 1, 0, 4], 1), [2, 2], ResizeMode::Area),
        Err(Error::Argument { .. })
    ));
    let bytes = Tensor::from_slice(&[1_u8; 4], [1, 1, 2, 2], &Device::Cpu).unwrap();
    assert!(matches!(resize(&bytes, [1, 1], ResizeMode::Area), Err(Error::DType { op: "resize", .. })));
}
