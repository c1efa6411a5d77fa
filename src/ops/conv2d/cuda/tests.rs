//! The rungs of the convolution on CUDA beside each other: what tiles and algorithms may change of a result, and what not.

use crate::{
    DType, Device, DeviceKind, Dims, Error, Precision, Result, Tensor,
    device::{Arms, run1},
    ops::{
        self, Conv2d,
        conv2d::{Algorithm, Conv2dFused, Conv2dGradInput, Conv2dGradWeight},
    },
    testing::{bits, cuda_of_its_own, on_each_device, random, random_i32, rms, wanted},
};

const ROUNDED: [Precision; 3] = [Precision::Tf32, Precision::F16, Precision::Bf16];
const ROWS: [Option<usize>; 4] = [None, Some(32), Some(64), Some(128)];

fn on_cuda(mut body: impl FnMut(&Device)) {
    on_each_device(Arms { wgpu: false, cuda: true }, |device| {
        if device.kind() == DeviceKind::Cuda {
            body(device);
        }
    });
}

/// Image (B, C, H, W), output channels, kernel, geometry: tiles that are full and that are not, in channels and in pixels.
type Case = ([usize; 4], usize, [usize; 2], Conv2d);

fn cases() -> Vec<Case> {
    let plain = Conv2d::new(1, 1);
    vec![
        ([2, 16, 9, 7], 70, [3, 3], plain),
        ([3, 37, 13, 11], 33, [3, 3], plain),
        ([1, 1, 3, 3], 1, [3, 3], Conv2d::new(1, 0)),
        ([2, 9, 8, 9], 130, [3, 3], Conv2d { padding: [0, 1, 2, 0], ..plain }),
        ([2, 3, 12, 10], 20, [5, 2], Conv2d { stride: [2, 3], padding: [2, 1, 0, 1], ..plain }),
        ([2, 40, 7, 7], 12, [1, 1], Conv2d::new(2, 0)),
        ([0, 4, 5, 5], 3, [3, 3], plain),
    ]
}

/// What the tests compute of a case: x or bytes, weight, bias and a residual, on a device.
struct Operands {
    x: Tensor,
    bytes: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor,
}

impl Operands {
    fn new(&(x, out, [kh, kw], conv): &Case, device: &Device, make: fn(Dims, u64) -> Tensor) -> Self {
        let to = |t: Tensor| t.to_device(device).unwrap();
        let given = |dims: &[usize], seed| to(make(Dims::new(dims).unwrap(), seed));
        let levels = random_i32(Dims::from(x), 256, 6).to_vec::<i32>().unwrap();
        let levels: Vec<u8> = levels.into_iter().map(|v| v as u8).collect();
        let (x_at, weight) = (given(&x, 1), given(&[out, x[1], kh, kw], 2));
        let y = run1(&conv.by(Algorithm::Direct), &[&x_at, &weight]).unwrap();
        Operands {
            bytes: to(Tensor::from_slice(&levels, x, &Device::Cpu).unwrap()),
            bias: given(&[out], 3),
            residual: given(&y.dims(), 4),
            x: x_at,
            weight,
        }
    }

    /// The convolution plain, with all that can follow it, and of bytes.
    fn forward(&self, conv: Conv2d) -> Result<Vec<Tensor>> {
        let fused =
            |x, relu| run1(&Conv2dFused { conv, relu }, &[x, &self.weight, &self.bias, &self.residual]);
        Ok(vec![run1(&conv, &[&self.x, &self.weight])?, fused(&self.x, true)?, fused(&self.bytes, false)?])
    }

    /// Both gradients, for the residual as the one of y.
    fn backward(&self, conv: Conv2d) -> Result<Vec<Tensor>> {
        let last = |t: &Tensor| [t.dims()[2], t.dims()[3]];
        let to_input = Conv2dGradInput { conv, image: last(&self.x) };
        let to_weight = Conv2dGradWeight { conv, kernel: last(&self.weight) };
        Ok(vec![
            run1(&to_input, &[&self.residual, &self.weight])?,
            run1(&to_weight, &[&self.x, &self.residual])?,
        ])
    }

