//! Memory is counted, reused, and returned on request.

use super::{Options, counting, open};
use crate::{Tensor, ops};

/// Whether buffers are kept for reuse in this run.
fn pooled() -> bool {
    std::env::var("FOVEATE_POOL").as_deref() != Ok("off")
}

#[test]
fn statistics_are_exact_and_memory_is_released_on_request() {
    let Some((device, _)) = open(&Options::default()) else { return };
    assert_eq!(device.memory(), crate::device::Memory::default());
    let x = Tensor::zeros([1 << 16], &device).unwrap();
    let kib = |n: usize| n << 10;
    assert_eq!((device.memory().in_use, device.memory().peak), (kib(256), kib(256)));
    let y = Tensor::zeros([1 << 15], &device).unwrap();
    drop(x);
    let memory = device.memory();
    assert_eq!((memory.in_use, memory.peak), (kib(128), kib(384)));
    assert_eq!(memory.pooled, if pooled() { kib(256) } else { 0 });
    device.reset_peak();
    assert_eq!(device.memory().peak, kib(128));
    device.release();
    assert_eq!((device.memory().in_use, device.memory().pooled), (kib(128), 0));
    assert_eq!(y.to_vec::<f32>().unwrap(), vec![0.0; 1 << 15]);
}

#[test]
fn equal_steps_take_equal_memory() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let image = counting(128 * 128, &device).view([1, 1, 128, 128].into()).unwrap();
    let step = || {
        let patches = ops::unfold(&image, [16, 16], [8, 8]).unwrap();
        ops::sum_all(&patches).unwrap().item::<f32>().unwrap()
    };
    for _ in 0..3 {
        step();
    }
    let (before, first) = (device.memory(), step());
    for _ in 0..300 {
        assert_eq!(step().to_bits(), first.to_bits());
    }
    assert_eq!(device.memory(), before);
}

/// A buffer goes to its next owner while recorded work still reads it: the queue runs everything in order.
#[test]
fn buffers_change_hands_without_changing_values() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let sums: Vec<Tensor> =
        (0..200).map(|i| ops::sum_all(&Tensor::full(i as f32, [1000], &device).unwrap()).unwrap()).collect();
    for (i, sum) in sums.iter().enumerate() {
        assert_eq!(sum.item::<f32>().unwrap(), 1000.0 * i as f32);
    }
    assert!(device.memory().peak < 200 * 4096, "{:?}", device.memory());
}
