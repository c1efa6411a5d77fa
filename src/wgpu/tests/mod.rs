//! What the device promises, each on a device of the test's own: limits, errors, memory, other people's buffers,
//! timings.

mod errors;
mod half;
mod interop;
mod kinds;
mod limits;
mod memory;
mod reading;
mod timings;

use super::{Cx, Kernel, Options, Out, Tuning, Wgpu};
use crate::{Device, Result, Tensor, testing};
use std::sync::Arc;

/// A device as `options` say; none where there is no adapter.
fn open(options: &Options) -> Option<(Device, Arc<Wgpu>)> {
    let wgpu = testing::wgpu_of_its_own(options)?;
    Some((Device::Wgpu(wgpu.clone()), wgpu))
}

/// 0, 1, 2, …
fn counting(n: usize, device: &Device) -> Tensor {
    Tensor::from_slice(&(0..n).map(|i| i as f32).collect::<Vec<_>>(), [n], device).unwrap()
}

crate::wgpu_params! {
    #[derive(Default)]
    struct AddParams {
        first: u32, count: u32, value: f32,
    }
}

const ADD_TEXT: &str = "
struct AddParams { first: u32, count: u32, value: f32 }
@group(0) @binding(0) var<uniform> params: AddParams;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
const THREADS: u32 = 64u;
const WORDS: u32 = 64u;
var<workgroup> line: array<f32, WORDS>;
@compute @workgroup_size(THREADS)
fn add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    line[lane % WORDS] = params.value;
    workgroupBarrier();
    if id.x < params.count {
        y[params.first + id.x] += line[lane % WORDS];
    }
}";

/// y += value, with as many threads in a workgroup and words of workgroup memory as a launch says.
static ADD: Kernel<AddParams> = Kernel::new("add", &[ADD_TEXT], "add", &["THREADS", "WORDS"]);

/// Launches [`ADD`] on a whole view.
fn add(cx: &Cx, y: &Out, value: f32, tuning: Tuning) -> Result<()> {
    let slice = cx.bind(y)?;
    let params = AddParams { first: slice.first, count: y.dims.elements() as u32, value };
    cx.launch(&ADD, tuning, &params, &[slice], cx.groups(y.dims.elements().div_ceil(64))?)
}
