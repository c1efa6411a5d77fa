use super::*;
use crate::{
    DType, Precision,
    device::{run, run1},
    ops::{self, BatchNormConfig, BatchNormTensors, batch_norm::BatchNormStatistics},
    testing::*,
};
use proptest::prelude::*;

/// Image (B, C, H, W), output channels, kernel, geometry.
type Case = ([usize; 4], usize, [usize; 2], Conv2d);

fn cases() -> Vec<Case> {
    let plain = |stride, padding| Conv2d::new(stride, padding);
    vec![
        ([2, 1, 25, 25], 16, [7, 7], plain(2, 3)),
        ([3, 16, 13, 13], 16, [3, 3], plain(1, 1)),
        ([2, 64, 13, 13], 64, [3, 3], plain(1, 1)),
        ([3, 17, 7, 7], 33, [3, 3], plain(1, 1)),
        ([2, 8, 13, 13], 16, [3, 3], plain(2, 1)),
        ([2, 8, 13, 13], 16, [1, 1], plain(2, 0)),
        ([3, 5, 17, 23], 7, [5, 5], plain(3, 2)),
        ([2, 9, 1, 1], 3, [1, 1], plain(1, 0)),
        ([2, 3, 9, 40], 33, [3, 3], plain(1, 1)),
        ([5, 17, 4, 4], 20, [4, 4], plain(1, 0)),
        ([2, 2, 3, 3], 3, [5, 5], plain(1, 4)),
        (
            [3, 6, 14, 11],
            10,
            [3, 5],
            Conv2d { stride: [2, 1], padding: [0, 1, 3, 0], groups: 1, ..plain(1, 0) },
        ),
        ([2, 6, 9, 8], 4, [3, 3], Conv2d { stride: [1, 2], padding: [1, 0, 0, 2], groups: 2, ..plain(1, 0) }),
        ([2, 5, 8, 8], 5, [3, 3], Conv2d { stride: [1, 1], padding: [1; 4], groups: 5, ..plain(1, 0) }),
        (
            [2, 3, 1, 33],
            2,
            [1, 9],
            Conv2d { stride: [1, 1], padding: [0, 0, 4, 4], groups: 1, ..plain(1, 0) },
        ),
        ([0, 3, 4, 4], 2, [3, 3], plain(1, 1)),
    ]
}

fn operands(&(x, out, kernel, conv): &Case) -> (Tensor, Tensor, Tensor) {
    let x = random(x, 1);
    let weight = random([out, x.dims()[1] / conv.groups, kernel[0], kernel[1]], 2);
    (x, weight, random([out], 3))
}

/// y is the convolution's, bit for bit, and its statistics are what a batch norm finds in it.
#[test]
fn statistics_are_those_of_the_result() {
    let config = BatchNormConfig { momentum: 0.3, ..Default::default() };
    let plain = Conv2d::new(1, 1);
    for (x, out, [kh, kw], conv) in [
        ([3, 5, 13, 11], 7, [3, 3], plain),
        ([2, 9, 8, 9], 70, [3, 3], Conv2d { padding: [0, 1, 2, 0], ..plain }),
        ([5, 2, 19, 21], 6, [7, 7], Conv2d::new(2, 3)),
        ([2, 6, 7, 9], 4, [3, 2], Conv2d { stride: [2, 3], groups: 2, ..plain }),
        ([3, 4, 7, 7], 9, [1, 1], Conv2d::new(2, 0)),
    ] {
        let weight = random([out, x[1] / conv.groups, kh, kw], 2);
        let [x, mean, var] = [random(x, 1), random([out], 3), away_from_zero([out], 4)];
        let op = Conv2dStatistics { conv, norm: config };
        judge(&op, &[&x, &weight, &mean, &var]);
        on_each_device(Conv2dStatistics::ARMS, |device| {
            let on = |t: &Tensor| t.to_device(device).unwrap();
            let ins = [&x, &weight, &mean, &var].map(on);
            let algorithms =
                [Algorithm::Auto, Algorithm::Direct, Algorithm::Winograd4, Algorithm::Pipelined(None)];
            let ways = Precision::ALL.into_iter().flat_map(|p| algorithms.map(|a| conv.precision(p).by(a)));
            for conv in ways {
                // Not every device and shape has all of them.
                let Ok(conv) = conv.on("conv2d", device) else { continue };
                let Ok(want) = run(&conv, &[&ins[0], &ins[1]]) else { continue };
                let op = Conv2dStatistics { conv, norm: config };
                let got = run(&op, &ins.each_ref()).unwrap();
                assert_eq!(bits(&got[0]), bits(&want[0]), "{conv:?} on {device}");
                let want = run(&BatchNormStatistics(config), &[&want[0], &ins[2], &ins[3]]).unwrap();
                for (got, want) in got[1..].iter().zip(&want) {
                    let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
                    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-6 * (1.0 + b.abs());
                    assert!(got.iter().zip(&want).all(close), "{conv:?} on {device}: {got:?}, {want:?}");
                }
            }
        });
    }
}

