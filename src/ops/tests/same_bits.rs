//! Operations whose CUDA kernels round as the CPU does: the bits are the same. (Sums are taken in other orders.)

use crate::{
    Device, DeviceKind, Rng, Tensor,
    device::{Arms, Op, run},
    ops::{
        dropout::Dropout,
        elementwise::{
            Add, AddRelu, Binary, Div, Exp, Log, Mul, Relu, Scale, Sigmoid, Sqrt, Square, Sub, Swish, Tanh,
            Unary, UnaryGrad,
        },
        image::NormalizeImage,
        pool::MaxPool2d,
    },
    testing::{bits, on_each_device, random},
};

/// Calls `body` with every CUDA device of the test run.
fn on_cuda(mut body: impl FnMut(&Device)) {
    on_each_device(Arms { wgpu: false, cuda: true }, |device| {
        if device.kind() == DeviceKind::Cuda {
            body(device);
        }
    });
}

/// The words of a result, with one word for all that is no number: its sign and payload are free.
fn words(y: &Tensor) -> Vec<u32> {
    let word = |bytes: &[u8]| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let canonical = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    bits(y).chunks(4).map(|bytes| canonical(word(bytes))).collect()
}

fn agrees<O: Op>(device: &Device, op: &O, ins: &[&Tensor]) {
    let moved: Vec<Tensor> = ins.iter().map(|t| t.to_device(device).unwrap()).collect();
    let (got, want) = (run(op, &moved.iter().collect::<Vec<_>>()).unwrap(), run(op, ins).unwrap());
    let (got, want) = (words(&got[0]), words(&want[0]));
    if let Some(at) = (0..want.len()).find(|&at| got[at] != want[at]) {
        let [got, want] = [got[at], want[at]].map(f32::from_bits);
        panic!("{op:?} on {device}, element {at}: {got:e}, {want:e} on the CPU");
    }
}

/// Every 40,961st bit pattern.
fn patterns() -> Tensor {
    let data: Vec<f32> = (0..=u32::MAX).step_by(40_961).map(f32::from_bits).collect();
    Tensor::from_slice(&data, [data.len()], &Device::Cpu).unwrap()
}

#[test]
fn functions_of_any_number() {
    let x = patterns();
    let dy = random(x.dims(), 1);
    on_cuda(|device| {
        macro_rules! each {
            ($($function:ident)*) => {$(
                agrees(device, &Unary::<$function>::default(), &[&x]);
                agrees(device, &UnaryGrad::<$function>::default(), &[&dy, &x]);
            )*};
        }
        each!(Relu Tanh Sigmoid Exp Log Swish Sqrt Square);
        agrees(device, &Scale { factor: -1.7, shift: 0.3 }, &[&x]);
    });
}

#[test]
fn functions_of_two_numbers() {
    let (a, b) = (random([70, 1, 41], 1), random([30, 1], 2));
    on_cuda(|device| {
        agrees(device, &Binary::<Add>::default(), &[&a, &b]);
        agrees(device, &Binary::<Sub>::default(), &[&a, &b]);
        agrees(device, &Binary::<Mul>::default(), &[&a, &b]);
        agrees(device, &Binary::<Div>::default(), &[&a, &b]);
        agrees(device, &Binary::<AddRelu>::default(), &[&a, &b]);
    });
}

#[test]
fn images_windows_and_dropout() {
    let bytes: Vec<u8> = (0..3 * 256).map(|i| (i / 3) as u8).collect();
    let image = Tensor::from_slice(&bytes, [3, 16, 16], &Device::Cpu).unwrap();
    let [scale, shift] = [[0.017, 0.0174, 0.0175], [-2.1, -2.03, -1.8]].map(|v| v.into_iter().collect());
    let normalize = NormalizeImage { scale, shift };
    let x = random([2, 3, 13, 9], 3);
    on_cuda(|device| {
        agrees(device, &normalize, &[&image]);
        agrees(device, &MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }, &[&x]);
        let words = Rng::new(5).reserve(x.elements() as u64);
        agrees(device, &Dropout { p: 0.3, words }, &[&x]);
    });
}
