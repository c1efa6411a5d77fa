//! What the cases share: the device, seeded inputs, criterion, the server, and the busyness of other
//! processes.

mod alone;
mod case;
mod inputs;
mod others;
mod serve;
pub(crate) mod sizes;
mod words;

pub(crate) use alone::run;
pub(crate) use case::{Call, Case, Results, many, one};
pub(crate) use inputs::{between, byte_tensor, dense_image, fill, sparse_image, uniform};

use case::host;
use foveate::{DType, Device, DeviceKind, Dims, Result, Tensor, ops};
use serde_json::{Value, json};
use std::sync::OnceLock;

static DEVICE: OnceLock<Device> = OnceLock::new();

/// Where all tensors of the cases are, as [`run`] was told.
pub(crate) fn device() -> Device {
    DEVICE.get_or_init(|| Device::Cpu).clone()
}

/// Results of at most so many elements are read back whole at the end of a call through wgpu, of others one element.
const SMALL: usize = 1024;

/// Whether calls are many times as short as the wait for them can be, so that many are launched before the host waits once.
fn runs_ahead() -> bool {
    device().kind() == DeviceKind::Cuda
}

/// Waits until a call's results are there: on CUDA for all that was launched, through wgpu by reading back the last of them,
/// or its first element where it is large.
fn settle(results: &Results) -> Result<()> {
    if runs_ahead() {
        return device().synchronize();
    }
    match (device(), results.last()) {
        (Device::Cpu, _) | (_, None) => Ok(()),
        (_, Some(last)) if last.elements() <= SMALL => host(last).map(drop),
        (_, Some(last)) => host(&ops::slice(&ops::reshape(last, [last.elements()])?, 0..1)?).map(drop),
    }
}

/// [sum, sum of magnitudes] over all elements of all tensors, in f64.
fn checksum(results: &Results) -> Result<[f64; 2]> {
    let mut sums = [0.0, 0.0];
    for tensor in results {
        for value in host(tensor)? {
            sums[0] += value;
            sums[1] += value.abs();
        }
    }
    Ok(sums)
}

/// A tensor of that name which somebody else has made: here nobody has.
fn given(_: &str, _: Dims, _: DType) -> Result<Option<Tensor>> {
    Ok(None)
}

/// How many threads of the host compute; the calling thread becomes one of them.
fn use_threads(threads: usize) -> Result<()> {
    foveate::cpu::join_pool(threads)
}

/// Versions and device, for the greeting.
fn versions() -> Value {
    json!({"foveate": env!("CARGO_PKG_VERSION"), "device": device().to_string()})
}