#[test]
fn gradients_of_a_convolution_with_its_batch_norm_agree_with_differences() {
    let ins = [
        random([3, 2, 5, 7], 1),
        random([4, 2, 3, 3], 2),
        random([4], 3),
        random([4], 4),
        random([3, 4, 3, 4], 5),
    ];
    for (relu, with_residual) in [(false, false), (true, false), (true, true)] {
        let config = BatchNormConfig { relu, ..Default::default() };
        judge_function(
            |x| {
                let (zero, one) = (ops::full_like(&x[2], 0.0)?, ops::full_like(&x[2], 1.0)?);
                let tensors =
                    BatchNormTensors { weight: &x[2], bias: &x[3], running_mean: &zero, running_var: &one };
                let residual = with_residual.then_some(&x[4]);
                let (y, _) =
                    ops::conv2d_batch_norm(&x[0], &x[1], residual, &tensors, Conv2d::new(2, 1), config)?;
                Ok(vec![y])
            },
            &ins,
        );
    }
}

#[test]
fn forward_matches_its_specification() {
    for case in cases() {
        let (x, weight, bias) = operands(&case);
        judge_in_both(&case.3, &[&x, &weight]);
        judge_in_both(&case.3, &[&x, &weight, &bias]);
    }
}

/// Every rung adds the same products in the same order.
#[test]
fn the_rungs_of_the_ladder_give_the_same_bits() {
    on_each_device(crate::device::Arms { wgpu: true, cuda: false }, |device| {
        for (case, &dtype) in cases().iter().flat_map(|case| floats(device).iter().map(move |f| (case, f))) {
            let (x, weight, bias) = operands(case);
            let put = |t| crate::ops::convert(&t, dtype).unwrap().to_device(device).unwrap();
            let [x, weight, bias] = [x, weight, bias].map(put);
            let run = |algorithm| run1(&case.3.by(algorithm), &[&x, &weight, &bias]);
            if device.kind() != crate::DeviceKind::Wgpu {
                let refused = run(Algorithm::Naive);
                assert!(matches!(refused, Err(Error::Unsupported { op: "conv2d", .. })), "{refused:?}");
                continue;
            }
            let want = bits(&run(Algorithm::Direct).unwrap());
            for rung in [Algorithm::Naive, Algorithm::Tiled, Algorithm::Blocked, Algorithm::Registers] {
                assert_eq!(bits(&run(rung).unwrap()), want, "{rung:?} of {case:?}");
            }
        }
    });
}

/// Few channels and odd sizes, for which it is not the default, beside the sums written down.
#[test]
fn winograd_on_a_gpu_is_near_the_naive_rung() {
    let arms = crate::device::Arms { wgpu: true, cuda: false };
    on_each_device(arms, |device| {
        if device.kind() != crate::DeviceKind::Wgpu {
            return;
        }
        for (x, out, padding) in
            [([2, 3, 13, 11], 5, [1; 4]), ([3, 17, 7, 9], 20, [0, 1, 2, 0]), ([2, 1, 3, 3], 1, [0; 4])]
        {
            let channels = x[1];
            let plain = Conv2d { padding, ..Conv2d::new(1, 0) };
            let (named, naive) = (plain.by(Algorithm::Winograd4), plain.by(Algorithm::Naive));
            let to = |t: Tensor| t.to_device(device).unwrap();
            let image = [x[2], x[3]];
            let (x, weight) = (to(random(x, 1)), to(random([out, channels, 3, 3], 2)));
            let near = |a: &Tensor, b: &Tensor| {
                let [a, b] = [a, b].map(|t| t.to_vec::<f32>().unwrap());
                let scale = rms(b.iter().map(|v| f64::from(*v)));
                let error = rms(a.iter().zip(&b).map(|(a, b)| f64::from(a - b)));
                assert!(error <= 2e-6 * scale, "{plain:?}: {error:e} of {scale:e}");
            };
            let y = run1(&naive, &[&x, &weight]).unwrap();
            near(&run1(&named, &[&x, &weight]).unwrap(), &y);
            let grad = |conv| run1(&Conv2dGradInput { conv, image }, &[&y, &weight]).unwrap();
            near(&grad(named), &grad(naive));
            let fused =
                |conv| run1(&Conv2dFused { conv, relu: true }, &[&x, &weight, &to(random([out], 3)), &y]);
            near(&fused(named).unwrap(), &fused(naive).unwrap());
        }
    });
}

