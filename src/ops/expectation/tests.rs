use super::*;
use crate::{Device, Rng, Tape, check::to_f64, ops, testing::*};

/// Probabilities (B, K) of K samples out of some more positions.
fn probabilities(b: usize, k: usize, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let mut data = Vec::new();
    for _ in 0..b {
        let weights: Vec<f32> = (0..k + 2).map(|_| rng.normal().exp()).collect();
        let total: f32 = weights.iter().sum();
        data.extend(weights[..k].iter().map(|w| w / total));
    }
    Tensor::from_slice(&data, [b, k], &Device::Cpu).unwrap()
}

const ESTIMATORS: [Estimator; 2] = [Estimator::Official, Estimator::Unbiased];

#[test]
fn values_and_gradients_match_their_specifications() {
    for (b, k, d) in [(4, 10, 32), (3, 16, 5), (2, 1, 1), (1, 7, 700), (40, 100, 33), (0, 3, 4), (2, 3, 0)] {
        let (a, f, dy) = (probabilities(b, k, 1), random([b, k, d], 2), random([b, d], 3));
        for replace in [false, true] {
            judge(&Expectation { replace }, &[&a, &f]);
            judge(&ExpectationGradFeatures { replace }, &[&a, &dy]);
            for estimator in ESTIMATORS {
                judge(&ExpectationGradAttention { replace, estimator }, &[&a, &f, &dy]);
            }
        }
    }
}

#[test]
fn the_gradient_of_the_features_is_the_derivative() {
    let a = probabilities(2, 5, 1);
    for replace in [false, true] {
        let f = |x: &[Tensor]| {
            let a = if x[0].dtype() == DType::F64 { to_f64(&a)? } else { a.to_device(&x[0].device())? };
            Ok(vec![expectation(&a, &x[0], replace, Estimator::Unbiased)?])
        };
        judge_function_on(Expectation::ARMS, f, &[random([2, 5, 3], 2)]);
    }
}

/// All ways to draw n of K positions in order.
fn orders(k: usize, n: usize, replace: bool) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for _ in 0..n {
        let longer = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            let next = (0..k).filter(|q| replace || !order.contains(q));
            next.map(|q| order.iter().copied().chain([q]).collect()).collect()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The probability of an order of draws.
fn likelihood(a: &[f64], order: &[usize], replace: bool) -> f64 {
    let mut left = 1.0;
    order.iter().fold(1.0, |likelihood, &q| {
        let here = likelihood * a[q] / left;
        left -= if replace { 0.0 } else { a[q] };
        here
    })
}

/// Exact expectations over all samples: of the estimate, of the gradient of the features (K), and of the gradient of the
/// logits (K) whose softmax `a` is, for `dL/dy = 1`.
fn enumerate(
    a: &[f64],
    f: &[f64],
    n: usize,
    replace: bool,
    estimator: Estimator,
) -> (f64, Vec<f64>, Vec<f64>) {
    let k = a.len();
    let (mut y, mut df, mut dlogits) = (0.0, vec![0.0; k], vec![0.0; k]);
    for order in orders(k, n, replace) {
        let p = likelihood(a, &order, replace);
        let of = |values: &[f64]| order.iter().map(|&q| values[q]).collect::<Vec<f64>>();
        let tape = Tape::new();
        let attention = tape.watch(&Tensor::from_slice(&of(a), [1, n], &Device::Cpu).unwrap()).unwrap();
        let features = tape.watch(&Tensor::from_slice(&of(f), [1, n, 1], &Device::Cpu).unwrap()).unwrap();
        let estimate = expectation(&attention, &features, replace, estimator).unwrap();
        y += p * estimate.item::<f64>().unwrap();
        let grads = tape.backward(&ops::sum_all(&estimate).unwrap()).unwrap();
        let da = grads.of(&attention).unwrap().to_vec::<f64>().unwrap();
        let through: f64 = order.iter().zip(&da).map(|(&q, da)| a[q] * da).sum();
        for ((&q, da), d) in order.iter().zip(&da).zip(grads.of(&features).unwrap().to_vec::<f64>().unwrap())
        {
            dlogits[q] += p * a[q] * da;
            df[q] += p * d;
        }
        (0..k).for_each(|q| dlogits[q] -= p * a[q] * through);
    }
    (y, df, dlogits)
}

fn close(got: &[f64], want: &[f64], tolerance: f64) {
    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() <= tolerance), "{got:?}, not {want:?}");
}