    fn all(&self, conv: Conv2d) -> Result<Vec<Tensor>> {
        Ok([self.forward(conv)?, self.backward(conv)?].concat())
    }
}

/// The root mean square of the differences, as a share of that of `want`.
fn distance(got: &Tensor, want: &Tensor) -> f64 {
    let [got, want] = [got, want].map(|t| t.to_vec::<f32>().unwrap());
    let scale = rms(want.iter().map(|&v| f64::from(v)));
    let error = rms(got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
    if got == want { 0.0 } else { error / scale }
}

/// Multiples of 1/8 up to 2, which every precision holds; sums of their products are exact.
fn eighths(dims: Dims, seed: u64) -> Tensor {
    let t = random(dims, seed);
    let rounded: Vec<f32> =
        t.to_vec::<f32>().unwrap().iter().map(|v| (v * 8.0).round().clamp(-16.0, 16.0) / 8.0).collect();
    Tensor::from_slice(&rounded, t.dims(), &Device::Cpu).unwrap()
}

#[test]
fn the_naive_rung_has_the_bits_of_the_tiles() {
    on_cuda(|device| {
        for case in cases() {
            let (operands, conv) = (Operands::new(&case, device, random), case.3);
            let run = |conv| run1(&conv, &[&operands.x, &operands.weight, &operands.bias]).unwrap();
            let [naive, tiled] = [Algorithm::Naive, Algorithm::Direct].map(|by| bits(&run(conv.by(by))));
            assert!(naive == tiled, "{case:?}");
            let refused = operands.backward(conv.by(Algorithm::Naive));
            assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
        }
    });
}

#[test]
fn winograd_is_near_the_tiles() {
    on_cuda(|device| {
        for case in
            cases().into_iter().filter(|(_, _, kernel, conv)| *kernel == [3, 3] && conv.stride == [1, 1])
        {
            let (operands, conv) = (Operands::new(&case, device, random), case.3);
            let [got, want] =
                [Algorithm::Winograd4, Algorithm::Direct].map(|by| operands.all(conv.by(by)).unwrap());
            for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                let error = distance(got, want);
                assert!(error <= 2e-6, "result {at} of {case:?}: {error:e}");
            }
        }
    });
}

/// Nine images whose tiles, or whose packed pixels, are more than what is kept of them at once.
#[test]
fn runs_of_images_change_nothing() {
    let winograd = Conv2d::new(1, 1).by(Algorithm::Winograd4);
    let pipelined = Conv2d::new(16, 0).by(Algorithm::Pipelined(None)).precision(Precision::Tf32);
    on_cuda(|device| {
        for (conv, x, weight) in
            [(winograd, [9, 16, 160, 160], [16, 16, 3, 3]), (pipelined, [9, 1, 700, 700], [3, 1, 1, 1])]
        {
            let x = random(x, 1);
            if !wanted(x.dims().elements()) {
                continue;
            }
            let last = ops::narrow(&x, 0, 8..9).unwrap();
            let [x, last, weight] = [x, last, random(weight, 2)].map(|t| t.to_device(device).unwrap());
            let [all, alone] = [&x, &last].map(|x| run1(&conv, &[x, &weight]).unwrap());
            assert!(bits(&ops::narrow(&all, 0, 8..9).unwrap()) == bits(&alone), "{conv:?}");
        }
    });
}

/// Each case in each precision, with tiles of one size or another.
fn pipelined() -> impl Iterator<Item = (Case, Precision, Option<usize>)> {
    let precisions = |(at, case): (usize, Case)| {
        ROUNDED.into_iter().enumerate().map(move |(p, precision)| (case, precision, ROWS[(at + p) % 4]))
    };
    cases().into_iter().enumerate().flat_map(precisions)
}

#[test]
fn the_pipelined_rung_is_exact_where_its_operands_are() {
    on_cuda(|device| {
        for (case, precision, rows) in pipelined() {
            let (operands, conv) = (Operands::new(&case, device, eighths), case.3);
            let want = operands.all(conv.by(Algorithm::Direct)).unwrap();
            let got = operands.all(conv.by(Algorithm::Pipelined(rows)).precision(precision)).unwrap();
            for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                let [got, want] = [got, want].map(|t| t.to_vec::<f32>().unwrap());
                assert!(got == want, "result {at} of {case:?} in {precision} and {rows:?}");
            }
        }
    });
}

