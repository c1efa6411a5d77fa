use super::*;
use crate::{Device, Dims, testing::*};
use proptest::prelude::*;

#[test]
fn joining_cutting_and_padding_match_their_specifications() {
    for (dims, axis) in
        [(&[2, 3, 4][..], 0), (&[2, 3, 4], 1), (&[2, 3, 4], 2), (&[70, 1, 500], 1), (&[0, 3], 1)]
    {
        let dims = Dims::new(dims).unwrap();
        let sized = |size: usize, seed| random(dims.with(axis, size), seed);
        judge(&Concat { axis }, &[&sized(3, 1), &sized(1, 2), &sized(0, 3), &sized(5, 4)]);
        judge(&Concat { axis }, &[&sized(2, 1)]);
        for (start, size) in [(0, 7), (2, 3), (6, 1), (4, 0)] {
            judge(&Narrow { axis, start, size }, &[&sized(7, 1)]);
            judge(&Pad { axis, before: start, size: 9 }, &[&sized(size.min(5), 2)]);
        }
    }
    let bytes =
        |n: u8| Tensor::from_slice(&(0..n).collect::<Vec<_>>(), [2, n as usize / 2], &Device::Cpu).unwrap();
    judge(&Concat { axis: 1 }, &[&bytes(6), &bytes(10)]);
    judge(&Narrow { axis: 1, start: 1, size: 2 }, &[&bytes(8)]);
}

#[test]
fn gradients_go_where_the_elements_came_from() {
    let three = [random([2, 3, 2], 1), random([2, 1, 2], 2), random([2, 4, 2], 3)];
    judge_function_on(Concat::ARMS, |x| Ok(vec![concat(&[&x[0], &x[1], &x[2]], -2)?]), &three);
    judge_function_on(Concat::ARMS, |x| Ok(vec![concat(&[&x[0], &x[0]], 0)?]), &three[..1]);
    judge_function_on(Narrow::ARMS, |x| Ok(vec![narrow(&x[0], 1, 1..3)?]), &three[2..]);
    judge_function_on(Pad::ARMS, |x| Ok(vec![pad(&x[0], 2, 1, 5)?]), &three[..1]);
}

#[test]
fn misuse_is_a_typed_error() {
    let (a, b) = (random([2, 3], 1), random([3, 3], 2));
    assert!(matches!(concat(&[], 0), Err(Error::Argument { op: "concat", .. })));
    assert!(matches!(concat(&[&a, &b], 1), Err(Error::Shape { op: "concat", .. })));
    assert!(matches!(concat(&[&a, &random([3], 1)], 0), Err(Error::Shape { op: "concat", .. })));
    assert!(matches!(concat(&[&a, &b], 2), Err(Error::Argument { op: "concat", .. })));
    assert!(matches!(concat(&[&a, &random_i32([2, 3], 9, 1)], 0), Err(Error::DType { op: "concat", .. })));
    let backwards = Range { start: 2, end: 1 };
    assert!(matches!(narrow(&a, 1, backwards), Err(Error::Argument { op: "narrow", .. })));
    assert!(matches!(narrow(&a, 1, 1..4), Err(Error::Argument { op: "narrow", .. })));
    assert!(matches!(pad(&a, 1, 2, 4), Err(Error::Argument { op: "pad", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_joined_can_be_cut_apart(dims in prop::array::uniform4(1usize..5), axis in 0usize..4, sizes in prop::collection::vec(0usize..6, 1..5)) {
        let parts: Vec<Tensor> = sizes.iter().enumerate().map(|(i, &s)| random(Dims::from(dims).with(axis, s), i as u64)).collect();
        let whole = concat(&parts.iter().collect::<Vec<_>>(), axis as isize).unwrap();
        let mut start = 0;
        for (part, size) in parts.iter().zip(sizes) {
            let cut = narrow(&whole, axis as isize, start..start + size).unwrap();
            prop_assert_eq!(bits(&cut), bits(part));
            start += size;
        }
    }
}
