use super::*;
use crate::{Device, Tape, device::run, ops, testing::*};

fn tensor(values: &[f32], dims: impl Into<crate::Dims>) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
}

#[test]
fn values_and_gradients_match_their_specifications() {
    // (B, N), S, k
    for ([b, n], s, k) in [
        ([3, 60], 100, 10),
        ([2, 19], 33, 5),
        ([2, 1], 3, 1),
        ([1, 33], 1, 33),
        ([2, 700], 70, 3),
        ([0, 5], 2, 2),
        ([2, 1100], 9, 200),
    ] {
        let scores = random([b, n], 1);
        for noise in [Noise::Given, Noise::Drawn { samples: s, words: Rng::new(2).reserve(1 << 20) }] {
            let z = random([b, s, n], 3);
            let op = PerturbedTopK { k, sigma: 0.3, noise };
            let given: Vec<&Tensor> = (noise == Noise::Given).then_some(&z).into_iter().collect();
            judge(&op, &[&[&scores], &given[..]].concat());
            let positions = run(&op, &[&[&scores], &given[..]].concat()).unwrap().remove(1);
            let dy = random([b, k, n], 4);
            judge(&PerturbedTopKGrad { sigma: 0.3, noise }, &[&[&dy, &positions], &given[..]].concat());
        }
    }
}

#[test]
fn ties_and_nan() {
    on_each_device(PerturbedTopK::ARMS, |device| {
        let on = |values: &[f32], dims: &[usize]| {
            tensor(values, crate::Dims::new(dims).unwrap()).to_device(device).unwrap()
        };
        let top = |scores: [f32; 5], k| {
            let y = perturbed_top_k_with(&on(&scores, &[1, 5]), &on(&[0.0; 10], &[1, 2, 5]), k, 1.0).unwrap();
            let hot = |row: &[f32]| row.iter().position(|&v| v == 1.0).unwrap();
            y.to_vec::<f32>().unwrap().chunks(5).map(hot).collect::<Vec<_>>()
        };
        assert_eq!(top([1.0; 5], 3), [0, 1, 2]);
        assert_eq!(top([f32::NAN, 1.0, f32::NEG_INFINITY, 2.0, 2.0], 3), [1, 3, 4]);
        assert_eq!(top([f32::NAN, 1.0, f32::NEG_INFINITY, 2.0, 2.0], 4), [1, 2, 3, 4]);
        assert_eq!(top([f32::NAN; 5], 2), [0, 1]);
    });
}

#[test]
fn long_rows_of_ties() {
    // More positions than one workgroup keeps keys of.
    let scores: Vec<f32> = (0..5000).map(|n| [0.0, 1.0, -1.0, f32::NAN][n % 4]).collect();
    let noise = tensor(&[0.0; 10_000], [1, 2, 5000]);
    for k in [1, 700, 1300, 4000] {
        let op = PerturbedTopK { k, sigma: 0.5, noise: Noise::Given };
        judge(&op, &[&tensor(&scores, [1, 5000]), &noise]);
    }
}

#[test]
fn rows_sum_to_one_and_drawn_noise_is_the_same_in_backward() {
    let scores = random([2, 40], 1);
    let tape = Tape::new();
    let x = tape.watch(&scores).unwrap();
    let mut rng = Rng::new(5);
    let y = perturbed_top_k(&x, 4, 0.5, 50, &mut rng).unwrap();
    assert_eq!(rng.state(), [5, 2 * 50 * 40]);
    // Kept for backward: positions, not noise.
    assert_eq!(tape.saved_bytes(), 2 * 50 * 4 * 4);
    let sums = ops::sum(&y.detach(), &[-1]).unwrap().to_vec::<f32>().unwrap();
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");

    let dy = random([2, 4, 40], 6);
    let drawn = tape.backward_from(&[(&y, &dy)]).unwrap().of(&x).unwrap().to_vec::<f32>().unwrap();
    let words = Rng::new(5).reserve(2 * 50 * 40);
    let pairs =
        (0..2000).map(|pair| ops::sampling::noise::normals([words.word(2 * pair), words.word(2 * pair + 1)]));
    let noise = tensor(&pairs.flatten().collect::<Vec<f32>>(), [2, 50, 40]);
    let tape = Tape::new();
    let x = tape.watch(&scores).unwrap();
    let z = perturbed_top_k_with(&x, &noise, 4, 0.5).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), z.to_vec::<f32>().unwrap());
    let given = tape.backward_from(&[(&z, &dy)]).unwrap().of(&x).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(drawn, given);
}

#[test]
fn values_and_gradients_are_those_of_the_expectation() {
    // Of two positions, the first is chosen with probability Φ(Δ / (σ √2)).
    let (sigma, delta) = (0.7_f64, 0.4_f64);
    let tape = Tape::new();
    let x = tape.watch(&tensor(&[0.4, 0.0], [1, 2])).unwrap();
    let y = perturbed_top_k(&x, 1, sigma as f32, 200_000, &mut Rng::new(3)).unwrap();
    let at = delta / (sigma * 2.0_f64.sqrt());
    // Φ(0.40406) and the density there.
    let (probability, density) = (0.656_92, (-at * at / 2.0).exp() / std::f64::consts::TAU.sqrt());
    assert!((f64::from(y.to_vec::<f32>().unwrap()[0]) - probability).abs() < 0.004);
    let grads = tape.backward_from(&[(&y, &tensor(&[1.0, 0.0], [1, 1, 2]))]).unwrap();
    let slope = density / (sigma * 2.0_f64.sqrt());
    let dx = grads.of(&x).unwrap().to_vec::<f32>().unwrap();
    assert!(
        (f64::from(dx[0]) - slope).abs() < 0.01 && (f64::from(dx[1]) + slope).abs() < 0.01,
        "{dx:?}, not ±{slope}"
    );
}

#[test]
fn misuse_is_a_typed_error() {
    let (scores, noise, mut rng) = (random([2, 4], 1), random([2, 3, 4], 2), Rng::new(1));
    for k in [0, 5] {
        let refused = perturbed_top_k_with(&scores, &noise, k, 0.1);
        assert!(matches!(refused, Err(Error::Argument { op: "perturbed_top_k", .. })));
    }
    for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(perturbed_top_k_with(&scores, &noise, 1, sigma), Err(Error::Argument { .. })));
    }
    assert!(matches!(perturbed_top_k(&scores, 1, 0.1, 0, &mut rng), Err(Error::Argument { .. })));
    assert!(matches!(perturbed_top_k_with(&scores, &random([2, 3, 5], 1), 1, 0.1), Err(Error::Shape { .. })));
    assert!(matches!(perturbed_top_k(&random([4], 1), 1, 0.1, 5, &mut rng), Err(Error::Shape { .. })));
    let bytes = Tensor::from_slice(&[1_u8; 8], [2, 4], &Device::Cpu).unwrap();
    assert!(matches!(perturbed_top_k(&bytes, 1, 0.1, 5, &mut rng), Err(Error::DType { .. })));
}
