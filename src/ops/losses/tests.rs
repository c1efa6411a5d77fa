use super::*;
use crate::{Device, ops, testing::*};

fn targets(classes: &[i32]) -> Tensor {
    Tensor::from_slice(classes, [classes.len()], &Device::Cpu).unwrap()
}

fn indicators(dims: impl Into<crate::Dims>, seed: u64) -> Tensor {
    let t = random_i32(dims, 2, seed);
    let values: Vec<f32> = t.to_vec::<i32>().unwrap().into_iter().map(|v| v as f32).collect();
    Tensor::from_slice(&values, t.dims(), &Device::Cpu).unwrap()
}

fn probabilities(dims: impl Into<crate::Dims>, seed: u64) -> Tensor {
    ops::sigmoid(&random(dims, seed)).unwrap()
}

#[test]
fn class_losses_match_their_specifications() {
    for (n, c) in [(5, 3), (1, 1), (16, 10), (2, 37)] {
        let x = random([n, c], 1);
        let t = random_i32([n], c as u32, 2);
        let dy = Tensor::full(0.7_f32, [], &Device::Cpu).unwrap();
        let w = away_from_zero([c], 3);
        let w = ops::mul(&w, &w).unwrap();
        for reduction in [Reduction::Mean, Reduction::Sum] {
            judge(&CrossEntropy { reduction }, &[&x, &t]);
            judge(&CrossEntropy { reduction }, &[&x, &t, &w]);
            judge(&CrossEntropyGrad { reduction }, &[&dy, &x, &t]);
            judge(&CrossEntropyGrad { reduction }, &[&dy, &x, &t, &w]);
        }
        let p = probabilities([n, c], 4);
        judge(&Nll { eps: 1e-6 }, &[&p, &t]);
        judge(&NllGrad { eps: 1e-6 }, &[&dy, &p, &t]);
    }
}

#[test]
fn element_losses_match_their_specifications() {
    for dims in [&[3, 5][..], &[1], &[2, 3, 7]] {
        let dims = crate::Dims::new(dims).unwrap();
        let dy = Tensor::full(-1.3_f32, [], &Device::Cpu).unwrap();
        let (x, p, t) = (random(dims, 1), probabilities(dims, 2), indicators(dims, 3));
        for reduction in [Reduction::Mean, Reduction::Sum] {
            judge(&BceWithLogits { reduction }, &[&x, &t]);
            judge(&BceWithLogitsGrad { reduction }, &[&dy, &x, &t]);
            judge(&Bce { reduction }, &[&p, &t]);
            judge(&BceGrad { reduction }, &[&dy, &p, &t]);
        }
    }
}

#[test]
fn gradients_agree_with_differences() {
    let t = targets(&[1, 0, 3]);
    let weights = Tensor::from_slice(&[0.5_f32, 2.0, 1.0, 1.5], [4], &Device::Cpu).unwrap();
    for weights in [None, Some(&weights)] {
        let f = |x: &[Tensor]| {
            let w = weights.map(|w| {
                if x[0].dtype() == crate::DType::F64 { crate::check::to_f64(w) } else { Ok(w.clone()) }
            });
            let w = w.transpose()?;
            Ok(vec![cross_entropy(&x[0], &t, w.as_ref(), Reduction::Mean)?])
        };
        judge_function(f, &[random([3, 4], 1)]);
    }
    judge_function(|x| Ok(vec![nll(&x[0], &t, 1e-6)?]), &[probabilities([3, 4], 2)]);
    let binary = indicators([3, 2], 3);
    let against = |x: &[Tensor], f: fn(&Tensor, &Tensor) -> Result<Tensor>| {
        let t =
            if x[0].dtype() == crate::DType::F64 { crate::check::to_f64(&binary)? } else { binary.clone() };
        Ok(vec![f(&x[0], &t)?])
    };
    judge_function(|x| against(x, |x, t| bce_with_logits(x, t, Reduction::Sum)), &[random([3, 2], 4)]);
    judge_function(|x| against(x, bce), &[probabilities([3, 2], 5)]);
    judge_function(|x| Ok(vec![mse(&x[0], &x[1])?]), &[random([2, 3], 6), random([2, 3], 7)]);
    judge_function(|x| Ok(vec![entropy_term(&x[0])?]), &[probabilities([2, 5], 8)]);
}

#[test]
fn extreme_logits_stay_finite() {
    let x = Tensor::from_slice(&[1e4_f32, -1e4, 0.0, -1e4], [2, 2], &Device::Cpu).unwrap();
    let loss = cross_entropy(&x, &targets(&[1, 0]), None, Reduction::Mean).unwrap().item::<f32>().unwrap();
    assert_eq!(loss, 1e4);
    let t = Tensor::from_slice(&[0.0_f32, 1.0, 1.0, 0.0], [2, 2], &Device::Cpu).unwrap();
    assert!(bce_with_logits(&x, &t, Reduction::Mean).unwrap().item::<f32>().unwrap().is_finite());
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([3, 4], 1);
    for bad in [targets(&[1, 0, 4]), targets(&[-1, 0, 0])] {
        let error = cross_entropy(&x, &bad, None, Reduction::Mean).unwrap_err();
        assert!(matches!(error, Error::Argument { op: "cross_entropy", .. }), "{error}");
        assert!(matches!(nll(&x, &bad, 1e-6), Err(Error::Argument { op: "nll", .. })));
    }
    assert!(matches!(nll(&x, &targets(&[1]), 1e-6), Err(Error::Shape { op: "nll", .. })));
    assert!(matches!(bce(&x, &random([4, 3], 1)), Err(Error::Shape { op: "bce", .. })));
    let weights = random([3], 1);
    assert!(cross_entropy(&x, &targets(&[0, 1, 2]), Some(&weights), Reduction::Mean).is_err());
    assert!(matches!(mse(&x, &random([4, 3], 1)), Err(Error::Shape { op: "mse", .. })));
    assert!(bce_with_logits(&random([0], 1), &random([0], 1), Reduction::Mean).is_err());
}
