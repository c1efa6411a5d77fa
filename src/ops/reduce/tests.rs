use super::*;
use crate::{Device, testing::*};

#[test]
fn sums_over_every_choice_of_axes() {
    for dims in
        [&[2, 3, 4][..], &[1, 5, 1], &[40, 30, 70], &[3, 1, 2, 5], &[70_000], &[2, 40_000], &[40_000, 2]]
    {
        let x = random(Dims::new(dims).unwrap(), 1);
        for mask in 0..1usize << dims.len() {
            let summed = (0..dims.len()).map(|a| mask >> a & 1 == 1).collect();
            judge(&Sum { summed }, &[&x]);
        }
    }
}

#[test]
fn gradient_of_a_sum() {
    judge_function(|x| Ok(vec![sum(&x[0], &[0, -1])?]), &[random([2, 3, 5], 2)]);
    judge_function(|x| Ok(vec![sum_all(&x[0])?]), &[random([2, 3], 3)]);
}

#[test]
fn misuse_is_a_typed_error() {
    let x = random([2, 3], 1);
    assert!(matches!(sum(&x, &[2]), Err(Error::Argument { op: "sum", .. })));
    let bytes = Tensor::from_slice(&[1u8, 2], [2], &Device::Cpu).unwrap();
    assert!(matches!(sum(&bytes, &[0]), Err(Error::DType { op: "sum", .. })));
}
