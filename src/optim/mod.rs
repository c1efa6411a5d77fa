//! Optimisers, clipping and learning-rate schedules.
//!
//! An optimiser writes each parameter and its own state in place, from the gradients of a tape. A parameter without a
//! gradient is left alone: it does not even decay.

mod adam;
mod clip;
#[cfg(feature = "cuda")]
mod cuda;
mod schedule;
mod sgd;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use adam::{AdamStep, AdamW};
pub use clip::{ClipValues, clip_norm, clip_values, global_norm};
pub use schedule::{StepDecay, WarmupCosine};
pub use sgd::{Sgd, SgdStep};

use crate::{Grads, Parameter, Tensor, error::Result};
use std::collections::BTreeMap;

/// What every optimiser offers.
pub trait Optimizer {
    /// Updates `parameters` from their gradients.
    fn step(&mut self, parameters: &mut [&mut Parameter], grads: &Grads) -> Result<()>;

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate of the next step.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The optimiser's tensors by name, for a checkpoint.
    fn state(&self) -> BTreeMap<String, Tensor>;

    /// Takes back what [`Optimizer::state`] gave. Names that belong to none of `parameters`, and shapes that do not fit
    /// them, are errors; then nothing has changed.
    fn load_state(&mut self, parameters: &[&Parameter], state: BTreeMap<String, Tensor>) -> Result<()>;
}

/// Splits a state's names `part.NAME`, checks them against the parameters, and gives them by part.
fn by_part(
    parameters: &[&Parameter],
    state: BTreeMap<String, Tensor>,
    parts: &[&str],
) -> Result<BTreeMap<String, BTreeMap<String, Tensor>>> {
    use crate::Error;
    let mut sorted: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
    for (full, tensor) in state {
        let known = full.split_once('.').filter(|(part, _)| parts.contains(part));
        let owner = known.and_then(|(_, name)| parameters.iter().find(|p| p.name() == name));
        let (Some((part, name)), Some(owner)) = (known, owner) else {
            let what =
                format!("{full} belongs to no parameter: the state is of another network or optimiser");
            return Err(Error::argument("load_state", what));
        };
        if part != STEP && tensor.dims() != owner.tensor().dims() {
            let what = format!("{full} has shape {}, {name} has {}", tensor.dims(), owner.tensor().dims());
            return Err(Error::shape("load_state", what));
        }
        sorted.entry(name.to_owned()).or_default().insert(part.to_owned(), tensor);
    }
    for (name, own) in &sorted {
        if let Some(missing) = parts.iter().find(|part| !own.contains_key(**part)) {
            return Err(Error::argument("load_state", format!("{missing}.{name} is missing")));
        }
    }
    Ok(sorted)
}

/// Part of a state that counts a parameter's steps.
const STEP: &str = "step";
