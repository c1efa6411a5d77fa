//! Tensors over an application's buffers, and an application's use of a tensor's buffer.

use super::{Cx, Options, add, counting, open};
use crate::{
    Device, Tensor, arms, cpu,
    device::{Meta, Metas, Op, run_in_place},
    error::{Error, Result},
    ops, spec,
    wgpu::{In, Out, Wgpu, adapter, api, api::BufferUsages, health::now},
};
use std::sync::Arc;

/// A device that an application opened by itself.
fn application() -> Option<(api::Device, api::Queue)> {
    Some(opened(&adapter()?))
}

fn adapter() -> Option<api::Adapter> {
    open(&Options::default())?;
    Some(adapter::choose(&Default::default()).unwrap())
}

fn opened(adapter: &api::Adapter) -> (api::Device, api::Queue) {
    now(adapter.request_device(&api::DeviceDescriptor::default())).unwrap()
}

fn buffer(device: &api::Device, size: u64, usage: BufferUsages) -> api::Buffer {
    device.create_buffer(&api::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn storage() -> BufferUsages {
    BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST
}

/// An application's device, a buffer on it with the bytes of `data`, and the device of this crate.
fn holding(data: &[u8]) -> Option<(api::Device, api::Queue, api::Buffer, Device)> {
    let (device, queue) = application()?;
    let buffer = buffer(&device, data.len() as u64, storage());
    queue.write_buffer(&buffer, 0, data);
    let ours = Device::Wgpu(Wgpu::from_wgpu(device.clone(), queue.clone(), None));
    Some((device, queue, buffer, ours))
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// What the application reads from its own buffer, by its own commands.
fn read(device: &api::Device, queue: &api::Queue, from: &api::Buffer, offset: u64, bytes: u64) -> Vec<f32> {
    let to = buffer(device, bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(from, offset, &to, 0, bytes);
    queue.submit([encoder.finish()]);
    to.slice(..).map_async(api::MapMode::Read, |result| result.unwrap());
    device.poll(api::PollType::wait_indefinitely()).unwrap();
    let bytes = to.slice(..).get_mapped_range().unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_tensor_over_a_buffer_is_no_copy() {
    let Some((_, queue, buffer, device)) = holding(&floats((0..100).map(|i| i as f32))) else { return };
    let x = Tensor::from_wgpu::<f32>(&device, buffer.clone(), 12, [4, 5]).unwrap();
    assert_eq!(device.memory().in_use, 0);
    assert_eq!(x.to_vec::<f32>().unwrap(), (3..23).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(ops::sum_all(&x).unwrap().item::<f32>().unwrap(), 250.0);
    assert_eq!(x.rows(1..2).unwrap().to_vec::<f32>().unwrap(), [8.0, 9.0, 10.0, 11.0, 12.0]);
    // What the application writes afterwards is seen.
    queue.write_buffer(&buffer, 12, &floats([1000.0]));
    assert_eq!(ops::sum_all(&x).unwrap().item::<f32>().unwrap(), 1247.0);
}

#[test]
fn bytes_may_begin_anywhere() {
    let Some((_, _, buffer, device)) = holding(&(0..200).collect::<Vec<u8>>()) else { return };
    for offset in [0, 1, 2, 3, 4, 101] {
        let image = Tensor::from_wgpu::<u8>(&device, buffer.clone(), offset, [1, 1, 9, 11]).unwrap();
        let cpu = image.to_device(&Device::Cpu).unwrap();
        let patches = |x: &Tensor| ops::unfold(x, [3, 4], [2, 3]).unwrap().to_vec::<u8>().unwrap();
        assert_eq!(cpu.to_vec::<u8>().unwrap()[0], offset as u8);
        assert_eq!(patches(&image), patches(&cpu), "from byte {offset}");
    }
}

#[test]
fn what_does_not_fit_is_a_typed_error() {
    let Some((theirs, _, raw, device)) = holding(&[0; 64]) else { return };
    let over = |buffer: &api::Buffer, offset, n: usize| {
        Tensor::from_wgpu::<f32>(&device, buffer.clone(), offset, [n]).map(|t| t.elements())
    };
    let argument = |result: Result<usize>, word: &str| {
        let error = result.unwrap_err();
        let Error::Argument { op: "from_wgpu", what } = &error else { panic!("{error:?}") };
        assert!(what.contains(word), "{what}");
    };
    assert_eq!((over(&raw, 0, 16), over(&raw, 60, 1), over(&raw, 64, 0)), (Ok(16), Ok(1), Ok(0)));
    argument(over(&raw, 0, 17), "64 bytes");
    argument(over(&raw, 64, 1), "64 bytes");
    argument(over(&raw, 2, 1), "multiple of the 4 bytes");
    argument(over(&raw, u64::MAX - 3, 1), "64 bytes");
    argument(over(&raw, 0, 1 << 40), "64 bytes");
    argument(over(&buffer(&theirs, 64, BufferUsages::COPY_SRC | BufferUsages::MAP_WRITE), 0, 1), "lacks");
    argument(over(&buffer(&theirs, 64, BufferUsages::STORAGE), 0, 1), "COPY_SRC");
    // Its last byte is in no whole word.
    let odd = buffer(&theirs, 5, storage());
    assert!(matches!(
        Tensor::from_wgpu::<u8>(&device, odd.clone(), 0, [5]),
        Err(Error::Argument { op: "from_wgpu", .. })
    ));
    assert_eq!(Tensor::from_wgpu::<u8>(&device, odd, 0, [4]).unwrap().to_vec::<u8>().unwrap(), [0; 4]);
    assert!(matches!(
        Tensor::from_wgpu::<f64>(&device, raw.clone(), 0, [2]),
        Err(Error::DType { op: "from_wgpu", .. })
    ));
    assert!(matches!(
        Tensor::from_wgpu::<f32>(&Device::Cpu, raw.clone(), 0, [2]),
        Err(Error::DeviceMismatch { op: "from_wgpu", .. })
    ));
    let gone = buffer(&theirs, 64, storage());
    gone.destroy();
    argument(over(&gone, 0, 1), "cannot be bound");
    // None of it harmed the device.
    assert_eq!(over(&raw, 0, 16), Ok(16));
    device.synchronize().unwrap();
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let Some(adapter) = adapter() else { return };
    let [(ours, queue), (other, _)] = [opened(&adapter), opened(&adapter)];
    let device = Device::Wgpu(Wgpu::from_wgpu(ours, queue, None));
    let refused = Tensor::from_wgpu::<f32>(&device, buffer(&other, 64, storage()), 0, [1]).unwrap_err();
    assert!(
        matches!(&refused, Error::Argument { op: "from_wgpu", what } if what.contains("cannot be bound")),
        "{refused}"
    );
    device.synchronize().unwrap();
}

#[test]
fn an_application_reads_a_tensor_where_it_is() {
    let Some((theirs, queue, raw, device)) = holding(&floats((0..64).map(|i| i as f32))) else { return };
    let x = Tensor::from_wgpu::<f32>(&device, raw.clone(), 0, [1, 1, 8, 8]).unwrap();
    let patches = ops::unfold(&x, [4, 4], [4, 4]).unwrap();
    let last = patches.view([4, 16].into()).unwrap().rows(3..4).unwrap();
    let region = last.to_wgpu::<f32>(BufferUsages::COPY_SRC).unwrap();
    assert_eq!((region.offset, region.bytes), (192, 64));
    let want = last.to_vec::<f32>().unwrap();
    assert_eq!(want[..5], [36.0, 37.0, 38.0, 39.0, 44.0]);
    let got = || read(&theirs, &queue, &region.buffer, region.offset, region.bytes);
    assert_eq!(got(), want);
    // The buffer stays the application's when the tensor is gone.
    drop((patches, last));
    for i in 0..5 {
        let y = ops::unfold(&x, [4, 4], [4, 4]).unwrap();
        assert_ne!(&y.to_wgpu::<f32>(BufferUsages::STORAGE).unwrap().buffer, &region.buffer, "round {i}");
    }
    assert_eq!(got(), want);
    // A buffer that came from the application goes back to it.
    assert_eq!(x.to_wgpu::<f32>(BufferUsages::STORAGE).unwrap().buffer, raw);
}

#[test]
fn a_tensor_s_buffer_is_refused_where_it_is_not_what_was_asked_for() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let x = counting(4, &device);
    assert!(matches!(
        x.to_wgpu::<f32>(BufferUsages::VERTEX),
        Err(Error::Argument { op: "to_wgpu", what }) if what.contains("VERTEX")
    ));
    assert!(matches!(x.to_wgpu::<u32>(BufferUsages::STORAGE), Err(Error::DType { op: "to_wgpu", .. })));
    let cpu = counting(4, &Device::Cpu);
    assert!(matches!(cpu.to_wgpu::<f32>(BufferUsages::STORAGE), Err(Error::DeviceMismatch { .. })));
}

/// Adds one, in place.
#[derive(Debug)]
struct Increment;

impl Op for Increment {
    const NAME: &'static str = "increment";
    arms!(cpu, wgpu);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        Ok([ins[0]].into_iter().collect())
    }
    fn spec<T: spec::Real>(&self, _: &[spec::In<T>], outs: &mut [spec::Out<T>]) {
        outs[0].x.iter_mut().for_each(|x| *x += T::of(1.0));
    }
}

impl Increment {
    fn on_cpu(&self, _: &[cpu::In], _: &mut [cpu::Out]) -> Result<()> {
        Err(Error::argument("increment", "not on the CPU"))
    }
    fn on_wgpu(&self, cx: &Cx, _: &[In], outs: &[Out]) -> Result<()> {
        add(cx, &outs[0], 1.0, &[64, 64])
    }
}

#[test]
fn an_update_in_place_never_writes_to_what_the_application_has() {
    let Some((theirs, queue, raw, device)) = holding(&floats([1.0, 2.0, 3.0, 4.0])) else { return };
    let like = Tensor::zeros([2], &device).unwrap();
    let mut x = Tensor::from_wgpu::<f32>(&device, raw.clone(), 8, [2]).unwrap();
    run_in_place(&Increment, &mut [&mut x], &[&like]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [4.0, 5.0]);
    assert_eq!(read(&theirs, &queue, &raw, 0, 16), [1.0, 2.0, 3.0, 4.0]);

    let mut y = counting(2, &device);
    let shown = y.to_wgpu::<f32>(BufferUsages::COPY_SRC).unwrap();
    run_in_place(&Increment, &mut [&mut y], &[&like]).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(read(&theirs, &queue, &shown.buffer, shown.offset, shown.bytes), [0.0, 1.0]);
    // A buffer that nobody else has is written where it is.
    let address = y.buffer.address();
    run_in_place(&Increment, &mut [&mut y], &[&like]).unwrap();
    assert_eq!((y.buffer.address(), y.to_vec::<f32>().unwrap()), (address, vec![2.0, 3.0]));
}

#[test]
fn a_loss_that_the_application_hands_on_is_every_call_s_error() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let x = counting(4, &device);
    Arc::clone(&wgpu).lost("the driver was restarted");
    let said = x.to_vec::<f32>().unwrap_err().to_string();
    assert!(said.contains("lost: the driver was restarted"), "{said}");
}
