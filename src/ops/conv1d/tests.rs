use super::*;
use crate::{device::Op, ops::Conv2d, testing::*};

/// The definition, in f64.
fn plain(x: &Tensor, weight: &Tensor, conv: Conv1d) -> Vec<f64> {
    let ([b, c, length], [out, per, k]) = (three("x", x).unwrap(), three("w", weight).unwrap());
    let (x, weight) = (x.to_vec::<f32>().unwrap(), weight.to_vec::<f32>().unwrap());
    let mut y = Vec::new();
    for at in 0..b * out {
        let (row, o) = (at / out, at % out);
        let mut start = 0;
        while start + k <= length + conv.padding[0] + conv.padding[1] {
            let mut sum = 0.0;
            for (channel, j) in (0..per * k).map(|p| (p / k, p % k)) {
                let from = (start + j).checked_sub(conv.padding[0]).filter(|&from| from < length);
                let plane = row * c + o / (out / conv.groups) * per + channel;
                sum += from.map_or(0.0, |from| {
                    f64::from(x[plane * length + from]) * f64::from(weight[(o * per + channel) * k + j])
                });
            }
            y.push(sum);
            start += conv.stride;
        }
    }
    y
}

#[test]
fn sequences_are_convolved() {
    for (x, weight, stride, padding, groups) in [
        ([2, 3, 11], [4, 3, 3], 1, [1, 1], 1),
        ([3, 8, 50], [8, 1, 33], 1, [16, 16], 8),
        ([2, 4, 9], [6, 2, 2], 3, [0, 2], 2),
        ([1, 1, 1], [1, 1, 1], 1, [0, 0], 1),
    ] {
        let conv = Conv1d { stride, padding, groups };
        let (x, weight) = (random(x, 1), random(weight, 2));
        let got = conv1d(&x, &weight, None, conv).unwrap().to_vec::<f32>().unwrap();
        let want = plain(&x, &weight, conv);
        assert_eq!(got.len(), want.len());
        assert!(
            got.iter().zip(&want).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4),
            "{got:?}, not {want:?}"
        );
    }
}

#[test]
fn gradients_are_derivatives() {
    let conv = Conv1d { stride: 2, padding: [2, 1], groups: 2 };
    let ins = [random([2, 4, 7], 1), random([6, 2, 3], 2), random([6], 3)];
    judge_function_on(Conv2d::ARMS, |x| Ok(vec![conv1d(&x[0], &x[1], Some(&x[2]), conv)?]), &ins);
    judge_function(
        |x| Ok(vec![pad2d(&x[0], [1, 0, 2, 3])?, crop2d(&x[0], [1, 2, 0, 1])?]),
        &[random([2, 3, 4, 5], 4)],
    );
}

#[test]
fn cropping_undoes_padding() {
    let x = random([2, 3, 4, 5], 1);
    let there = pad2d(&x, [3, 1, 0, 2]).unwrap();
    assert_eq!(*there.dims(), [2, 3, 8, 7]);
    assert_eq!(crop2d(&there, [3, 1, 0, 2]).unwrap().to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
    assert_eq!(*crop2d(&x, [2, 2, 5, 0]).unwrap().dims(), [2, 3, 0, 0]);
}

#[test]
fn misuse_is_a_typed_error() {
    let conv = Conv1d { stride: 1, padding: [0, 0], groups: 1 };
    let (x, weight) = (random([2, 3, 5], 1), random([4, 3, 2], 2));
    assert!(matches!(
        conv1d(&random([3, 5], 1), &weight, None, conv),
        Err(Error::Shape { op: "conv1d", .. })
    ));
    assert!(matches!(conv1d(&x, &random([4, 3], 1), None, conv), Err(Error::Shape { op: "conv1d", .. })));
    assert!(conv1d(&x, &weight, None, Conv1d { stride: 0, ..conv }).is_err());
    assert!(conv1d(&x, &random([4, 2, 2], 1), None, conv).is_err());
    assert!(matches!(pad2d(&x, [0; 4]), Err(Error::Shape { op: "pad2d", .. })));
    let image = random([1, 1, 3, 3], 1);
    assert!(matches!(pad2d(&image, [usize::MAX, 0, 0, 0]), Err(Error::Argument { op: "pad2d", .. })));
    assert!(matches!(crop2d(&image, [2, 2, 0, 0]), Err(Error::Argument { op: "crop2d", .. })));
    assert!(matches!(crop2d(&image, [0, 0, 0, 4]), Err(Error::Argument { op: "crop2d", .. })));
}
