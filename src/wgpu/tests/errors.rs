//! Memory that runs out, a device that is lost, and kernels with mistakes are typed errors.

use super::{AddParams, Options, add, counting, open};
use crate::{
    DType, Tensor,
    error::Error,
    ops,
    wgpu::{Cx, Kernel, View, health::now},
};

#[test]
fn beyond_the_memory_limit_is_an_error_that_leaves_the_device_as_it_was() {
    let Some((device, _)) = open(&Options { memory: Some(1 << 20), ..Options::default() }) else { return };
    let first = Tensor::zeros([150_000], &device).unwrap();
    let before = device.memory();
    let refused = Tensor::zeros([150_000], &device).unwrap_err();
    assert!(matches!(refused, Error::OutOfMemory { bytes: 600_000, .. }), "{refused}");
    // 4,225 patches of 256 bytes.
    let image = first.rows(0..17_424).unwrap().view([1, 1, 132, 132].into()).unwrap();
    let refused = ops::unfold(&image, [8, 8], [2, 2]).unwrap_err();
    assert!(matches!(&refused, Error::OutOfMemory { what, .. } if what == "unfold"), "{refused}");
    assert_eq!(device.memory(), before);
    assert_eq!(ops::sum_all(&first).unwrap().item::<f32>().unwrap(), 0.0);
    // What is kept for reuse makes way for a buffer of another size.
    drop((first, image));
    let other = Tensor::zeros([200_000], &device).unwrap();
    assert!(device.memory().in_use + device.memory().pooled <= 1 << 20, "{:?}", device.memory());
    assert_eq!(other.to_vec::<f32>().unwrap(), vec![0.0; 200_000]);
}

fn is_lost<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Device { what, .. }) if what.contains("lost") => {}
        other => panic!("on a lost device: {other:?}"),
    }
}

#[test]
fn every_call_on_a_destroyed_device_is_an_error() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let x = counting(64, &device);
    let reading = x.to_vec_async::<f32>();
    ops::sum_all(&x).unwrap();
    wgpu.destroy();
    for _ in 0..2 {
        is_lost(x.to_vec::<f32>());
        is_lost(now(x.to_vec_async::<f32>()));
        is_lost(ops::sum_all(&x));
        is_lost(Tensor::zeros([4], &device));
        is_lost(device.synchronize());
        is_lost(x.to_wgpu::<f32>(::wgpu::BufferUsages::STORAGE));
        is_lost(wgpu.timings());
    }
    // One that was on its way may have arrived; it does not hang.
    if let Err(error) = now(reading) {
        is_lost::<()>(Err(error));
    }
}

/// wgpu answers calls on a destroyed device as if nothing had happened, and calls back when it is next polled.
#[test]
fn a_device_that_is_lost_behind_our_back_is_found_out_by_waiting() {
    let lose = |found_out: &dyn Fn(&crate::Device, &Tensor)| {
        let Some((device, wgpu)) = open(&Options::default()) else { return };
        let x = counting(64, &device);
        device.synchronize().unwrap();
        wgpu.raw().destroy();
        found_out(&device, &x);
        is_lost(ops::sum_all(&x));
    };
    lose(&|device, _| is_lost(device.synchronize()));
    lose(&|_, x| is_lost(x.to_vec::<f32>()));
    lose(&|_, x| is_lost(now(x.to_vec_async::<f32>())));
    lose(&|_, x| is_lost(ops::sum_all(x).and_then(|sum| sum.item::<f32>())));
}

#[test]
fn a_mistake_in_a_kernel_is_an_error_that_shows_its_line() {
    static TYPO: Kernel<AddParams> = Kernel::new(
        "add",
        &["struct AddParams { first: u32, count: u32, value: f32 }
           @group(0) @binding(0) var<uniform> params: AddParams;
           @group(0) @binding(1) var<storage, read_write> y: array<f32>;
           @compute @workgroup_size(64) fn add() { y[0] = parms.value; }"],
        "add",
        &[],
    );
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let y = counting(64, &device);
    let crate::tensor::Buffer::Wgpu(buffer) = &y.buffer else { panic!("{y:?}") };
    let view = View { dims: y.dims(), dtype: DType::F32, buffer, start: 0 };
    let cx = Cx::new("add", &wgpu, 0).unwrap();
    let slices = [cx.bind(&view).unwrap()];
    let refused = cx.launch(&TYPO, &[], &AddParams::default(), &slices, [1; 3]).unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(refused, Error::Device { .. }) && said.contains("parms") && said.contains("add:4"),
        "{said}"
    );
    // The device works on.
    add(&cx, &view, 1.0, &[64, 64]).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap()[..2], [1.0, 2.0]);
}

#[test]
fn bindings_that_are_not_the_kernel_s_are_refused() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let [x, y] = [0, 1].map(|_| counting(64, &device));
    let view = |t: &Tensor| -> usize { t.buffer.address() };
    assert_ne!(view(&x), view(&y));
    let (crate::tensor::Buffer::Wgpu(a), crate::tensor::Buffer::Wgpu(b)) = (&x.buffer, &y.buffer) else {
        panic!("{x:?}")
    };
    let [x, y] = [a, b].map(|buffer| View { dims: x.dims(), dtype: DType::F32, buffer, start: 0 });
    let (ins, outs) = ([x], [y]);
    let cx = Cx::new("add", &wgpu, 0).unwrap().of(&ins, &outs);
    let refused = add(&cx, &x, 1.0, &[64, 64]).unwrap_err();
    assert!(refused.to_string().contains("writes binding 1, where an operand is bound"), "{refused}");
    add(&cx, &y, 1.0, &[64, 64]).unwrap();
    let slices = [cx.bind(&x).unwrap(), cx.bind(&y).unwrap()];
    let refused = cx.launch(&super::ADD, &[64, 64], &AddParams::default(), &slices, [1; 3]).unwrap_err();
    assert!(refused.to_string().contains("2 slices for the 1 bindings"), "{refused}");
    // In place, an operand is also a result.
    let both = [y];
    add(&Cx::new("add", &wgpu, 0).unwrap().of(&both, &both), &y, 1.0, &[64, 64]).unwrap();
}

#[test]
fn an_error_that_no_call_returned_comes_with_the_next_one() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let x = counting(64, &device);
    let descriptor = ::wgpu::BufferDescriptor {
        label: None,
        size: 4,
        usage: ::wgpu::BufferUsages::MAP_READ | ::wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    };
    if wgpu.raw().features().contains(::wgpu::Features::MAPPABLE_PRIMARY_BUFFERS) {
        return;
    }
    drop(wgpu.raw().create_buffer(&descriptor));
    let said = ops::sum_all(&x).unwrap_err();
    assert!(matches!(&said, Error::Device { .. }), "{said}");
    assert_eq!(ops::sum_all(&x).unwrap().item::<f32>().unwrap(), 2016.0);
}
