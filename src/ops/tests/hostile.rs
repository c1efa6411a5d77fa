//! Sizes that overflow, axes that are not there, indices out of range: always a typed error, in any build.

use crate::{
    DType, Device, Result, Rng, Tape, Tensor, check,
    device::run1,
    ops::{
        self, Conv1d, Conv2d,
        concat::{Concat, Narrow, Pad},
        conv2d::Conv2dGradInput,
        pool::MaxPool2d,
        view::PadRows,
    },
    testing::{random, random_i32},
};

const HUGE: usize = 1 << 63;

fn refused<T>(result: Result<T>) {
    assert!(result.is_err());
}

#[test]
fn paddings_that_wrap_around() {
    let (x, w) = (random([1, 1, 4, 4], 1), random([1, 1, 1, 1], 2));
    for padding in [
        [usize::MAX; 4],
        [usize::MAX, 1, 0, 0],
        [0, 0, usize::MAX - 1_000_000, 1_000_004],
        [1 << 31, 0, 0, 0],
    ] {
        let conv = Conv2d { padding, ..Conv2d::new(1, 0) };
        refused(ops::conv2d(&x, &w, None, conv));
        refused(run1(&Conv2dGradInput { conv, image: [4, 4] }, &[&x, &w]));
        refused(ops::pad2d(&x, padding));
        refused(ops::crop2d(&x, padding));
    }
    refused(run1(
        &Conv2dGradInput { conv: Conv2d { groups: usize::MAX, ..Conv2d::new(1, 0) }, image: [4, 4] },
        &[&x, &w],
    ));
    let conv = Conv1d { stride: 1, padding: [usize::MAX, 1], groups: 1 };
    refused(ops::conv1d(&random([1, 1, 4], 1), &random([1, 1, 1], 2), None, conv));
    for padding in [HUGE, usize::MAX] {
        refused(ops::max_pool2d(&x, [3, 3], [1, 1], [padding; 2]));
    }
    refused(run1(&MaxPool2d { kernel: [HUGE, 2], stride: [1; 2], padding: [0; 2] }, &[&x]));
}

#[test]
fn axes_that_are_not_there() {
    let x = random([2, 3], 1);
    for axis in [2, usize::MAX, HUGE] {
        refused(run1(&Concat { axis }, &[&x, &x]));
        refused(run1(&Narrow { axis, start: 0, size: 1 }, &[&x]));
        refused(run1(&Pad { axis, before: 0, size: 9 }, &[&x]));
    }
    for axis in [2, -3, isize::MAX, isize::MIN] {
        refused(ops::softmax(&x, axis));
        refused(ops::concat(&[&x], axis));
        refused(ops::narrow(&x, axis, 0..1));
        refused(ops::argmax(&x, axis));
        refused(ops::sum(&x, &[axis]));
    }
}

#[test]
fn sizes_that_nothing_holds() {
    let (x, empty) = (random([2, 3], 1), Tensor::zeros([0, 3], &Device::Cpu).unwrap());
    refused(ops::pad(&x, 0, 0, usize::MAX));
    refused(ops::pad(&check::to_f64(&x).unwrap(), 0, 0, usize::MAX));
    refused(ops::pad(&check::to_f64(&x).unwrap(), 0, 0, 1 << 55));
    refused(run1(&PadRows { before: usize::MAX, rows: usize::MAX }, &[&x]));
    refused(ops::expand(&random([1, 1], 1), [HUGE, 2]));
    refused(ops::reshape(&empty, [0, HUGE, 2]));
    refused(Tensor::full(1_u8, [HUGE], &Device::Cpu));
    refused(Tensor::zeros([0, HUGE, 2], &Device::Cpu));
    refused(ops::positional_encoding(&[1], usize::MAX, &Device::Cpu));
    refused(ops::score_grid([10, 10], [2, 2], [usize::MAX; 2]));
    refused(ops::unfold(&random([1, 1, 4, 4], 1), [usize::MAX; 2], [1; 2]));
    refused(ops::random_words(usize::MAX, &mut Rng::new(0), &Device::Cpu));
    refused(ops::gumbel_max(&x, usize::MAX, &mut Rng::new(0)));
    refused(ops::gumbel_top_k(&x, usize::MAX, &mut Rng::new(0)));
    refused(ops::perturbed_top_k(&x, 1, 0.1, usize::MAX, &mut Rng::new(0)));
    refused(ops::slice(&empty, 0..1));
    // A random stream that was asked for all its words goes on.
    let mut rng = Rng::new(0);
    rng.reserve(u64::MAX);
    rng.next_u32();
    rng.next_u32();
}

#[test]
fn indices_out_of_range_in_either_precision() {
    let (x, bad) = (random([4, 3], 1), random_i32([4], 1, 0));
    let bad =
        ops::concat(&[&ops::slice(&bad, 0..3).unwrap(), &Tensor::full(7_i32, [1], &Device::Cpu).unwrap()], 0)
            .unwrap();
    let negative = Tensor::full(-1_i32, [4], &Device::Cpu).unwrap();
    for x in [x.clone(), check::to_f64(&x).unwrap()] {
        for indices in [&bad, &negative] {
            refused(ops::cross_entropy(&x, indices, None, ops::Reduction::Mean));
            refused(ops::nll(&x, indices, None, 1e-6, ops::Reduction::Mean));
            refused(ops::gather(&x, indices));
            refused(ops::scatter_add(&x, indices, 4));
        }
    }
    let tape = Tape::new();
    let watched = tape.watch(&x).unwrap();
    refused(ops::cross_entropy(&watched, &bad, None, ops::Reduction::Mean));
    assert_eq!(watched.dtype(), DType::F32);
}

#[test]
fn clipping_that_gives_another_number_of_gradients() {
    let w = crate::Parameter::new("w", random([3], 1));
    let tape = Tape::new();
    let x = tape.watch(&w).unwrap();
    let mut grads = tape.backward(&ops::sum_all(&x).unwrap()).unwrap();
    refused(grads.map(|all| Ok(vec![all[0].clone(), all[0].clone()])));
    refused(grads.map(|_| Ok(vec![])));
    assert_eq!(grads.parameter(&w).unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
}

#[test]
fn the_place_of_a_maximum_among_nothing_but_nan() {
    let nan = Tensor::full(f32::NAN, [2, 3], &Device::Cpu).unwrap();
    assert_eq!(ops::argmax(&nan, -1).unwrap().to_vec::<i32>().unwrap(), [0, 0]);
    assert_eq!(ops::argmax(&check::to_f64(&nan).unwrap(), -1).unwrap().to_vec::<i32>().unwrap(), [0, 0]);
}
