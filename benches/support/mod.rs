//! What a case is, and what the cases share: the device, seeded inputs, criterion, the server, and the busyness of other
//! processes.

mod alone;
mod inputs;
mod others;
mod serve;
pub(crate) mod sizes;
mod words;

pub(crate) use alone::run;
pub(crate) use inputs::{between, dense_image, fill, sparse_image, uniform};
pub(crate) use words::bytes;

use foveate::{DType, Device, DeviceKind, Result, Tensor, ops};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// What a case computed.
pub(crate) type Results = Vec<Tensor>;
/// Computes once and gives what was computed.
pub(crate) type Call = Box<dyn FnMut() -> Result<Results>>;
/// Makes the inputs.
type Build = Box<dyn Fn() -> Result<Call>>;

/// A way to compute a case; this crate has one.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) build: Build,
}

/// One thing to time.
pub(crate) struct Case {
    /// `family/what`, the same as the peer's.
    pub(crate) name: String,
    /// The shapes, in words; the same as the peer's.
    pub(crate) about: String,
    /// Multiply-adds times two, 0 where bytes and not arithmetic decide.
    pub(crate) flops: u64,
    /// Fresh random numbers in every call: sums say nothing.
    pub(crate) random: bool,
    /// Only the host's time counts: the clock stops before the wait.
    pub(crate) host: bool,
    pub(crate) forms: Vec<Form>,
}

impl Case {
    /// A case whose speed bytes decide.
    pub(crate) fn new(name: &str, about: &str, build: impl Fn() -> Result<Call> + 'static) -> Self {
        let forms = vec![Form { name: "foveate", build: Box::new(build) }];
        Case { name: name.into(), about: about.into(), flops: 0, random: false, host: false, forms }
    }

    /// The same with its arithmetic.
    pub(crate) fn flops(self, flops: usize) -> Self {
        Case { flops: flops as u64, ..self }
    }

    /// The same without the wait for the device.
    pub(crate) fn host(self) -> Self {
        Case { host: true, ..self }
    }
}

/// A call with a single result.
pub(crate) fn one(mut call: impl FnMut() -> Result<Tensor> + 'static) -> Result<Call> {
    Ok(Box::new(move || Ok(vec![call()?])))
}

/// A call with several results.
pub(crate) fn many(call: impl FnMut() -> Result<Results> + 'static) -> Result<Call> {
    Ok(Box::new(call))
}

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

/// A tensor's elements.
fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        _ => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
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

/// How many threads of the host compute; the calling thread becomes one of them.
fn use_threads(threads: usize) -> Result<()> {
    foveate::cpu::join_pool(threads)
}

/// Versions and device, for the greeting.
fn versions() -> Value {
    json!({"foveate": env!("CARGO_PKG_VERSION"), "device": device().to_string()})
}