/// The tiles of 7 images of 16 channels and 200 by 200 pixels are larger than what is kept of them at once, and so are
/// those of one image of 700 by 700.
#[test]
fn winograd_keeps_the_tiles_of_a_few_images_at_once() {
    on_each_device(crate::device::Arms { wgpu: true, cuda: false }, |device| {
        if device.kind() != crate::DeviceKind::Wgpu {
            return;
        }
        let to = |t: Tensor| t.to_device(device).unwrap();
        let conv = Conv2d::new(1, 1).by(Algorithm::Winograd4);
        let weight = to(random([16, 16, 3, 3], 1));
        let x = to(random([7, 16, 200, 200], 2));
        let last = crate::ops::narrow(&x, 0, 6..7).unwrap();
        let y = run1(&conv, &[&x, &weight]).unwrap();
        let want = bits(&run1(&conv, &[&last, &weight]).unwrap());
        assert!(bits(&crate::ops::narrow(&y, 0, 6..7).unwrap()) == want);
        let large = to(random([1, 16, 700, 700], 2));
        let refused = run1(&conv, &[&large, &weight]);
        assert!(matches!(refused, Err(Error::Unsupported { op: "conv2d", .. })), "{refused:?}");
        run1(&Conv2d::new(1, 1), &[&large, &weight]).unwrap();
    });
}

#[test]
fn what_follows_a_convolution_can_be_fused_with_it() {
    for (at, case) in cases().into_iter().enumerate() {
        // Software drivers take seconds to compile each of the many variants.
        let short = [1, 6, 12].contains(&at);
        let (x, weight, bias) = operands(&case);
        let conv = case.3;
        let check =
            |op: &Conv2dFused, ins: &[&Tensor]| if short { judge_in_both(op, ins) } else { judge(op, ins) };
        let residual = random(run1(&conv, &[&x, &weight]).unwrap().dims(), 5);
        check(&Conv2dFused { conv, relu: true }, &[&x, &weight, &bias]);
        check(&Conv2dFused { conv, relu: false }, &[&x, &weight, &bias, &residual]);
        check(&Conv2dFused { conv, relu: true }, &[&x, &weight, &bias, &residual]);
        let bytes: Vec<u8> =
            random_i32(x.dims(), 256, 6).to_vec::<i32>().unwrap().iter().map(|&v| v as u8).collect();
        let pixels = Tensor::from_slice(&bytes, x.dims(), &crate::Device::Cpu).unwrap();
        check(&Conv2dFused { conv, relu: true }, &[&pixels, &weight, &bias, &residual]);
    }
}

#[test]
fn a_fused_convolution_refuses_what_does_not_fit() {
    let (x, weight, bias) = operands(&cases()[1]);
    let conv = cases()[1].3;
    let residual = random([3, 16, 13, 12], 1);
    let refused = conv2d_fused(&x, &weight, &bias, Some(&residual), conv, true);
    assert!(matches!(refused, Err(Error::Shape { op: "conv2d_fused", .. })), "{refused:?}");
    let tape = crate::Tape::new();
    let refused = conv2d_fused(&tape.watch(&x).unwrap(), &weight, &bias, None, conv, true);
    assert!(matches!(refused, Err(Error::Tape { .. })), "{refused:?}");
}

#[test]
fn gradients_match_their_specifications() {
    for case in cases() {
        let (x, weight, _) = operands(&case);
        let conv = case.3;
        let dy = random(run1(&conv, &[&x, &weight]).unwrap().dims(), 4);
        judge_in_both(&Conv2dGradInput { conv, image: [case.0[2], case.0[3]] }, &[&dy, &weight]);
        judge_in_both(&Conv2dGradWeight { conv, kernel: case.2 }, &[&x, &dy]);
    }
}

