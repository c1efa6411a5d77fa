//! The CUDA device as a whole: launches per operation, memory, limits. Without a device it reports a skip, which the test
//! command makes a failure where the device is required.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod interop_cuda;
mod launches;
mod report;
mod strips;

use foveate::{Device, Error, Tensor, ops};

/// One test, so that nothing else uses the device's counters meanwhile.
#[test]
fn launches_memory_and_limits() {
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(why) => return report::report("cuda", Some(&why.to_string())),
    };
    let Device::Cuda(cuda) = &device else { panic!("{device} is not a CUDA device") };
    launches::check(&device, cuda);
    memory_is_reused(&device);
    running_out_is_an_error(&device);
    long_sums_do_not_depend_on_the_rest(&device);
    interop_cuda::check();
    strips::check(&device);
    // Asking again gives the same device, whose tensors may meet.
    assert!(Device::cuda(0).unwrap().same(&device));
    let absent = Device::cuda(4096).unwrap_err();
    assert!(matches!(&absent, Error::NoDevice { device, .. } if device == "cuda:4096"), "{absent}");
    report::report("cuda", None);
}

fn memory_is_reused(device: &Device) {
    device.release();
    let x = Tensor::full(1.0_f32, [1, 1, 256, 256], device).unwrap();
    let step = || ops::unfold(&x, [16, 16], [8, 8]).unwrap();
    drop(step());
    device.reset_peak();
    let before = device.memory();
    for _ in 0..50 {
        assert_eq!(step().dims()[1], 961);
    }
    let after = device.memory();
    assert_eq!(after.in_use, before.in_use);
    assert_eq!(after.pooled, before.pooled, "the pool grew");
    assert!(after.peak >= before.in_use + 961 * 256 * 4);
    device.release();
    assert_eq!(device.memory().pooled, 0);
    assert_eq!(x.to_vec::<f32>().unwrap().len(), 256 * 256);
}

fn running_out_is_an_error(device: &Device) {
    let before = device.memory();
    let x = Tensor::full(1.0_f32, [1, 1, 4096, 4096], device).unwrap();
    // 3969² patches of 64 KiB: a terabyte.
    let refused = ops::unfold(&x, [128, 128], [1, 1]).unwrap_err();
    assert!(matches!(refused, Error::OutOfMemory { .. }), "{refused}");
    drop(x);
    assert_eq!(device.memory().in_use, before.in_use);
    // The device works on.
    let y = Tensor::full(2.0_f32, [8], device).unwrap();
    assert_eq!(ops::sum_all(&y).unwrap().item::<f32>().unwrap(), 16.0);
}

/// Few results of a long inner axis have a block for each piece of it, many go through the pieces: the bits are the same.
fn long_sums_do_not_depend_on_the_rest(device: &Device) {
    let (inputs, outputs) = (530, 16_400);
    let values = |count: usize| -> Vec<f32> {
        (0..count).map(|at| (at as u32).wrapping_mul(2_654_435_761) as f32 / 4e9 - 0.5).collect()
    };
    let x = Tensor::from_slice(&values(inputs), [1, inputs], device).unwrap();
    // The first outputs are the same however many there are.
    let some = |outputs: usize| {
        let weight = Tensor::from_slice(&values(outputs * inputs), [outputs, inputs], device).unwrap();
        ops::linear(&x, &weight, None).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(some(130), some(outputs)[..130]);
}
