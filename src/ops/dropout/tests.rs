use super::*;
use crate::testing::*;

#[test]
fn masks_match_the_specification() {
    for (dims, p) in
        [(vec![3, 5], 0.3), (vec![1], 0.9), (vec![40_001], 0.1), (vec![2, 3, 4], 0.0), (vec![0], 0.5)]
    {
        let x = random(crate::Dims::new(&dims).unwrap(), 1);
        judge(&Dropout { p, words: Rng::new(9).reserve(x.elements() as u64) }, &[&x]);
    }
}

#[test]
fn the_gradient_uses_the_same_mask() {
    judge_function(|x| Ok(vec![dropout(&x[0], 0.4, &mut Rng::new(3))?]), &[random([3, 7], 1)]);
}

#[test]
fn the_share_kept_is_right_and_draws_differ() {
    let x = Tensor::full(1.0_f32, [100_000], &crate::Device::Cpu).unwrap();
    let mut rng = Rng::new(1);
    let first = dropout(&x, 0.2, &mut rng).unwrap();
    let second = dropout(&x, 0.2, &mut rng).unwrap();
    assert_ne!(bits(&first), bits(&second));
    let kept = first.to_vec::<f32>().unwrap().iter().filter(|v| **v > 0.0).count();
    // Five standard deviations of a binomial with 100,000 draws.
    assert!((kept as f64 - 80_000.0).abs() < 5.0 * (100_000.0 * 0.2 * 0.8_f64).sqrt(), "{kept}");
}

#[test]
fn a_probability_outside_its_range_is_refused() {
    for p in [-0.1, 1.0, f32::NAN] {
        let error = dropout(&random([3], 1), p, &mut Rng::new(0)).unwrap_err();
        assert!(matches!(error, Error::Argument { op: "dropout", .. }));
    }
}
