use super::*;
use crate::{Device, Rng, device::run, testing::*};
use proptest::prelude::*;

const CASES: &[([usize; 4], usize, usize, usize)] = &[
    ([2, 3, 25, 25], 3, 2, 1),
    ([2, 2, 11, 8], 2, 3, 0),
    ([1, 5, 4, 4], 3, 2, 1),
    ([3, 1, 1, 1], 1, 1, 0),
    ([2, 2, 9, 17], 8, 8, 0),
    ([2, 3, 6, 5], 4, 1, 2),
    ([0, 3, 6, 5], 2, 2, 0),
];

#[test]
fn maxima_and_their_gradients_match_their_specifications() {
    for &(dims, kernel, stride, padding) in CASES {
        let pool = MaxPool2d { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] };
        let x = random(dims, 1);
        judge(&pool, &[&x]);
        let outs = run(&pool, &[&x]).unwrap();
        let dy = random(outs[0].dims(), 2);
        judge(&MaxPool2dGrad { pool, image: [dims[2], dims[3]] }, &[&dy, &outs[1]]);
    }
}

#[test]
fn ties_go_to_the_first_and_nan_is_seen() {
    let pool = MaxPool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    let x = [1.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY];
    let x = Tensor::from_slice(&x, [1, 1, 2, 4], &Device::Cpu).unwrap();
    judge(&pool, &[&x]);
    let outs = run(&pool, &[&x]).unwrap();
    assert_eq!(outs[1].to_vec::<u8>().unwrap(), [0, 0]);
    let x = Tensor::from_slice(&[1.0, f32::NAN, 7.0, 2.0], [1, 1, 2, 2], &Device::Cpu).unwrap();
    judge(&pool, &[&x]);
    assert!(run(&pool, &[&x]).unwrap()[0].to_vec::<f32>().unwrap()[0].is_nan());
}

#[test]
fn gradients_agree_with_differences() {
    let x = [random([2, 2, 5, 6], 1)];
    judge_function(|x| Ok(vec![max_pool2d(&x[0], [3, 2], [2, 1], [1, 1])?]), &x);
    judge_function(|x| Ok(vec![global_avg_pool(&x[0])?, global_max_pool(&x[0])?]), &x);
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([1, 1, 4, 4], 1);
    for (kernel, stride, padding) in [
        ([0, 1], [1, 1], [0, 0]),
        ([2, 2], [0, 1], [0, 0]),
        ([2, 2], [1, 1], [2, 0]),
        ([5, 5], [1, 1], [0, 0]),
    ] {
        assert!(matches!(
            max_pool2d(&x, kernel, stride, padding),
            Err(Error::Argument { op: "max_pool2d", .. })
        ));
    }
    assert!(max_pool2d(&random([1, 1, 40, 40], 1), [20, 20], [1, 1], [0, 0]).is_err());
    assert!(matches!(global_avg_pool(&random([4, 4], 1)), Err(Error::Shape { op: "global_avg_pool", .. })));
}

/// Few distinct values, so that there are ties, and some that are no numbers.
fn tied(dims: [usize; 4], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let value = |rng: &mut Rng| match rng.below(30) {
        0 => f32::NAN,
        1 | 2 => f32::NEG_INFINITY,
        3 => -0.0,
        v => (v / 5) as f32 - 2.0,
    };
    let data: Vec<f32> = (0..dims.iter().product()).map(|_| value(&mut rng)).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn any_window_matches(
        b in 1usize..3, c in 1usize..3, h in 1usize..30, w in 1usize..40, kernel in (1usize..7, 1usize..7),
        stride in (1usize..5, 1usize..5), padding in (0usize..4, 0usize..4), seed in 0u64..1000,
    ) {
        let padding = [padding.0.min(kernel.0 / 2), padding.1.min(kernel.1 / 2)];
        let pool = MaxPool2d { kernel: [kernel.0, kernel.1], stride: [stride.0, stride.1], padding };
        prop_assume!(pool.output("a test", [h, w]).is_ok());
        for x in [random([b, c, h, w], seed), tied([b, c, h, w], seed)] {
            judge(&pool, &[&x]);
            let outs = run(&pool, &[&x]).unwrap();
            judge(&MaxPool2dGrad { pool, image: [h, w] }, &[&random(outs[0].dims(), seed + 1), &outs[1]]);
        }
    }
}

#[test]
fn a_code_that_no_window_has_leads_nowhere() {
    let codes = Tensor::full(200u8, [1, 1, 2, 2], &Device::Cpu).unwrap();
    let pool = MaxPool2d { kernel: [2, 2], stride: [2, 2], padding: [1, 1] };
    let dx = run(&MaxPool2dGrad { pool, image: [2, 2] }, &[&random([1, 1, 2, 2], 1), &codes]).unwrap();
    assert_eq!(dx[0].to_vec::<f32>().unwrap(), [0.0; 4]);
}
