use super::*;
use crate::{Device, DeviceKind, Dims, ops, testing::*};

#[test]
fn layers_match_their_specification() {
    for (x, outputs) in [
        (&[1, 1][..], 1),
        (&[7], 3),
        (&[64, 128], 512),
        (&[2, 3, 5], 4),
        (&[33, 700], 10),
        (&[0, 4], 3),
        (&[3, 0], 2),
        (&[2, 3], 0),
    ] {
        let x = random(Dims::new(x).unwrap(), 1);
        let inputs = x.dims()[x.dims().rank() - 1];
        let weight = random([outputs, inputs], 2);
        judge_in_both(&Linear::default(), &[&x, &weight]);
        judge_in_both(&Linear::default(), &[&x, &weight, &random([outputs], 3)]);
    }
}

#[test]
fn gradients_of_a_layer() {
    let bias = |x: &[Tensor]| Ok(vec![linear(&x[0], &x[1], Some(&x[2]))?]);
    for x in [&[2, 3][..], &[2, 1, 3], &[3], &[1, 3]] {
        let x = random(Dims::new(x).unwrap(), 1);
        let layer = [x.clone(), random([5, 3], 2), random([5], 3)];
        judge_function_on(Linear::ARMS, bias, &layer);
        judge_short_function_on(Linear::ARMS, bias, &layer.each_ref().map(half));
        judge_function_on(Linear::ARMS, |x| Ok(vec![linear(&x[0], &x[1], None)?]), &[x, random([1, 3], 2)]);
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    // Of many inputs and few results, a GPU makes the pieces of a sum side by side; of many results, which no emulator is
    // asked for, one after another.
    let many = |device: &Device| if device.kind() == DeviceKind::Wgpu { 1040 } else { 37 };
    on_each_device(Linear::ARMS, |device| {
        for (rows, inputs, outputs) in [(37, 130, 20), (many(device), 600, many(device))] {
            for &dtype in floats(device) {
                let to = |t: Tensor| ops::convert(&t, dtype).unwrap().to_device(device).unwrap();
                let (x, weight) = (to(random([rows, inputs], 1)), to(random([outputs, inputs], 2)));
                let bias = to(random([outputs], 3));
                let whole = linear(&x, &weight, Some(&bias)).unwrap();
                for run in [0..1, 3..5, 5..30, rows - 1..rows] {
                    let part = linear(&x.rows(run.clone()).unwrap(), &weight, Some(&bias)).unwrap();
                    assert_eq!(bits(&part), bits(&whole.rows(run).unwrap()), "{inputs} inputs on {device}");
                }
            }
        }
    });
}

#[test]
fn misuse_is_a_typed_error() {
    let (x, weight) = (random([2, 3], 1), random([5, 3], 2));
    let refused = |x: &Tensor, weight: &Tensor, bias: Option<&Tensor>| linear(x, weight, bias).unwrap_err();
    assert!(matches!(refused(&random([2, 4], 1), &weight, None), Error::Shape { op: "linear", .. }));
    assert!(matches!(refused(&random([], 1), &weight, None), Error::Shape { op: "linear", .. }));
    assert!(matches!(refused(&x, &random([3], 1), None), Error::Shape { op: "linear", .. }));
    assert!(matches!(refused(&x, &weight, Some(&random([3], 1))), Error::Shape { op: "linear", .. }));
    assert!(matches!(refused(&random_i32([2, 3], 9, 1), &weight, None), Error::DType { op: "linear", .. }));
}
