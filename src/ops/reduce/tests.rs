use super::*;
use crate::{Device, testing::*};

#[test]
fn sums_over_every_choice_of_axes() {
    for dims in [
        &[2, 3, 4][..],
        &[1, 5, 1],
        &[6, 300],
        &[20_000],
        &[1000, 9],
        &[40, 30, 70],
        &[3, 1, 2, 5],
        &[70_000],
        &[2, 40_000],
        &[40_000, 2],
        &[3000, 33],
        &[3, 200, 40],
    ] {
        let x = random(Dims::new(dims).unwrap(), 1);
        for mask in 0..1usize << dims.len() {
            let summed = (0..dims.len()).map(|a| mask >> a & 1 == 1).collect();
            judge_in_both(&Sum { summed }, &[&x]);
        }
    }
}

#[test]
fn gradient_of_a_sum() {
    judge_function(|x| Ok(vec![sum(&x[0], &[0, -1])?]), &[random([2, 3, 5], 2)]);
    judge_function(|x| Ok(vec![sum_all(&x[0])?]), &[random([2, 3], 3)]);
    judge_function(|x| Ok(vec![mean(&x[0], &[1])?, mean_all(&x[0])?]), &[random([2, 3, 5], 3)]);
}

#[test]
fn maxima_over_every_choice_of_axes() {
    for dims in [
        &[2, 3, 4][..],
        &[1, 5, 1],
        &[6, 300],
        &[20_000],
        &[40, 30, 70],
        &[3, 1, 2, 5],
        &[70_000],
        &[2, 40_000],
        &[40_000, 2],
    ] {
        // Few distinct values, so that there are ties; and some that are no numbers.
        let dims = Dims::new(dims).unwrap();
        let mut rng = crate::Rng::new(5);
        let value = |rng: &mut crate::Rng| match rng.below(40) {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            v => (v / 4) as f32,
        };
        let data: Vec<f32> = (0..dims.elements()).map(|_| value(&mut rng)).collect();
        let x = Tensor::from_slice(&data, dims, &Device::Cpu).unwrap();
        for mask in 0..1usize << dims.rank() {
            let over: Marks = (0..dims.rank()).map(|a| mask >> a & 1 == 1).collect();
            judge(&Max { over: over.clone() }, &[&x]);
        }
        for axis in 0..dims.rank() {
            judge(&ArgMax { axis }, &[&x]);
        }
    }
}

#[test]
fn a_row_of_nan_has_its_first_element_as_maximum() {
    let x = Tensor::full(f32::NAN, [2, 3], &Device::Cpu).unwrap();
    judge(&Max { over: smallvec![false, true] }, &[&x]);
    judge(&Max { over: smallvec![true, false] }, &[&x]);
    assert_eq!(argmax(&x, 1).unwrap().to_vec::<i32>().unwrap(), [0, 0]);
}

#[test]
fn gradient_of_a_maximum_goes_to_the_first() {
    judge_function_on(Max::ARMS, |x| Ok(vec![max(&x[0], &[0, -1])?]), &[random([2, 3, 5], 2)]);
    judge_function_on(Max::ARMS, |x| Ok(vec![max(&x[0], &[1])?]), &[random([2, 3, 5], 4)]);
    let x = Tensor::from_slice(&[1.0_f32, 5.0, 5.0, 5.0], [2, 2], &Device::Cpu).unwrap();
    let tape = crate::Tape::new();
    let watched = tape.watch(&x).unwrap();
    let grads = tape.backward(&max(&watched, &[0, 1]).unwrap()).unwrap();
    assert_eq!(grads.of(&watched).unwrap().to_vec::<f32>().unwrap(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn empty_axes_that_are_kept_give_empty_results() {
    let x = random([0, 3], 1);
    judge_in_both(&Sum { summed: smallvec![false, true] }, &[&x]);
    judge_in_both(&Sum { summed: smallvec![true, false] }, &[&x]);
    judge(&Max { over: smallvec![false, true] }, &[&x]);
    judge(&ArgMax { axis: 1 }, &[&x]);
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3], 1);
    assert!(matches!(sum(&x, &[2]), Err(Error::Argument { op: "sum", .. })));
    assert!(matches!(max(&x, &[-3]), Err(Error::Argument { op: "max", .. })));
    assert!(matches!(argmax(&x, 2), Err(Error::Argument { op: "argmax", .. })));
    let empty = random([2, 0], 1);
    assert!(matches!(max(&empty, &[1]), Err(Error::Shape { op: "max", .. })));
    assert!(matches!(mean(&empty, &[1]), Err(Error::Shape { op: "mean", .. })));
    assert!(matches!(argmax(&empty, 1), Err(Error::Shape { op: "argmax", .. })));
    let bytes = Tensor::from_slice(&[1u8, 2], [2], &Device::Cpu).unwrap();
    assert!(matches!(sum(&bytes, &[0]), Err(Error::DType { op: "sum", .. })));
}
