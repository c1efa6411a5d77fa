//! Memory and streams shared with an application through the crate cust, and what cannot be shared.
#![cfg(feature = "cust")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod report;

use foveate::{
    Device, Error, Tape, Tensor,
    cuda::{
        Cuda,
        cust::{
            context::Context,
            error::CudaError,
            memory::{CopyDestination, DeviceBuffer, DeviceCopy},
            quick_init,
            stream::{Stream, StreamFlags},
        },
    },
    ops,
};
use std::sync::Arc;

/// One context for the tests of this file, each of which runs in a thread of its own; none where there is no device.
fn context() -> Option<Context> {
    match quick_init() {
        Ok(context) => {
            report::report("cuda", None);
            Some(context)
        }
        Err(why @ (CudaError::NoDevice | CudaError::InvalidDevice)) => {
            report::report("cuda", Some(&why.to_string()));
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn stream() -> Arc<Stream> {
    Arc::new(Stream::new(StreamFlags::DEFAULT, None).unwrap())
}

fn on(stream: &Arc<Stream>) -> Device {
    Device::Cuda(Cuda::from_cust_stream(stream.clone()).unwrap())
}

fn read<T: DeviceCopy + Default>(buffer: &DeviceBuffer<T>) -> Vec<T> {
    let mut host: Vec<T> = (0..buffer.len()).map(|_| T::default()).collect();
    buffer.copy_to(&mut host).unwrap();
    host
}

#[test]
fn buffers_become_tensors() {
    let Some(_context) = context() else { return };
    let (stream, other) = (stream(), stream());
    let device = on(&stream);
    let before = device.memory().in_use;
    let buffer = DeviceBuffer::from_slice(&[1.0_f32, -2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let address = buffer.as_device_ptr().as_raw();
    let x = Tensor::from_cust(&device, buffer, &other, [2, 3]).unwrap();
    assert_eq!(device.memory().in_use, before, "memory of the application does not count");
    assert_eq!(x.to_cust::<f32>(&other).unwrap().as_device_ptr().as_raw(), address, "nothing is copied");
    let tape = Tape::new();
    let watched = tape.watch(&x).unwrap();
    let y = ops::sum_all(&ops::relu(&watched).unwrap()).unwrap();
    assert_eq!(y.item::<f32>().unwrap(), 19.0);
    let grads = tape.backward(&y).unwrap();
    assert_eq!(grads.of(&watched).unwrap().to_vec::<f32>().unwrap(), [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    // A part of it keeps the buffer, which is freed in a thread that has no context of its own.
    let part = ops::slice(&ops::reshape(&x, [6]).unwrap(), 1..4).unwrap();
    drop((x, watched));
    assert_eq!(part.to_vec::<f32>().unwrap(), [-2.0, 3.0, 4.0]);
    std::thread::spawn(move || drop(part)).join().unwrap();
    let bytes = DeviceBuffer::from_slice(&[7_u8; 5]).unwrap();
    assert_eq!(Tensor::from_cust(&device, bytes, &other, [5]).unwrap().to_vec::<u8>().unwrap(), [7; 5]);
}

#[test]
fn tensors_are_lent() {
    let Some(_context) = context() else { return };
    let (stream, other) = (stream(), stream());
    for device in [on(&stream), Device::cuda(0).unwrap()] {
        let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [4], &device).unwrap();
        let x = ops::scale(&x, 2.0, 0.0).unwrap();
        let part = ops::slice(&x, 1..3).unwrap();
        let (whole, lent) = (x.to_cust::<f32>(&other).unwrap(), part.to_cust::<f32>(&other).unwrap());
        assert_eq!(lent.as_device_ptr().as_raw(), whole.as_device_ptr().as_raw() + 4);
        drop((x, part));
        // The memory is not used again as long as it is lent.
        let another = Tensor::full(1.0_f32, [4], &device).unwrap();
        let _another = ops::scale(&another, 5.0, 0.0).unwrap();
        assert_eq!(read(&whole), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(read(&lent), [4.0, 6.0]);
        let before = device.memory().in_use;
        drop((whole, lent));
        assert!(device.memory().in_use < before, "what was lent goes back to the pool");
    }
}

/// cust's copies and this crate's kernels take turns on the same memory, on streams that only events join.
#[test]
fn streams_wait_for_each_other() {
    let Some(_context) = context() else { return };
    let (compute, other) = (stream(), stream());
    let device = on(&compute);
    for round in 0..20 {
        let value = round as f32;
        let buffer = DeviceBuffer::from_slice(&[value; 3000]).unwrap();
        let x = Tensor::from_cust(&device, buffer, &other, [3000]).unwrap();
        let y = ops::scale(&x, 2.0, 1.0).unwrap();
        drop(x);
        let lent = y.to_cust::<f32>(&other).unwrap();
        drop(y);
        let copy = DeviceBuffer::<f32>::zeroed(3000).unwrap();
        let mut copy = copy;
        copy.copy_from(&**lent).unwrap();
        drop(lent);
        let z = ops::scale(&Tensor::full(9.0_f32, [3000], &device).unwrap(), 1.0, 0.0).unwrap();
        assert_eq!(read(&copy), [2.0 * value + 1.0; 3000]);
        assert_eq!(z.to_vec::<f32>().unwrap(), [9.0; 3000]);
    }
}

/// A handle of the stream outlives the device, and so does the stream.
#[test]
fn a_stream_stays_as_long_as_it_is_held() {
    let Some(_context) = context() else { return };
    let device = on(&stream());
    let Device::Cuda(cuda) = &device else { panic!("{device}") };
    let handle = cuda.stream().clone();
    drop(device);
    handle.synchronize().unwrap();
}

#[test]
fn misuse_is_a_typed_error() {
    let Some(_context) = context() else { return };
    let stream = stream();
    let device = on(&stream);
    let buffer = || DeviceBuffer::from_slice(&[1.0_f32, 2.0]).unwrap();
    let refused = Tensor::from_cust(&device, buffer(), &stream, [3]).unwrap_err();
    assert!(matches!(refused, Error::Argument { op: "from_cust", .. }), "{refused}");
    let refused = Tensor::from_cust(&Device::Cpu, buffer(), &stream, [2]).unwrap_err();
    assert!(matches!(refused, Error::DeviceMismatch { op: "from_cust", .. }), "{refused}");
    let x = Tensor::full(1.0_f32, [6], &device).unwrap();
    assert!(matches!(x.to_cust::<u32>(&stream), Err(Error::DType { op: "to_cust", .. })));
    let on_cpu = x.to_device(&Device::Cpu).unwrap();
    assert!(matches!(on_cpu.to_cust::<f32>(&stream), Err(Error::DeviceMismatch { op: "to_cust", .. })));
    // The device of this crate's own stream has tensors of its own.
    let own = Tensor::full(1.0_f32, [6], &Device::cuda(0).unwrap()).unwrap();
    assert!(matches!(ops::add(&x, &own), Err(Error::DeviceMismatch { .. })));
}