#[test]
fn gradients_agree_with_differences() {
    for (x, out, kernel, conv) in [
        ([2, 2, 5, 4], 3, [3, 3], Conv2d::new(1, 1)),
        (
            [2, 4, 5, 6],
            4,
            [3, 2],
            Conv2d { stride: [2, 1], padding: [1, 0, 2, 1], groups: 2, ..Conv2d::new(1, 0) },
        ),
    ] {
        let (x, weight, bias) = operands(&(x, out, kernel, conv));
        judge_function_on(
            Conv2d::ARMS,
            |x| Ok(vec![conv2d(&x[0], &x[1], Some(&x[2]), conv)?]),
            &[x.clone(), weight.clone(), bias.clone()],
        );
        judge_short_function_on(
            Conv2d::ARMS,
            |x| Ok(vec![conv2d(&x[0], &x[1], Some(&x[2]), conv)?]),
            &[half(&x), half(&weight), half(&bias)],
        );
        // Weights in f32, the convolution in f16.
        let short = |t: &Tensor| crate::ops::convert(t, DType::F16);
        judge_short_function_on(
            Conv2d::ARMS,
            |x| {
                let y = conv2d(&short(&x[0])?, &short(&x[1])?, Some(&short(&x[2])?), conv)?;
                Ok(vec![crate::ops::convert(&y, DType::F32)?])
            },
            &[x, weight, bias],
        );
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(40))]

    #[test]
    fn any_geometry_matches(
        batch in 1usize..4, (c, out) in (1usize..20, 1usize..35), h in 1usize..18, w in 1usize..18, kh in 1usize..6,
        kw in 1usize..6, sh in 1usize..4, sw in 1usize..4, padding in prop::array::uniform4(0usize..4), seed in 0u64..99,
        groups in prop_oneof![3 => Just(1usize), 1 => 2usize..5],
    ) {
        let conv = Conv2d { stride: [sh, sw], padding, groups, ..Conv2d::new(1, 0) };
        let (c, out, per_group) = (c.div_ceil(groups) * groups, out.div_ceil(groups) * groups, c.div_ceil(groups));
        let fits = kh <= h + padding[0] + padding[1] && kw <= w + padding[2] + padding[3];
        let (x, weight) = (random([batch, c, h, w], seed), random([out, per_group, kh, kw], seed + 1));
        if fits {
            judge_in_both(&conv, &[&x, &weight]);
            let dy = random(run1(&conv, &[&x, &weight]).unwrap().dims(), seed + 2);
            judge_in_both(&Conv2dGradInput { conv, image: [h, w] }, &[&dy, &weight]);
            judge_in_both(&Conv2dGradWeight { conv, kernel: [kh, kw] }, &[&x, &dy]);
        } else {
            let refused = matches!(conv2d(&x, &weight, None, conv), Err(Error::Shape { op: "conv2d", .. }));
            prop_assert!(refused);
        }
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    on_each_device(Conv2d::ARMS, |device| {
        let x = random([5, 16, 13, 13], 1);
        let weight = random([32, 16, 3, 3], 2).to_device(device).unwrap();
        let all = conv2d(&x.to_device(device).unwrap(), &weight, None, Conv2d::new(1, 1)).unwrap();
        for b in 0..5 {
            let one = crate::ops::slice(&x, b..b + 1).unwrap().to_device(device).unwrap();
            let alone = conv2d(&one, &weight, None, Conv2d::new(1, 1)).unwrap();
            assert_eq!(
                bits(&alone),
                bits(&crate::ops::slice(&all, b..b + 1).unwrap()),
                "image {b} on {device}"
            );
        }
    });
}

#[test]
fn misuse_is_a_typed_error() {
    let (x, weight) = (random([2, 4, 5, 5], 1), random([6, 4, 3, 3], 2));
    let error = |conv| conv2d(&x, &weight, None, conv).unwrap_err();
    assert!(matches!(
        error(Conv2d { stride: [0, 1], ..Conv2d::new(1, 1) }),
        Error::Argument { op: "conv2d", .. }
    ));
    assert!(matches!(error(Conv2d { groups: 3, ..Conv2d::new(1, 1) }), Error::Shape { op: "conv2d", .. }));
    assert!(matches!(
        error(Conv2d::new(2, 1).by(Algorithm::Winograd4)),
        Error::Argument { op: "conv2d", .. }
    ));
    assert!(conv2d(&x, &random([6, 3, 3, 3], 2), None, Conv2d::new(1, 1)).is_err());
    assert!(conv2d(&x, &random([6, 4, 7, 7], 2), None, Conv2d::new(1, 0)).is_err());
    assert!(conv2d(&x, &weight, Some(&random([5], 1)), Conv2d::new(1, 1)).is_err());
    assert!(conv2d(&random([4, 5, 5], 1), &weight, None, Conv2d::new(1, 1)).is_err());
}
