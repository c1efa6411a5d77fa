//! Adapters that are a GPU get other kernels than those that are a processor; the bits are the same.

use super::Options;
use crate::{
    Device, Tape, Tensor, ops,
    testing::{bits, floats, random, wgpu_of_its_own},
    wgpu::AdapterKind,
};

/// Whatever part of a tile a thread has, an element is one chain of the same products.
#[test]
fn what_a_gpu_would_be_given_has_the_same_bits() {
    let Some(mut wgpu) = wgpu_of_its_own(&Options::default()) else { return };
    let run = |device: &Device| -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        for (out, &dtype) in
            [3, 12, 30, 70].iter().flat_map(|&out| floats(device).iter().map(move |f| (out, f)))
        {
            let to = |t: Tensor| ops::convert(&t, dtype).unwrap().to_device(device).unwrap();
            let (x, weight) = (to(random([2, 5, 13, 11], 1)), to(random([out, 5, 3, 3], 2)));
            let tape = Tape::new();
            let (x, weight) = (tape.watch(&x).unwrap(), tape.watch(&weight).unwrap());
            let y = ops::conv2d(&x, &weight, None, ops::Conv2d::new(1, 1)).unwrap();
            let flat = ops::reshape(&y, [2 * out, 13 * 11]).unwrap();
            let square = ops::matmul(&flat, &ops::transpose(&flat, &[1, 0]).unwrap()).unwrap();
            let grads = tape.backward(&ops::sum_all(&square).unwrap()).unwrap();
            results.extend([&y, &square, grads.of(&x).unwrap(), grads.of(&weight).unwrap()].map(bits));
        }
        results
    };
    let want = run(&Device::Wgpu(wgpu.clone()));
    wgpu.pretend(AdapterKind::Discrete);
    assert_eq!(wgpu.adapter().kind, AdapterKind::Discrete, "nobody else holds the device");
    assert!(run(&Device::Wgpu(wgpu)) == want);
}
