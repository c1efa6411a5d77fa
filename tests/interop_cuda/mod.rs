//! Memory and streams shared with an application through cudarc.

use foveate::{
    Device, Error, Tape, Tensor,
    cuda::{
        Cuda,
        api::{CudaContext, CudaSlice, CudaStream, DevicePtr},
    },
    ops,
};
use std::sync::Arc;

pub(crate) fn check() {
    let context = CudaContext::new(0).unwrap();
    let (compute, other) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let device = Device::Cuda(Cuda::from_stream(compute.clone()).unwrap());
    slices_become_tensors(&device, &other);
    addresses_become_tensors(&device, &other);
    tensors_are_lent(&device, &other);
    misuse_is_a_typed_error(&device, &other);
    // The device of this crate's own stream has tensors of its own.
    let own = Device::cuda(0).unwrap();
    let (x, y) = (ones(&own), ones(&device));
    assert!(matches!(ops::add(&x, &y), Err(Error::DeviceMismatch { .. })));
}

fn ones(device: &Device) -> Tensor {
    Tensor::full(1.0_f32, [6], device).unwrap()
}

fn upload(stream: &Arc<CudaStream>, values: &[f32]) -> CudaSlice<f32> {
    stream.clone_htod(values).unwrap()
}

fn slices_become_tensors(device: &Device, other: &Arc<CudaStream>) {
    let before = device.memory().in_use;
    let slice = upload(other, &[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]);
    let x = Tensor::from_cuda(device, slice, [2, 3]).unwrap();
    assert_eq!(device.memory().in_use, before, "memory of the application does not count");
    let tape = Tape::new();
    let watched = tape.watch(&x).unwrap();
    let y = ops::sum_all(&ops::relu(&watched).unwrap()).unwrap();
    assert_eq!(y.item::<f32>().unwrap(), 19.0);
    let grads = tape.backward(&y).unwrap();
    assert_eq!(grads.of(&watched).unwrap().to_vec::<f32>().unwrap(), [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    // A part of it that does not begin where the slice does.
    let part = ops::slice(&ops::reshape(&x, [6]).unwrap(), 1..4).unwrap();
    drop((x, watched));
    assert_eq!(part.to_vec::<f32>().unwrap(), [-2.0, 3.0, 4.0]);
}

/// The owner lives as long as any tensor over the memory, and the memory is never written to.
fn addresses_become_tensors(device: &Device, other: &Arc<CudaStream>) {
    let slice = Arc::new(upload(other, &[2.0; 6]));
    other.synchronize().unwrap();
    let pointer = slice.device_ptr(other).0;
    // SAFETY: the slice holds six elements, its upload was waited for, and the tensor owns a handle of it.
    let x =
        unsafe { Tensor::from_cuda_pointer::<f32>(device, pointer, [6], Box::new(slice.clone())) }.unwrap();
    assert_eq!(Arc::strong_count(&slice), 2);
    let view = ops::reshape(&x, [2, 3]).unwrap();
    drop(x);
    assert_eq!(Arc::strong_count(&slice), 2);
    assert_eq!(ops::sum_all(&view).unwrap().item::<f32>().unwrap(), 12.0);
    drop(view);
    assert_eq!(Arc::strong_count(&slice), 1);
    assert_eq!(other.clone_dtoh(&*slice).unwrap(), [2.0; 6]);
}

fn tensors_are_lent(device: &Device, other: &Arc<CudaStream>) {
    let x =
        ops::scale(&Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [4], device).unwrap(), 2.0, 0.0).unwrap();
    let part = ops::slice(&x, 1..3).unwrap();
    let (whole, lent) = (x.to_cuda::<f32>(other).unwrap(), part.to_cuda::<f32>(other).unwrap());
    assert_eq!(lent.pointer(), whole.pointer() + 4);
    drop((x, part));
    // The memory is not used again as long as it is lent.
    let _another = Tensor::full(0.0_f32, [4], device).unwrap();
    assert_eq!(other.clone_dtoh(&*whole).unwrap(), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(other.clone_dtoh(&*lent).unwrap(), [4.0, 6.0]);
    let before = device.memory().in_use;
    drop((whole, lent));
    assert!(device.memory().in_use < before, "what was lent goes back to the pool");
}

fn misuse_is_a_typed_error(device: &Device, other: &Arc<CudaStream>) {
    let slice = || upload(other, &[1.0, 2.0]);
    let refused = Tensor::from_cuda(device, slice(), [3]).unwrap_err();
    assert!(matches!(refused, Error::Argument { op: "from_cuda", .. }), "{refused}");
    let refused = Tensor::from_cuda(&Device::Cpu, slice(), [2]).unwrap_err();
    assert!(matches!(refused, Error::DeviceMismatch { op: "from_cuda", .. }), "{refused}");
    for pointer in [0, 258] {
        // SAFETY: refused before it is looked at.
        let refused = unsafe { Tensor::from_cuda_pointer::<f32>(device, pointer, [2], Box::new(())) };
        assert!(matches!(refused, Err(Error::Argument { op: "from_cuda_pointer", .. })), "{refused:?}");
    }
    let x = ones(device);
    assert!(matches!(x.to_cuda::<u32>(other), Err(Error::DType { op: "to_cuda", .. })));
    let on_cpu = x.to_device(&Device::Cpu).unwrap();
    assert!(matches!(on_cpu.to_cuda::<f32>(other), Err(Error::DeviceMismatch { op: "to_cuda", .. })));
}
