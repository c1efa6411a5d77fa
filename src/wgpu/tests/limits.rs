//! Limits are met by cutting work, or named in an error; nothing is launched that would break one.

use super::{add, counting, open};
use crate::{
    DType, Device, Tensor,
    error::Error,
    ops::{self, Conv2d},
    testing,
    wgpu::{Choice, Cx, Options, View, Wgpu, api},
};
use std::sync::Arc;

fn with(limits: api::Limits) -> Option<(Device, Arc<Wgpu>)> {
    open(&Options { limits: Some(limits), ..Options::default() })
}

/// The limit that an error names, what there is of it and what was needed.
fn named<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, u64, u64) {
    match result {
        Err(Error::Limit { limit, have, need, .. }) => (limit, have, need),
        other => panic!("{other:?}"),
    }
}

/// Runs operations whose kernels cut their work and compares with the CPU.
fn operations_agree(device: &Device) {
    let x = testing::random([2, 3, 40, 36], 1);
    let weight = testing::random([8, 3, 3, 3], 2);
    let patches = |x: &Tensor| ops::unfold(x, [7, 5], [3, 2]).unwrap();
    let moved = x.to_device(device).unwrap();
    assert_eq!(patches(&moved).to_vec::<f32>().unwrap(), patches(&x).to_vec::<f32>().unwrap());
    // A view whose first element is at no multiple of any alignment.
    let row = |x: &Tensor| patches(&x.view([6, 1, 40, 36].into()).unwrap().rows(1..3).unwrap());
    assert_eq!(row(&moved).to_vec::<f32>().unwrap(), row(&x).to_vec::<f32>().unwrap());
    let conv = |x: &Tensor, weight: &Tensor| {
        ops::conv2d(x, weight, None, Conv2d::new(1, 1)).unwrap().to_vec::<f32>().unwrap()
    };
    let (got, want) = (conv(&moved, &weight.to_device(device).unwrap()), conv(&x, &weight));
    let worst = got.iter().zip(&want).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    assert!(worst < 1e-4, "{worst:e}");
    let sum = |x: &Tensor| ops::sum_all(x).unwrap().item::<f32>().unwrap();
    assert!((sum(&moved) - sum(&x)).abs() < 1e-3);
}

#[test]
fn operations_run_at_the_limits_of_every_browser() {
    let Some((device, wgpu)) = with(api::Limits::defaults()) else { return };
    assert_eq!(wgpu.limits().max_storage_buffer_binding_size, 128 << 20);
    assert_eq!(wgpu.limits().min_storage_buffer_offset_alignment, 256);
    operations_agree(&device);
}

#[test]
fn work_is_cut_to_bindings_and_grids_much_smaller_than_it() {
    let limits = api::Limits {
        max_storage_buffer_binding_size: 48 << 10,
        max_compute_workgroups_per_dimension: 40,
        ..api::Limits::defaults()
    };
    let Some((device, _)) = with(limits) else { return };
    operations_agree(&device);
}

/// 142 MB of patches: more than one binding at the limits of every browser, as they are.
#[test]
fn a_result_above_128_mib_is_written_in_parts() {
    let Some((device, wgpu)) = with(api::Limits::defaults()) else { return };
    let image: Vec<f32> = (0..3000 * 3000).map(|i| (i * 7 % 1009) as f32).collect();
    let image = Tensor::from_slice(&image, [1, 1, 3000, 3000], &device).unwrap();
    let patches = ops::unfold(&image, [50, 50], [25, 25]).unwrap();
    assert!(patches.elements() as u64 * 4 > wgpu.limits().max_storage_buffer_binding_size);
    let patches = patches.to_vec::<f32>().unwrap();
    for (at, &value) in patches.iter().enumerate().step_by(997) {
        let (patch, pixel) = (at / 2500, at % 2500);
        let (r, q) = (patch / 119 * 25 + pixel / 50, patch % 119 * 25 + pixel % 50);
        assert_eq!(value, ((r * 3000 + q) * 7 % 1009) as f32, "element {at}");
    }
}

