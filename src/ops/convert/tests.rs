use super::*;
use crate::{Device, Tape, ops, testing::*};
use half::{bf16, f16};

fn of<T: crate::Element>(data: &[T], device: &Device) -> Tensor {
    Tensor::from_slice(data, [data.len()], device).unwrap()
}

/// The bits, but for NaN, of which there are many.
fn words(values: impl IntoIterator<Item = u16>, is_nan: impl Fn(u16) -> bool) -> Vec<u16> {
    values.into_iter().map(|bits| if is_nan(bits) { u16::MAX } else { bits }).collect()
}

fn f16_words(values: impl IntoIterator<Item = f16>) -> Vec<u16> {
    words(values.into_iter().map(f16::to_bits), |bits| f16::from_bits(bits).is_nan())
}

fn bf16_words(values: impl IntoIterator<Item = bf16>) -> Vec<u16> {
    words(values.into_iter().map(bf16::to_bits), |bits| bf16::from_bits(bits).is_nan())
}

fn f32_words(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
}

/// Numbers of 16 bits, the numbers half way between neighbours and their neighbours, and any bits at all.
fn hard_numbers() -> Vec<f32> {
    let mut numbers = Vec::new();
    let short =
        (0..=u16::MAX).flat_map(|bits| [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()]);
    let distances = [0x0800, 0x1000, 0x2000, 0x4000, 0x8000];
    for bits in short.map(f32::to_bits) {
        numbers.push(bits);
        for half_way in distances.map(|distance| bits.wrapping_add(distance)) {
            numbers.extend([half_way.wrapping_sub(1), half_way, half_way.wrapping_add(1)]);
        }
    }
    // Around the smallest numbers of f16, whose distance does not shrink any more.
    for multiple in 0..4096_u32 {
        let half_way = ((multiple as f32 + 0.5) * 2.0_f32.powi(-24)).to_bits();
        numbers.extend([half_way - 1, half_way, half_way + 1, (half_way - 1) | 1 << 31, half_way | 1 << 31]);
    }
    let mut rng = crate::Rng::new(4);
    numbers.extend((0..20_001).map(|_| rng.next_u32()));
    numbers.into_iter().map(f32::from_bits).collect()
}

#[test]
fn every_number_of_16_bits_is_held_by_f32() {
    on_each_device(Convert::ARMS, |device| {
        let shorts: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let wide = convert(&of(&shorts, device), DType::F32).unwrap();
        let want = f32_words(shorts.iter().map(|v| v.to_f32()));
        assert!(f32_words(wide.to_vec().unwrap()) == want, "f16 to f32 on {device}");
        let back = convert(&wide, DType::F16).unwrap().to_vec().unwrap();
        assert!(f16_words(back) == f16_words(shorts), "f16 to f32 and back on {device}");
        let shorts: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let wide = convert(&of(&shorts, device), DType::F32).unwrap();
        let want = f32_words(shorts.iter().map(|v| v.to_f32()));
        assert!(f32_words(wide.to_vec().unwrap()) == want, "bf16 to f32 on {device}");
        let short = convert(&of(&shorts, device), DType::F16).unwrap().to_vec().unwrap();
        let want = f16_words(shorts.iter().map(|v| f16::from_f32(v.to_f32())));
        assert!(f16_words(short) == want, "bf16 to f16 on {device}");
    });
}

#[test]
fn numbers_round_to_the_nearest_of_16_bits() {
    let numbers = hard_numbers();
    on_each_device(Convert::ARMS, |device| {
        let x = of(&numbers, device);
        let short = f16_words(convert(&x, DType::F16).unwrap().to_vec().unwrap());
        for (&x, got) in numbers.iter().zip(short) {
            let want = f16_words([f16::from_f32(x)])[0];
            assert_eq!(got, want, "{x:e} ({:#x}) to f16 on {device}", x.to_bits());
        }
        let short = bf16_words(convert(&x, DType::BF16).unwrap().to_vec().unwrap());
        for (&x, got) in numbers.iter().zip(short) {
            let want = bf16_words([bf16::from_f32(x)])[0];
            assert_eq!(got, want, "{x:e} ({:#x}) to bf16 on {device}", x.to_bits());
        }
    });
}

