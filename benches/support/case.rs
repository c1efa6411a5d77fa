//! What a case is: a name, shapes in words, and a closure that computes it once. No device, server or process is in it, so
//! that the library which PyTorch's process loads (`../in_process`) has the same ones.

use foveate::{DType, Result, Tensor};

/// What a case computed.
pub(crate) type Results = Vec<Tensor>;
/// Computes once and gives what was computed.
pub(crate) type Call = Box<dyn FnMut() -> Result<Results>>;
/// Makes the inputs.
pub(crate) type Build = Box<dyn Fn() -> Result<Call>>;

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
    /// Bytes that a call reads and writes beside its named tensors and its results.
    #[allow(dead_code, reason = "only `../in_process` counts bytes")]
    pub(crate) bytes: u64,
    /// So many sets of named tensors are taken in turn by calls.
    #[allow(dead_code, reason = "only `../in_process` counts bytes")]
    pub(crate) sets: usize,
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
        Case {
            name: name.into(),
            about: about.into(),
            flops: 0,
            bytes: 0,
            sets: 1,
            random: false,
            host: false,
            forms,
        }
    }

    /// The same with its arithmetic.
    pub(crate) fn flops(self, flops: usize) -> Self {
        Case { flops: flops as u64, ..self }
    }

    /// The same with bytes beside its tensors.
    pub(crate) fn bytes(self, bytes: usize) -> Self {
        Case { bytes: bytes as u64, ..self }
    }

    /// The same with so many sets of tensors in turn.
    pub(crate) fn sets(self, sets: usize) -> Self {
        Case { sets, ..self }
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

/// A tensor's elements.
pub(crate) fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        _ => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}