#[test]
fn the_pipelined_rung_rounds_as_the_tiles_do() {
    on_cuda(|device| {
        for (case, precision, rows) in pipelined() {
            let (operands, conv) = (Operands::new(&case, device, random), case.3.precision(precision));
            let [got, want] = [Algorithm::Pipelined(rows), Algorithm::Direct]
                .map(|algorithm| operands.all(conv.by(algorithm)).unwrap());
            for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                let error = distance(got, want);
                assert!(error <= 1e-6, "result {at} of {case:?} in {precision}: {error:e}");
            }
        }
    });
}

#[test]
fn tiles_of_any_size_give_the_same_bits() {
    on_cuda(|device| {
        let case = cases()[3];
        let operands = Operands::new(&case, device, random);
        for precision in ROUNDED {
            let run =
                |rows| operands.all(case.3.by(Algorithm::Pipelined(rows)).precision(precision)).unwrap();
            let [first, others @ ..] = ROWS.map(run);
            for (got, first) in others.iter().flatten().zip(first.iter().cycle()) {
                assert!(bits(got) == bits(first), "{case:?} in {precision}");
            }
        }
    });
}

#[test]
fn rungs_that_do_not_apply_are_refused() {
    on_cuda(|device| {
        let (operands, conv) = (Operands::new(&cases()[0], device, random), cases()[0].3);
        let unsupported = |conv: Conv2d| {
            let refused = operands.forward(conv);
            assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
        };
        unsupported(conv.by(Algorithm::Pipelined(None)));
        unsupported(conv.by(Algorithm::Winograd4).precision(Precision::F16));
        unsupported(conv.by(Algorithm::Naive).precision(Precision::Tf32));
        unsupported(conv.by(Algorithm::Naive));
        let refused = operands.forward(conv.by(Algorithm::Pipelined(Some(48))).precision(Precision::F16));
        assert!(matches!(refused, Err(Error::Argument { .. })), "{refused:?}");
        let grouped = Conv2d { groups: 2, ..conv.by(Algorithm::Pipelined(None)).precision(Precision::F16) };
        let weight = random([4, 8, 3, 3], 1).to_device(device).unwrap();
        let refused = run1(&grouped, &[&operands.x, &weight]);
        assert!(matches!(refused, Err(Error::Argument { .. })), "{refused:?}");
    });
}

/// Convolutions and matrix products by warpgroups, beside the same by warps.
#[test]
fn warpgroups_multiply_the_same_numbers() {
    let Some(cuda) = cuda_of_its_own() else { return };
    if cuda.capability() != (9, 0) {
        let refused = cuda.set_warpgroups(true);
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
        return;
    }
    let device = Device::Cuda(cuda.clone());
    let products = |precision| {
        let to = |t: Tensor| t.to_device(&device).unwrap();
        let (a, b) = (to(random([2, 130, 600], 1)), to(random([2, 600, 70], 2)));
        let flags = ops::MatMul { precision: Some(precision), ..Default::default() };
        let turned = ops::MatMul { transpose_a: true, transpose_b: true, ..flags };
        vec![ops::matmul_with(flags, &a, &b).unwrap(), ops::matmul_with(turned, &b, &a).unwrap()]
    };
    for precision in ROUNDED {
        let all = || {
            let convolved = cases().into_iter().flat_map(|case| {
                let operands = Operands::new(&case, &device, random);
                operands.forward(case.3.by(Algorithm::Direct).precision(precision)).unwrap()
            });
            convolved.chain(products(precision)).collect::<Vec<_>>()
        };
        cuda.set_warpgroups(false).unwrap();
        let want = all();
        cuda.set_warpgroups(true).unwrap();
        let (got, again) = (all(), all());
        for (at, ((got, want), again)) in got.iter().zip(&want).zip(&again).enumerate() {
            assert_eq!(got.dtype(), DType::F32);
            let error = distance(got, want);
            assert!(error <= 1e-6, "result {at} in {precision}: {error:e}");
            assert!(bits(got) == bits(again), "result {at} in {precision}");
        }
    }
}