#[test]
fn kernels_beyond_a_limit_are_refused_before_they_are_launched() {
    let Some((device, wgpu)) = with(api::Limits::defaults()) else { return };
    let x = counting(1000, &device);
    let crate::tensor::Buffer::Wgpu(buffer) = &x.buffer else { panic!("{x:?}") };
    let y = View { dims: x.dims(), dtype: DType::F32, buffer, start: 0 };
    let cx = Cx::new("add", &wgpu, 0).unwrap();
    let launch = |tuning: [u32; 2]| add(&cx, &y, 1.0, &tuning);
    assert_eq!(named(launch([257, 64])), ("max_compute_invocations_per_workgroup", 256, 257));
    assert_eq!(named(launch([2048, 64])), ("max_compute_invocations_per_workgroup", 256, 2048));
    assert_eq!(named(launch([64, 4097])), ("max_compute_workgroup_storage_size", 16384, 16400));
    assert_eq!(x.to_vec::<f32>().unwrap()[..3], [0.0, 1.0, 2.0], "something was launched");
    // At the limit it runs.
    launch([64, 4096]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap()[..3], [1.0, 2.0, 3.0]);

    let slice = cx.bind(&y).unwrap();
    let wide = cx.launch(&super::ADD, &[64, 64], &Default::default(), &[slice], [1, 65_536, 1]);
    assert_eq!(named(wide), ("max_compute_workgroups_per_dimension", 65_535, 65_536));
    assert_eq!(cx.groups(65_536).unwrap(), [32_768, 2, 1]);
    assert_eq!(named(cx.groups(1 << 40)).0, "max_compute_workgroups_per_dimension");
}

#[test]
fn a_workgroup_axis_beyond_its_limit_is_refused_where_the_product_is_not() {
    let Some((device, wgpu)) =
        with(api::Limits { max_compute_workgroup_size_x: 32, ..api::Limits::defaults() })
    else {
        return;
    };
    let x = counting(10, &device);
    let crate::tensor::Buffer::Wgpu(buffer) = &x.buffer else { panic!("{x:?}") };
    let y = View { dims: x.dims(), dtype: DType::F32, buffer, start: 0 };
    let cx = Cx::new("add", &wgpu, 0).unwrap();
    assert_eq!(named(add(&cx, &y, 1.0, &[64, 64])), ("max_compute_workgroup_size_x", 32, 64));
}

#[test]
fn what_no_cut_makes_small_enough_names_its_limit() {
    let limits = api::Limits {
        max_storage_buffer_binding_size: 4096,
        max_buffer_size: 1 << 20,
        ..api::Limits::defaults()
    };
    let Some((device, _)) = with(limits) else { return };
    // One sum needs all of its operand.
    let x = Tensor::zeros([2048], &device).unwrap();
    assert_eq!(named(ops::sum_all(&x)), ("max_storage_buffer_binding_size", 4096, 8192));
    assert_eq!(named(Tensor::zeros([(1 << 18) + 1], &device)), ("max_buffer_size", 1 << 20, (1 << 20) + 4));
    // Buffers come in classes; the largest is no larger than a buffer may be.
    assert_eq!(
        Tensor::zeros([(1 << 18) - 1], &device).unwrap().to_vec::<f32>().unwrap().len(),
        (1 << 18) - 1
    );
}

#[test]
fn limits_that_the_adapter_has_not_are_named() {
    let Some(_) = open(&Options::default()) else { return };
    let limits = api::Limits { max_compute_workgroup_size_x: u32::MAX, ..api::Limits::defaults() };
    let refused = Wgpu::open(&Options { limits: Some(limits), ..Options::default() }).unwrap_err();
    assert!(
        matches!(&refused, Error::NoDevice { why, .. } if why.contains("max_compute_workgroup_size_x")),
        "{refused}"
    );
    let refused = Device::wgpu_on("no such adapter").unwrap_err();
    assert!(matches!(&refused, Error::NoDevice { why, .. } if why.contains("0: ")), "{refused}");
    let named = Options { adapter: Choice::from("0"), ..Options::default() };
    assert_eq!(*Wgpu::open(&named).unwrap().adapter(), super::super::adapters()[0]);
}

/// The second width of llvmpipe's vectors is another subgroup size; this says that a run that asks for it gets it.
#[test]
fn a_run_that_asks_for_wide_vectors_has_wide_subgroups() {
    let Some((_, wgpu)) = open(&Options::default()) else { return };
    let info = wgpu.raw().adapter_info();
    let asked = std::env::var("LP_NATIVE_VECTOR_WIDTH").ok().and_then(|bits| bits.parse::<u32>().ok());
    if let Some(bits) = asked.filter(|_| info.name.contains("llvmpipe")) {
        assert_eq!((info.subgroup_min_size, info.subgroup_max_size), (bits / 32, bits / 32));
    }
}
