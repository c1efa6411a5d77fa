use super::*;
use crate::{Device, Dims, Error, Tape, Tensor, check, device::Op, testing::*};

/// Values in the open interval (0, 1).
fn probabilities(dims: impl Into<Dims>, seed: u64) -> Tensor {
    let dims = dims.into();
    let mut rng = crate::Rng::new(seed);
    let data: Vec<f32> = (0..dims.elements()).map(|_| 0.05 + 0.9 * rng.uniform()).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

/// `t` in the precision and on the device of `x`, for constants of a function under test.
fn like(x: &Tensor, t: &Tensor) -> Tensor {
    if x.dtype() == crate::DType::F64 { check::to_f64(t).unwrap() } else { t.to_device(&x.device()).unwrap() }
}

const REDUCTIONS: [Reduction; 2] = [Reduction::Mean, Reduction::Sum];

fn scalar(value: f32) -> Tensor {
    Tensor::scalar(value, &Device::Cpu).unwrap()
}

#[test]
fn losses_of_classes_match_their_specifications() {
    for rows in [&[2][..], &[3, 5], &[], &[1], &[257]] {
        for (count, reduction) in [(1, Reduction::Mean), (10, Reduction::Mean), (33, Reduction::Sum)] {
            let dims = Dims::of(rows).join(&[count]).unwrap();
            let (logits, p) = (random(dims, 1), probabilities(dims, 2));
            let classes = random_i32(Dims::of(rows), count as u32, 3);
            let weights = probabilities([count], 4);
            let (entropy, nll) = (
                ClassLoss { kind: CrossEntropy, reduction },
                ClassLoss { kind: Nll { eps: 1e-6 }, reduction },
            );
            judge(&entropy, &[&logits, &classes]);
            judge(&entropy, &[&logits, &classes, &weights]);
            judge(&nll, &[&p, &classes, &weights]);
            let dy = scalar(0.7);
            judge(&ClassLossGrad { loss: entropy }, &[&dy, &logits, &classes]);
            judge(&ClassLossGrad { loss: entropy }, &[&dy, &logits, &classes, &weights]);
            judge(&ClassLossGrad { loss: nll }, &[&dy, &p, &classes]);
        }
    }
}

#[test]
fn losses_of_pairs_match_their_specifications() {
    for dims in [&[2, 3][..], &[], &[1, 10], &[5000], &[40_000]] {
        for reduction in REDUCTIONS {
            let dims = Dims::new(dims).unwrap();
            let (x, p, t) = (random(dims, 1), probabilities(dims, 2), probabilities(dims, 3));
            judge(&PairLoss::<BceWithLogits> { reduction, ..Default::default() }, &[&x, &t]);
            judge(&PairLoss::<Bce> { reduction, ..Default::default() }, &[&p, &t]);
            judge(&PairLoss::<Mse> { reduction, ..Default::default() }, &[&x, &t]);
            for of in [Operand::X, Operand::T] {
                let dy = scalar(-1.3);
                let loss = PairLoss { reduction, ..Default::default() };
                judge(&PairLossGrad::<BceWithLogits> { loss, of }, &[&dy, &x, &t]);
                let loss = PairLoss { reduction, ..Default::default() };
                judge(&PairLossGrad::<Bce> { loss, of }, &[&dy, &p, &t]);
                let loss = PairLoss { reduction, ..Default::default() };
                judge(&PairLossGrad::<Mse> { loss, of }, &[&dy, &x, &t]);
            }
        }
    }
}

#[test]
fn entropies_match_their_specification() {
    for dims in
        [&[5][..], &[2, 3, 7], &[4, 100], &[3, 1000], &[2, 1500], &[3, 32_400], &[2, 1], &[0, 4], &[2, 0]]
    {
        let p = probabilities(Dims::new(dims).unwrap(), 1);
        let h = entropy(&p, 1e-6).unwrap();
        judge(&Entropy { eps: 1e-6 }, &[&p]);
        judge(&EntropyGrad { eps: 1e-6 }, &[&random(h.dims(), 2), &p]);
    }
}

#[test]
fn gradients_of_losses() {
    let (logits, p, t) = (random([2, 3, 5], 1), probabilities([2, 3, 5], 2), probabilities([2, 3, 5], 3));
    let (classes, weights) = (random_i32([2, 3], 5, 4), probabilities([5], 5));
    for reduction in REDUCTIONS {
        let ins = [logits.clone(), classes.clone()];
        judge_function(|x| Ok(vec![cross_entropy(&x[0], &x[1], None, reduction)?]), &ins);
        let weighted = |x: &[Tensor]| cross_entropy(&x[0], &x[1], Some(&like(&x[0], &weights)), reduction);
        judge_function(|x| Ok(vec![weighted(x)?]), &ins);
        let ins = [p.clone(), classes.clone()];
        judge_function(|x| Ok(vec![nll(&x[0], &x[1], None, 1e-6, reduction)?]), &ins);
        let weighted = |x: &[Tensor]| nll(&x[0], &x[1], Some(&like(&x[0], &weights)), 0.01, reduction);
        judge_function(|x| Ok(vec![weighted(x)?]), &ins);
        let ins = [logits.clone(), t.clone()];
        judge_function(|x| Ok(vec![bce_with_logits(&x[0], &x[1], reduction)?]), &ins);
        judge_function(|x| Ok(vec![mse(&x[0], &x[1], reduction)?]), &ins);
        judge_function(|x| Ok(vec![bce(&x[0], &x[1], reduction)?]), &[p.clone(), t.clone()]);
    }
    judge_function(|x| Ok(vec![entropy(&x[0], 1e-6)?]), std::slice::from_ref(&p));
    judge_function(|x| Ok(vec![entropy(&x[0], 0.0)?]), &[p]);
}

#[test]
fn extreme_values_stay_finite() {
    let logits = Tensor::from_slice(&[1e4_f32, -1e4, 0.0, -1e30, 1e30, 0.0], [2, 3], &Device::Cpu).unwrap();
    let classes = Tensor::from_slice(&[1, 0], [2], &Device::Cpu).unwrap();
    let tape = Tape::new();
    let watched = tape.watch(&logits).unwrap();
    let loss = cross_entropy(&watched, &classes, None, Reduction::Mean).unwrap();
    assert_eq!(loss.item::<f32>().unwrap(), 1e30);
    let first =
        cross_entropy(&watched.rows(0..1).unwrap(), &classes.rows(0..1).unwrap(), None, Reduction::Sum);
    assert_eq!(first.unwrap().item::<f32>().unwrap(), 2e4);
    let gradient = tape.backward(&loss).unwrap().of(&watched).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(gradient, [0.5, -0.5, 0.0, -0.5, 0.5, 0.0]);

    let certain = Tensor::from_slice(&[0.0_f32, 1.0, 0.0, 1.0], [4], &Device::Cpu).unwrap();
    let target = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0], [4], &Device::Cpu).unwrap();
    let tape = Tape::new();
    let watched = tape.watch(&certain).unwrap();
    let loss = bce(&watched, &target, Reduction::Sum).unwrap();
    assert_eq!(loss.item::<f32>().unwrap(), 200.0);
    let gradient = tape.backward(&loss).unwrap().of(&watched).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(gradient, [-1e12, 1e12, 0.0, 0.0]);
    let nothing = Tensor::zeros([0], &Device::Cpu).unwrap();
    assert!(mse(&nothing, &nothing, Reduction::Mean).unwrap().item::<f32>().unwrap().is_nan());
    assert_eq!(mse(&nothing, &nothing, Reduction::Sum).unwrap().item::<f32>().unwrap(), 0.0);
    assert!(bce(&scalar(f32::NAN), &scalar(1.0), Reduction::Sum).unwrap().item::<f32>().unwrap().is_nan());
}

