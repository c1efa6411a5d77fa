//! What a case is, and what the cases share: seeded inputs, the server, and the busyness of other processes.

mod inputs;
mod others;
mod serve;

pub(crate) use inputs::{between, dense_image, fill, sparse_image, uniform};
pub(crate) use serve::serve;

use foveate::{Result, Tensor};

/// Computes once and gives what was computed.
pub(crate) type Call = Box<dyn FnMut() -> Result<Vec<Tensor>>>;

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
    /// Makes the inputs.
    pub(crate) build: Box<dyn Fn() -> Result<Call>>,
}

impl Case {
    /// A case whose speed bytes decide.
    pub(crate) fn new(name: &str, about: &str, build: impl Fn() -> Result<Call> + 'static) -> Self {
        Case { name: name.into(), about: about.into(), flops: 0, random: false, build: Box::new(build) }
    }

    /// The same with its arithmetic.
    pub(crate) fn flops(self, flops: usize) -> Self {
        Case { flops: flops as u64, ..self }
    }
}

/// A call with a single result.
pub(crate) fn one(mut call: impl FnMut() -> Result<Tensor> + 'static) -> Result<Call> {
    Ok(Box::new(move || Ok(vec![call()?])))
}

/// A call with several results.
pub(crate) fn many(call: impl FnMut() -> Result<Vec<Tensor>> + 'static) -> Result<Call> {
    Ok(Box::new(call))
}
