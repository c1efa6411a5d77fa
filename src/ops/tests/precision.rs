//! Convolutions, layers and matrix products with rounded operands: exact where nothing is lost, as wrong as the rounding
//! where something is, and the same bits on every run.

use crate::{
    Device, DeviceKind, Dims, Precision, Tape, Tensor,
    device::Arms,
    error::Result,
    ops::{self, Conv2d, Linear, MatMul},
    testing::{bits, on_each_device, random, rms},
};

/// Calls `body` with every device that has tensor cores, and each of their precisions.
fn on_each(mut body: impl FnMut(&Device, Precision)) {
    on_each_device(Arms { wgpu: false, cuda: true }, |device| {
        if device.kind() == DeviceKind::Cuda {
            [Precision::Tf32, Precision::F16, Precision::Bf16].into_iter().for_each(|p| body(device, p));
        }
    });
}

/// Multiples of 1/8 up to 2, which every precision holds; sums of their products are exact.
fn eighths(dims: Dims, seed: u64) -> Tensor {
    let t = random(dims, seed);
    let rounded: Vec<f32> =
        t.to_vec::<f32>().unwrap().iter().map(|v| (v * 8.0).round().clamp(-16.0, 16.0) / 8.0).collect();
    Tensor::from_slice(&rounded, t.dims(), &Device::Cpu).unwrap()
}

/// Where operands come from: their shape, and a seed.
type Make = fn(Dims, u64) -> Tensor;

/// The result of `f` and its gradients for operands of these shapes.
fn through(
    device: &Device,
    make: Make,
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let tape = Tape::new();
    let given = |dims: Dims, seed: usize| make(dims, seed as u64).to_device(device).unwrap();
    let operand = |(seed, dims)| tape.watch(&given(Dims::new(dims).unwrap(), seed)).unwrap();
    let operands: Vec<Tensor> = shapes.iter().copied().enumerate().map(operand).collect();
    let y = f(&operands).unwrap();
    let loss = ops::sum_all(&ops::mul(&y, &given(y.dims(), 9)).unwrap()).unwrap();
    let grads = tape.backward(&loss).unwrap();
    operands.iter().map(|t| grads.of(t).unwrap().clone()).chain([y.clone()]).collect()
}

/// Results and gradients of everything that takes a precision, at sizes that fill several tiles and end within one.
fn everything(device: &Device, precision: Precision, make: Make) -> Vec<Tensor> {
    let mut results = Vec::new();
    for (stride, kernel) in [(1, &[70, 5, 3, 3][..]), (2, &[6, 5, 3, 2])] {
        let conv = Conv2d::new(stride, 1).precision(precision);
        let shapes = [&[3, 5, 9, 7], kernel];
        results.extend(through(device, make, &shapes, |t| ops::conv2d(&t[0], &t[1], None, conv)));
    }
    let layer = Linear { precision: Some(precision) };
    let shapes = [&[70, 600][..], &[9, 600], &[9]];
    let of_layer = |t: &[Tensor]| ops::linear_with(layer, &t[0], &t[1], Some(&t[2]));
    results.extend(through(device, make, &shapes, of_layer));
    let flags = MatMul { transpose_a: true, transpose_b: true, precision: Some(precision) };
    let shapes = [&[2, 37, 30][..], &[2, 131, 37]];
    results.extend(through(device, make, &shapes, |t| ops::matmul_with(flags, &t[0], &t[1])));
    results.extend(fused(device, precision, make));
    results
}

/// A fused convolution of bytes, and of floats with a residual.
fn fused(device: &Device, precision: Precision, make: Make) -> [Tensor; 2] {
    let given = |dims: [usize; 4], seed| make(Dims::from(dims), seed).to_device(device).unwrap();
    let bytes: Vec<u8> = (0..2 * 3 * 11 * 10).map(|i| (i * 37 % 251) as u8).collect();
    let bytes = Tensor::from_slice(&bytes, [2, 3, 11, 10], device).unwrap();
    let (weight, x, residual) = (given([8, 3, 3, 3], 1), given([2, 3, 11, 10], 3), given([2, 8, 9, 8], 4));
    let bias = make(Dims::from([8]), 2).to_device(device).unwrap();
    let conv = Conv2d::new(1, 0).precision(precision);
    let convolve = |x, residual| ops::conv2d_fused(x, &weight, &bias, residual, conv, true).unwrap();
    [convolve(&bytes, None), convolve(&x, Some(&residual))]
}

#[test]
fn operands_that_a_precision_holds_give_exact_results() {
    on_each(|device, precision| {
        let want = everything(device, Precision::F32, eighths);
        let got = everything(device, precision, eighths);
        for (at, (got, want)) in got.iter().zip(&want).enumerate() {
            let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
            assert_eq!(got, want, "result {at} in {precision} on {device}");
        }
    });
}

