use super::*;
use crate::{Device, device::run, ops, testing::*};
use proptest::prelude::*;

fn judge_shape(dims: Dims, seed: u64) {
    let (x, dy) = (random(dims, seed), random(dims, seed + 1));
    let size = dims[dims.rank() - 1];
    let (weight, bias) = (random([size], seed + 2), random([size], seed + 3));
    for eps in [1e-5, 1e-6] {
        judge(&LayerNorm { eps }, &[&x]);
        judge(&LayerNorm { eps }, &[&x, &weight, &bias]);
        judge(&LayerNormGrad { eps }, &[&dy, &x]);
        judge(&LayerNormGrad { eps }, &[&dy, &x, &weight]);
    }
}

#[test]
fn every_shape_matches_its_specification() {
    for dims in [
        &[7][..],
        &[4, 2],
        &[3, 5, 33],
        &[16, 4, 128],
        &[300, 70],
        &[3, 300],
        &[600, 3],
        &[1100, 40],
        &[2, 2048],
        &[0, 5],
    ] {
        judge_shape(Dims::new(dims).unwrap(), 1);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_shape_matches(rows in 1usize..200, size in 4usize..150, seed in 0u64..1000) {
        judge_shape(Dims::from([rows, size]), seed);
    }
}

#[test]
fn gradients_agree_with_differences() {
    for dims in [&[2, 3, 5][..], &[4, 2], &[2, 1]] {
        let dims = Dims::new(dims).unwrap();
        let size = dims[dims.rank() - 1];
        // Deviations well away from zero, where the function is too curved for a difference.
        let x = random(dims, 6);
        judge_function(|x| Ok(vec![layer_norm(&x[0], None, 1e-2)?]), std::slice::from_ref(&x));
        let f = |x: &[Tensor]| Ok(vec![layer_norm(&x[0], Some((&x[1], &x[2])), 1e-2)?]);
        judge_function(f, &[x, random([size], 2), random([size], 3)]);
    }
}

#[test]
fn bits_depend_on_neither_threads_nor_neighbours() {
    let (x, dy, weight) = (random([500, 96], 1), random([500, 96], 2), random([96], 3));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let grads = pool.install(|| run(&LayerNormGrad { eps: 1e-5 }, &[&dy, &x, &weight]).unwrap());
        grads.iter().map(bits).collect::<Vec<_>>()
    };
    assert!(on(1) == on(3));
    let all = layer_norm(&x, None, 1e-5).unwrap();
    let some = layer_norm(&ops::slice(&x, 123..125).unwrap(), None, 1e-5).unwrap();
    assert_eq!(bits(&some), bits(&ops::slice(&all, 123..125).unwrap()));
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3], 1);
    let (three, two) = (random([3], 1), random([2], 1));
    assert!(matches!(layer_norm(&x, Some((&three, &two)), 1e-5), Err(Error::Shape { op: "layer_norm", .. })));
    assert!(matches!(layer_norm(&random([], 1), None, 1e-5), Err(Error::Shape { op: "layer_norm", .. })));
    assert!(matches!(layer_norm(&random([2, 0], 1), None, 1e-5), Err(Error::Shape { op: "layer_norm", .. })));
    assert!(matches!(layer_norm(&x, None, -1.0), Err(Error::Argument { op: "layer_norm", .. })));
    let bytes = Tensor::full(1u8, [2], &Device::Cpu).unwrap();
    assert!(matches!(layer_norm(&bytes, None, 1e-5), Err(Error::DType { op: "layer_norm", .. })));
    let refused = run(&LayerNormGrad { eps: 1e-5 }, &[&x, &three]);
    assert!(matches!(refused, Err(Error::Shape { op: "layer_norm_grad", .. })));
    let refused = run(&LayerNorm { eps: 1e-5 }, &[&x, &three]);
    assert!(matches!(refused, Err(Error::Argument { op: "layer_norm", .. })));
}
