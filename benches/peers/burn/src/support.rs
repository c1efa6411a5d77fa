//! What a case is, and what the cases share: the device, seeded inputs, the server, and the busyness of other processes.

#[path = "../../../support/others.rs"]
mod others;
#[path = "../../../support/serve.rs"]
mod serve;
#[path = "../../../support/words.rs"]
mod words;

pub(crate) use serve::serve;
pub(crate) use words::{bounds, bytes, dense_pixels};

use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};
use serde_json::{Value, json};
use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A result, flattened.
pub(crate) enum Out {
    Float(Tensor<1>),
    Int(Tensor<1, Int>),
}

/// What a case computed.
pub(crate) type Results = Vec<Out>;
/// Computes once and gives what was computed.
pub(crate) type Call = Box<dyn FnMut() -> Result<Results>>;

/// A way to compute a case.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) build: Box<dyn Fn() -> Result<Call>>,
}

/// One thing to time.
pub(crate) struct Case {
    /// `family/what`, as on the other side.
    pub(crate) name: String,
    /// The shapes, in words; as on the other side.
    pub(crate) about: String,
    /// Multiply-adds times two, 0 where bytes and not arithmetic decide.
    pub(crate) flops: u64,
    /// Fresh random numbers in every call: sums say nothing.
    pub(crate) random: bool,
    /// Only the host's time counts; no case here asks for that.
    pub(crate) host: bool,
    pub(crate) forms: Vec<Form>,
}

impl Case {
    /// A case without a form so far.
    pub(crate) fn new(name: &str, about: &str, flops: usize) -> Self {
        let (name, about) = (name.into(), about.into());
        Case { name, about, flops: flops as u64, random: false, host: false, forms: Vec::new() }
    }

    /// The same with one more form: `build` makes the inputs and gives what computes. A panic of burn in either becomes an
    /// error of the request.
    pub(crate) fn form<F>(mut self, name: &'static str, build: impl Fn() -> F + 'static) -> Self
    where
        F: FnMut() -> Results + 'static,
    {
        let build = move || -> Result<Call> {
            let mut call = caught(&build)?;
            Ok(Box::new(move || caught(&mut call)))
        };
        self.forms.push(Form { name, build: Box::new(build) });
        self
    }
}

/// What `work` gives, or the message of its panic.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").into()
    })
}

/// The adapter that burn chooses.
pub(crate) fn device() -> Device {
    Device::wgpu(DeviceKind::DefaultDevice)
}

/// An f32 tensor, uniform in [low, high).
pub(crate) fn between<const D: usize>(name: &str, dims: [usize; D], low: f64, high: f64) -> Tensor<D> {
    let values = words::values(name, dims.iter().product(), low, high);
    Tensor::from_data(TensorData::new(values, dims), &device())
}

/// An f32 tensor, uniform in [−1, 1).
pub(crate) fn uniform<const D: usize>(name: &str, dims: [usize; D]) -> Tensor<D> {
    between(name, dims, -1.0, 1.0)
}

/// A float result.
pub(crate) fn float<const D: usize>(tensor: Tensor<D>) -> Out {
    let elements = tensor.dims().iter().product::<usize>();
    Out::Float(tensor.reshape([elements]))
}

/// An integer result.
pub(crate) fn int<const D: usize>(tensor: Tensor<D, Int>) -> Out {
    let elements = tensor.dims().iter().product::<usize>();
    Out::Int(tensor.reshape([elements]))
}

/// Results of at most so many elements are read back whole at the end of a call, of others one element.
const SMALL: usize = 1024;

/// Every call is waited for by itself: reading back is part of what is compared.
fn runs_ahead() -> bool {
    false
}

/// Waits until a call's results are there, by reading back the last of them, or its first element where it is large. Before
/// that, everything that burn has put off is computed: reading one element is no reason to compute the others.
fn settle(results: &Results) -> Result<()> {
    let Some(last) = results.last() else { return Ok(()) };
    let elements = last.elements();
    if results.len() > 1 || elements > SMALL {
        device().sync()?;
    }
    caught(|| match last {
        Out::Float(tensor) if elements > SMALL => drop(tensor.clone().slice(0..1).into_data()),
        Out::Int(tensor) if elements > SMALL => drop(tensor.clone().slice(0..1).into_data()),
        Out::Float(tensor) => drop(tensor.clone().into_data()),
        Out::Int(tensor) => drop(tensor.clone().into_data()),
    })
}

impl Out {
    fn elements(&self) -> usize {
        match self {
            Out::Float(tensor) => tensor.dims()[0],
            Out::Int(tensor) => tensor.dims()[0],
        }
    }
}

/// [sum, sum of magnitudes] over all elements of all results, in f64.
fn checksum(results: &Results) -> Result<[f64; 2]> {
    let mut sums = [0.0, 0.0];
    for result in results {
        let data = caught(|| match result {
            Out::Float(tensor) => tensor.clone().into_data(),
            Out::Int(tensor) => tensor.clone().into_data(),
        })?;
        for value in data.iter::<f64>() {
            sums[0] += value;
            sums[1] += value.abs();
        }
    }
    Ok(sums)
}

/// The driver's threads are its own.
fn use_threads(_threads: usize) -> Result<()> {
    Ok(())
}

/// Versions and device, for the greeting.
fn versions() -> Value {
    let version = include_str!("../Cargo.lock").split("\nname = \"burn\"\nversion = \"").nth(1);
    let version = version.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
    let adapter = caught(|| device().identity().map(|identity| identity.name));
    json!({"burn": version, "device": adapter.ok().flatten()})
}