#[test]
fn the_published_example() {
    let (a, f) = ([0.1, 0.2, 0.3, 0.4], [1.0, -1.0, 2.0, 0.0]);
    let (y, df, official) = enumerate(&a, &f, 2, false, Estimator::Official);
    close(&[y], &[0.5], 1e-12);
    close(&df, &a, 1e-12);
    close(&official, &[0.041458, -0.176210, 0.216696, -0.081944], 1e-6);
    let (_, _, unbiased) = enumerate(&a, &f, 2, false, Estimator::Unbiased);
    close(&unbiased, &[0.05, -0.3, 0.45, -0.2], 1e-12);
}

#[test]
fn estimates_are_unbiased() {
    let f = [0.7, -1.3, 2.2, 0.1, -0.4];
    for (k, n) in [(3, 1), (3, 2), (4, 3), (5, 3), (4, 4)] {
        let weights = [0.31, 0.05, 0.22, 0.17, 0.25];
        let total: f64 = weights[..k].iter().sum();
        let a: Vec<f64> = weights[..k].iter().map(|w| w / total).collect();
        let mean: f64 = a.iter().zip(&f).map(|(a, f)| a * f).sum();
        let exact: Vec<f64> = a.iter().zip(&f).map(|(a, f)| a * (f - mean)).collect();
        for replace in [false, true] {
            let (y, df, dlogits) = enumerate(&a, &f[..k], n, replace, Estimator::Unbiased);
            close(&[y], &[mean], 1e-12);
            close(&df, &a, 1e-12);
            close(&dlogits, &exact, 1e-11);
        }
    }
}

#[test]
fn improbable_samples_give_no_nan() {
    // All of the mass is taken by the first draws, and rounding would leave a little less than nothing.
    let a = Tensor::from_slice(&[0.7_f32, 0.3, 1e-9, 0.0], [1, 4], &Device::Cpu).unwrap();
    let (f, dy) = (random([1, 4, 3], 1), random([1, 3], 2));
    on_each_device(ExpectationGradAttention::ARMS, |device| {
        for estimator in ESTIMATORS {
            let op = ExpectationGradAttention { replace: false, estimator };
            let ins = [&a, &f, &dy].map(|t| t.to_device(device).unwrap());
            let da = crate::device::run1(&op, &[&ins[0], &ins[1], &ins[2]]).unwrap().to_vec::<f32>().unwrap();
            assert!(da.iter().all(|v| v.is_finite()), "{da:?}");
        }
    });
}

#[test]
fn nothing_is_kept_that_no_gradient_needs() {
    let tape = Tape::new();
    let (a, f) = (probabilities(2, 4, 1), tape.watch(&random([2, 4, 6], 2)).unwrap());
    expectation(&a, &f, false, Estimator::Unbiased).unwrap();
    assert_eq!(tape.saved_bytes(), 2 * 4 * 4);
}

#[test]
fn misuse_is_a_typed_error() {
    let (a, f) = (probabilities(2, 4, 1), random([2, 4, 3], 2));
    let refused = |a: &Tensor, f: &Tensor| expectation(a, f, false, Estimator::Unbiased).unwrap_err();
    assert!(matches!(refused(&probabilities(2, 3, 1), &f), Error::Shape { op: "expectation", .. }));
    assert!(matches!(refused(&a, &random([2, 4], 1)), Error::Shape { op: "expectation", .. }));
    assert!(matches!(
        refused(&random([2, 0], 1), &random([2, 0, 3], 1)),
        Error::Shape { op: "expectation", .. }
    ));
    let bytes = Tensor::from_slice(&[1_u8; 8], [2, 4], &Device::Cpu).unwrap();
    assert!(matches!(refused(&bytes, &f), Error::DType { op: "expectation", .. }));
}