#[test]
fn other_operands_are_rounded_once() {
    on_each(|device, precision| {
        let want = everything(device, Precision::F32, random);
        let got = everything(device, precision, random);
        let again = everything(device, precision, random);
        for (at, ((got, want), again)) in got.iter().zip(&want).zip(&again).enumerate() {
            let place = format!("result {at} in {precision} on {device}");
            assert_eq!(bits(got), bits(again), "{place}: other bits when run again");
            let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
            let error = rms(got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
            let error = error / rms(want.iter().map(|&v| f64::from(v)));
            // The gradient of a bias is a sum, not a product.
            let product = got.len() != 9;
            assert!(error <= 1.5 * precision.rounding(), "{place}: error {error:e}");
            assert_eq!(error > 0.05 * precision.rounding(), product, "{place}: error {error:e}");
        }
    });
}

/// The root mean square of the differences, as a share of that of `want`.
fn distance(got: &Tensor, want: &Tensor) -> f64 {
    let [got, want] = [got, want].map(|t| t.to_vec::<f32>().unwrap());
    rms(got.iter().zip(&want).map(|(a, b)| f64::from(a - b))) / rms(want.iter().map(|&v| f64::from(v)))
}

/// Results of an attention in one tensor.
fn joined(y: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let [y, weights] = [y, weights].map(|t| ops::reshape(t, [t.dims().elements()]));
    ops::concat(&[&y?, &weights?], 0)
}

/// One image of 70 inputs of 40 features, three queries, one head of 36 values, 20 outputs: x, q, wq, wk, wv, wo.
const ATTENTION: [&[usize]; 6] = [&[1, 70, 40], &[3, 40], &[33, 40], &[33, 40], &[36, 40], &[20, 36]];

/// Cross-attention of one image with one head as products of matrices.
fn attention_of_products(precision: Precision, t: &[Tensor]) -> Result<Tensor> {
    let product = |transpose_b, a: &Tensor, b: &Tensor| {
        ops::matmul_with(MatMul { transpose_b, precision: Some(precision), ..MatMul::default() }, a, b)
    };
    let x = ops::reshape(&t[0], [70, 40])?;
    let p = ops::softmax(&product(true, &ops::fold_queries(&t[1], &t[2], &t[3], 1)?, &x)?, -1)?;
    let values = product(true, &product(false, &p, &x)?, &t[4])?;
    joined(&product(true, &values, &t[5])?, &ops::mean(&p, &[0])?)
}

#[test]
fn attention_rounds_the_operands_of_its_products() {
    on_each(|device, precision| {
        let attend = |precision| {
            through(device, random, &ATTENTION, |t| {
                let weights = [&t[2], &t[3], &t[4], &t[5]];
                let (y, scores) = ops::cross_attention_with(Some(precision), &t[0], &t[1], weights, 1, None)?;
                joined(&y, &scores)
            })
        };
        let want = through(device, random, &ATTENTION, |t| attention_of_products(precision, t));
        let (got, exact) = (attend(precision), attend(Precision::F32));
        for (at, ((got, want), exact)) in got.iter().zip(&want).zip(&exact).enumerate() {
            // A sum in another order may fall on the other side of a tie, which moves a single operand.
            let (error, rounding) = (distance(got, want), distance(exact, want));
            let place = format!("result {at} in {precision} on {device}");
            assert!(rounding > 0.05 * precision.rounding(), "{place}: {rounding:e} from f32");
            assert!(error < 0.1 * rounding, "{place}: {error:e} of {rounding:e}");
        }
    });
}

#[test]
fn gated_attention_rounds_the_operands_of_its_products() {
    let shapes: [&[usize]; 6] = [&[2, 70, 40], &[37, 40], &[37], &[37, 40], &[37], &[37]];
    on_each(|device, precision| {
        let pool = |precision| {
            through(device, random, &shapes, |t| {
                let layers = [&t[1], &t[2], &t[3], &t[4], &t[5]];
                let (y, weights) = ops::gated_attention_with(Some(precision), &t[0], layers)?;
                joined(&y, &weights)
            })
        };
        let (got, again, exact) = (pool(precision), pool(precision), pool(Precision::F32));
        for (at, ((got, again), exact)) in got.iter().zip(&again).zip(&exact).enumerate() {
            let (place, error) = (format!("result {at} in {precision} on {device}"), distance(got, exact));
            assert_eq!(bits(got), bits(again), "{place}: other bits when run again");
            // Logits are sums of 37 terms whose factors are rounded, and weights grow with their powers.
            assert!(error <= 8.0 * precision.rounding(), "{place}: {error:e}");
            assert!(error >= 0.05 * precision.rounding(), "{place}: {error:e}");
        }
    });
}

#[test]
fn a_device_s_precision_is_that_of_calls_that_name_none() {
    on_each(|device, precision| {
        let Device::Cuda(cuda) = device else { return };
        // A device of its own, since others compute on the shared one.
        let stream = cuda.stream().context().new_stream().unwrap();
        let own = Device::Cuda(crate::cuda::Cuda::from_stream(stream).unwrap());
        let (x, weight) = (random([2, 70], 1), random([5, 70], 2));
        let (x, weight) = (x.to_device(&own).unwrap(), weight.to_device(&own).unwrap());
        let named = ops::linear_with(Linear { precision: Some(precision) }, &x, &weight, None).unwrap();
        let plain = ops::linear(&x, &weight, None).unwrap();
        own.set_precision(precision).unwrap();
        assert_eq!(own.precision(), precision);
        assert_eq!(bits(&ops::linear(&x, &weight, None).unwrap()), bits(&named));
        assert_ne!(bits(&plain), bits(&named));
        let tape = Tape::new();
        ops::linear(&tape.watch(&x).unwrap(), &weight, None).unwrap();
        let shown = format!("{tape:#}");
        assert!(shown.to_lowercase().contains(&precision.to_string()), "{shown}");
    });
}