#[test]
fn roundings_that_are_known() {
    let smallest = 2.0_f32.powi(-24);
    let numbers =
        [65_519.996, 65_520.0, -65_520.0, smallest / 2.0, smallest * 0.50001, smallest * 1.5, 2049.0, 2051.0];
    let want = [65_504.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, smallest, 2.0 * smallest, 2048.0, 2052.0];
    on_each_device(Convert::ARMS, |device| {
        let short = convert(&of(&numbers, device), DType::F16).unwrap();
        assert_eq!(convert(&short, DType::F32).unwrap().to_vec::<f32>().unwrap(), want, "on {device}");
    });
}

#[test]
fn parts_of_odd_length_are_converted_where_they_lie() {
    let x = random([7, 3], 1);
    on_each_device(Convert::ARMS, |device| {
        for (from, to) in [(DType::F32, DType::F16), (DType::F16, DType::F32), (DType::BF16, DType::F16)] {
            let moved = convert(&x, from).unwrap().to_device(device).unwrap();
            let whole = convert(&moved, to).unwrap();
            for rows in [0..1, 1..2, 1..4, 3..7, 2..2] {
                let part = convert(&moved.rows(rows.clone()).unwrap(), to).unwrap();
                assert_eq!(
                    bits(&part),
                    bits(&whole.rows(rows.clone()).unwrap()),
                    "{rows:?} {from} to {to} on {device}"
                );
            }
        }
    });
}

#[test]
fn every_pair_of_types() {
    const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
    let x = random([1037], 7);
    on_each_device(Convert::ARMS, |device| {
        for (from, to) in TYPES.iter().flat_map(|&from| TYPES.map(|to| (from, to))) {
            let x = convert(&x, from).unwrap();
            let want = convert(&x, to).unwrap();
            // The operation itself, also where the function hands the tensor back.
            let got = crate::device::run1(&Convert { to }, &[&x.to_device(device).unwrap()]).unwrap();
            assert_eq!(bits(&got), bits(&want), "{from} to {to} on {device}");
        }
    });
}

#[test]
fn gradients_come_back_in_the_type_of_the_operand() {
    let there_and_back = |x: &[Tensor]| {
        let y = convert(&x[0], DType::F16)?;
        Ok(vec![convert(&ops::mul(&y, &y)?, DType::F32)?, convert(&x[0], DType::F16)?])
    };
    judge_short_function_on(Convert::ARMS, there_and_back, &[random([3, 5], 1)]);
    judge_short_function_on(Convert::ARMS, there_and_back, &[half(&random([3, 5], 1))]);
}

#[test]
fn contributions_of_16_bits_are_added() {
    on_each_device_with_f16(Convert::ARMS, |device| {
        let x = half(&random([5], 1)).to_device(device).unwrap();
        let tape = Tape::new();
        let watched = tape.watch(&x).unwrap();
        let sum = ops::add(
            &ops::sum_all(&watched).unwrap(),
            &ops::sum_all(&ops::square(&watched).unwrap()).unwrap(),
        );
        let grads = tape.backward(&sum.unwrap()).unwrap();
        let got = grads.of(&watched).unwrap().to_vec::<f16>().unwrap();
        let want: Vec<f16> =
            x.to_vec::<f16>().unwrap().iter().map(|v| f16::from_f32(1.0 + 2.0 * v.to_f32())).collect();
        assert_eq!(got, want, "on {device}");
    });
}

#[test]
fn views_of_16_bits_have_gradients() {
    let f = |x: &[Tensor]| {
        let part = ops::narrow(&ops::slice(&x[0], 1..4)?, 1, 1..2)?;
        Ok(vec![ops::expand(&part, [3, 5])?, ops::mean(&x[0], &[0])?])
    };
    judge_short_function_on(Convert::ARMS, f, &[half(&random([5, 3], 1))]);
}