#[test]
fn weights_of_the_classes_met_are_the_divisor() {
    let logits = random([4, 3], 1);
    let classes = Tensor::from_slice(&[0, 2, 2, 0], [4], &Device::Cpu).unwrap();
    let weights = Tensor::from_slice(&[2.0_f32, 100.0, 0.5], [3], &Device::Cpu).unwrap();
    let each: Vec<f64> = (0..4)
        .map(|i| {
            let loss = cross_entropy(
                &logits.rows(i..i + 1).unwrap(),
                &classes.rows(i..i + 1).unwrap(),
                None,
                Reduction::Sum,
            );
            f64::from(loss.unwrap().item::<f32>().unwrap())
        })
        .collect();
    let want = (2.0 * each[0] + 0.5 * each[1] + 0.5 * each[2] + 2.0 * each[3]) / 5.0;
    let got = cross_entropy(&logits, &classes, Some(&weights), Reduction::Mean).unwrap();
    assert!((f64::from(got.item::<f32>().unwrap()) - want).abs() < 1e-6);
}

#[test]
fn misuse_is_a_typed_error() {
    let (x, classes) = (random([2, 3], 1), random_i32([2], 3, 2));
    let mean = Reduction::Mean;
    let refused = |x: &Tensor, classes: &Tensor, weights: Option<&Tensor>| {
        cross_entropy(x, classes, weights, mean).unwrap_err()
    };
    const OP: &str = ClassLoss::<CrossEntropy>::NAME;
    assert!(matches!(refused(&x, &random_i32([3], 3, 1), None), Error::Shape { op: OP, .. }));
    assert!(matches!(refused(&random([], 1), &random_i32([], 3, 1), None), Error::Shape { op: OP, .. }));
    assert!(matches!(refused(&x, &classes, Some(&random([2], 1))), Error::Shape { op: OP, .. }));
    assert!(matches!(refused(&x, &random([2], 1), None), Error::DType { op: OP, .. }));
    let outside = Tensor::from_slice(&[0, 3], [2], &Device::Cpu).unwrap();
    assert!(matches!(refused(&x, &outside, None), Error::Argument { op: OP, .. }));
    let tape = Tape::new();
    let weights = tape.watch(&random([3], 1)).unwrap();
    assert!(matches!(refused(&x, &classes, Some(&weights)), Error::Tape { .. }));
    assert!(matches!(nll(&x, &classes, None, -1.0, mean), Err(Error::Argument { op: "nll", .. })));
    assert!(matches!(mse(&x, &random([3, 2], 1), mean), Err(Error::Shape { op: "mse", .. })));
    assert!(matches!(bce(&x, &classes, mean), Err(Error::DType { op: "bce", .. })));
    assert!(matches!(entropy(&random([], 1), 0.0), Err(Error::Shape { op: "entropy", .. })));
    assert!(matches!(entropy(&x, f64::NAN), Err(Error::Argument { op: "entropy", .. })));
}
