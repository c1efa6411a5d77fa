//! 16-bit floats: refused where the adapter's kernels have none, and stored two to a word, of which a tensor may begin or
//! end in the middle.

use super::open;
use crate::{
    DType, Device, Tensor,
    error::Error,
    ops::{self, MatMul},
    testing::{bits, half, on_each_device_with_f16, random},
    wgpu::{Choice, Options, Wgpu, adapter, health::now},
};

/// A device whose kernels have no 16-bit floats, as an adapter without them has it.
fn without_f16() -> Option<Device> {
    open(&Options::default())?;
    let adapter = adapter::choose(&Choice::Best).unwrap();
    let limits = adapter.limits();
    let descriptor = ::wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = now(adapter.request_device(&descriptor)).unwrap();
    Some(Device::Wgpu(Wgpu::from_wgpu(device, queue, None)))
}

#[test]
fn kernels_with_16_bit_floats_are_refused_where_there_are_none() {
    let Some(device) = without_f16() else { return };
    let put = |t: Tensor| t.to_device(&device).unwrap();
    let (x, weight) = (put(half(&random([3, 5], 1))), put(half(&random([7, 5], 2))));
    let refused = |result: Result<Tensor, Error>, name: &str| match result {
        Err(Error::Unsupported { op, what, .. }) => {
            assert!(what.contains("16-bit") && op == name, "{op}: {what}")
        }
        other => panic!("{name}: {other:?}"),
    };
    refused(ops::linear(&x, &weight, None), "product");
    refused(ops::add(&x, &x), "binary");
    refused(ops::sum_all(&x), "sum");
    // The same in f32: conversions need no such kernels.
    let wide = |t: &Tensor| ops::convert(t, DType::F32).unwrap();
    let y = ops::convert(&ops::linear(&wide(&x), &wide(&weight), None).unwrap(), DType::F16).unwrap();
    assert_eq!((y.dtype(), &*y.dims()), (DType::F16, &[3, 7][..]));
    // Nor does moving elements.
    let turned = ops::transpose(&ops::concat(&[&x, &x], 1).unwrap(), &[1, 0]).unwrap();
    assert_eq!(bits(&turned.rows(0..5).unwrap()), bits(&turned.rows(5..10).unwrap()));
}

#[test]
fn results_too_large_for_16_bits_are_infinite_and_nan_stays_nan() {
    let arms = crate::device::Arms { wgpu: true, cuda: false };
    on_each_device_with_f16(arms, |device| {
        let of = |data: &[f32], dims: [usize; 2]| {
            half(&Tensor::from_slice(data, dims, &Device::Cpu).unwrap()).to_device(device).unwrap()
        };
        // The last sum passes through numbers that f16 does not hold.
        let a = of(&[300.0, 300.0, -300.0, 300.0, f32::NAN, 1.0, 60_000.0, 60_000.0], [4, 2]);
        let b = of(&[150.0, 150.0, -2.0, 1.0], [2, 2]);
        let y =
            ops::convert(&ops::linear(&a, &b, None).unwrap(), DType::F32).unwrap().to_vec::<f32>().unwrap();
        assert_eq!((y[0], y[2], y[6], y[7]), (f32::INFINITY, 0.0, f32::INFINITY, -60_000.0), "on {device}");
        assert!(y[4].is_nan() && y[5].is_nan(), "on {device}");
        let sum = ops::sum(&of(&[60_000.0, 60_000.0, -60_000.0], [1, 3]), &[1]).unwrap();
        assert_eq!(sum.to_vec::<::half::f16>().unwrap()[0].to_f32(), 60_000.0, "on {device}");
    });
}

#[test]
fn operands_may_begin_in_the_middle_of_a_word() {
    let arms = crate::device::Arms { wgpu: true, cuda: false };
    let (all, others) = (half(&random([6, 3, 5], 1)), half(&random([6, 3, 5], 2)));
    on_each_device_with_f16(arms, |device| {
        let [all, others] = [&all, &others].map(|t| t.to_device(device).unwrap());
        let flags = MatMul { transpose_b: true, ..MatMul::default() };
        let f = |a: &Tensor, b: &Tensor| {
            let sum = ops::add(a, b).unwrap();
            [
                ops::matmul_with(flags, a, b).unwrap(),
                ops::sum(&sum, &[0, 2]).unwrap(),
                ops::relu(&sum).unwrap(),
            ]
        };
        for rows in [1..2, 1..4, 3..6] {
            let [a, b] = [&all, &others].map(|t| t.rows(rows.clone()).unwrap());
            let copied = |t: &Tensor| {
                let data = t.to_vec::<::half::f16>().unwrap();
                Tensor::from_slice(&data, t.dims(), device).unwrap()
            };
            for (got, want) in f(&a, &b).iter().zip(f(&copied(&a), &copied(&b))) {
                assert_eq!(bits(got), bits(&want), "{rows:?} on {device}");
            }
        }
    });
}
