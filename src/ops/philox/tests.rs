use super::*;
use crate::testing::*;

fn words(values: &[u32], dims: [usize; 2]) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
}

#[test]
fn the_published_answers() {
    let counter = [[0; 4], [u32::MAX; 4], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]].concat();
    let key = [[0; 2], [u32::MAX; 2], [0xa4093822, 0x299f31d0]].concat();
    let answers = [
        [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
        [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ];
    on_each_device(Philox::ARMS, |device| {
        let (counter, key) = (words(&counter, [3, 4]), words(&key, [3, 2]));
        let got = philox(&counter.to_device(device).unwrap(), &key.to_device(device).unwrap()).unwrap();
        assert_eq!(got.to_vec::<u32>().unwrap(), answers.concat(), "on {device}");
    });
}

#[test]
fn words_match_the_specification() {
    let mut rng = Rng::new(3);
    for n in [0, 1, 5, 1000] {
        let mut draw = |count: usize| -> Vec<u32> { (0..count).map(|_| rng.next_u32()).collect() };
        judge(&Philox, &[&words(&draw(4 * n), [n, 4]), &words(&draw(2 * n), [n, 2])]);
        let key = Tensor::from_slice(&draw(2), [2], &Device::Cpu).unwrap();
        for first in [0, u64::from(u32::MAX) - 2, u64::MAX - 1] {
            judge(&RandomWords { first, count: 100 * n + 3 }, &[&key]);
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let shape = philox(&words(&[0; 8], [2, 4]), &words(&[0; 2], [1, 2]));
    assert!(matches!(shape, Err(Error::Shape { op: "philox", .. })));
    assert!(matches!(philox(&words(&[0; 3], [1, 3]), &words(&[0; 2], [1, 2])), Err(Error::Shape { .. })));
    let float = philox(&random([1, 4], 1), &words(&[0; 2], [1, 2]));
    assert!(matches!(float, Err(Error::DType { op: "philox", .. })));
    let key = Tensor::from_slice(&[0_u32; 3], [3], &Device::Cpu).unwrap();
    assert!(matches!(run1(&RandomWords { first: 0, count: 1 }, &[&key]), Err(Error::Shape { .. })));
}