#[test]
fn kernels_in_cuda_refuse_16_bits() {
    on_each_device(crate::device::Arms { wgpu: false, cuda: true }, |device| {
        if device.kind() == crate::DeviceKind::Cuda {
            let x = half(&random([3, 5], 1)).to_device(device).unwrap();
            let refused = ops::sum_all(&x);
            assert!(matches!(refused, Err(Error::Unsupported { op: "sum", .. })), "{refused:?}");
        }
    });
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([3], 1);
    let refused = |x: &Tensor, to| matches!(convert(x, to), Err(Error::DType { op: "convert", .. }));
    assert!(refused(&random_i32([3], 9, 1), DType::F16) && refused(&x, DType::F64) && refused(&x, DType::U8));
    assert!(matches!(ops::add(&x, &half(&x)), Err(Error::DType { op: "add", .. })));
    let tape = Tape::new();
    let watched = tape.watch(&x).unwrap();
    let y = convert(&watched, DType::F16).unwrap();
    assert!(matches!(tape.backward_from(&[(&y, &x)]), Err(Error::DType { op: "backward", .. })));
}

#[test]
fn the_reference_precision_stays_what_it_is() {
    let x = crate::check::to_f64(&random([3], 1)).unwrap();
    assert_eq!(bits(&convert(&x, DType::F16).unwrap()), bits(&x));
    assert_eq!(crate::check::to_f64(&half(&random([3], 1))).unwrap().dtype(), DType::F64);
}

/// A small network on x (B, 1, 9, 9): its loss and the gradients of its weights, whose layers compute in `of`.
fn step(weights: &[Tensor; 4], x: &Tensor, labels: &Tensor, of: DType) -> (f32, Vec<Tensor>) {
    let tape = Tape::new();
    let watched = weights.each_ref().map(|w| tape.watch(w).unwrap());
    let [conv, bias, linear, other] = watched.each_ref().map(|w| convert(w, of).unwrap());
    let x = convert(x, of).unwrap();
    let y = ops::relu(&ops::conv2d(&x, &conv, Some(&bias), ops::Conv2d::new(2, 1)).unwrap()).unwrap();
    let y = ops::global_avg_pool(&convert(&y, DType::F32).unwrap()).unwrap();
    let y = ops::linear(&convert(&y, of).unwrap(), &linear, Some(&other)).unwrap();
    let y = convert(&y, DType::F32).unwrap();
    let loss = ops::cross_entropy(&y, labels, None, ops::Reduction::Mean).unwrap();
    let grads = tape.backward(&loss).unwrap();
    let grads = watched.iter().map(|w| grads.of(w).unwrap().clone());
    (loss.item::<f32>().unwrap(), grads.collect())
}

#[test]
fn weights_of_f32_learn_through_layers_of_f16() {
    let weights = [random([6, 1, 3, 3], 1), random([6], 2), random([3, 6], 3), random([3], 4)];
    let (x, labels) = (random([5, 1, 9, 9], 5), random_i32([5], 3, 6));
    on_each_device_with_f16(Convert::ARMS, |device| {
        let put = |t: &Tensor| t.to_device(device).unwrap();
        let (x, labels) = (put(&x), put(&labels));
        let train = |of: DType| {
            let mut weights = weights.each_ref().map(put);
            let mut losses = Vec::new();
            for _ in 0..20 {
                let (loss, grads) = step(&weights, &x, &labels, of);
                losses.push(loss);
                for (weight, gradient) in weights.iter_mut().zip(&grads) {
                    assert_eq!(gradient.dtype(), DType::F32);
                    *weight = ops::sub(weight, &ops::scale(gradient, 0.3, 0.0).unwrap()).unwrap();
                }
            }
            losses
        };
        let (short, wide) = (train(DType::F16), train(DType::F32));
        assert!(wide[19] < 0.5 * wide[0], "{wide:?} on {device}");
        for (a, b) in short.iter().zip(&wide) {
            assert!((a - b).abs() < 0.01 * b, "{short:?} in f16, {wide:?} in f32 on {device}");
        }
    });
}
