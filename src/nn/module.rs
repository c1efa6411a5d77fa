//! What every network offers: its parameters, by role and by name.

use crate::{
    Parameter, Tensor,
    error::{Error, Result},
    nn::Statistics,
};
use std::collections::BTreeMap;

/// What a parameter is to training.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Written by an optimiser from its gradient.
    Trained,
    /// A running statistic, written by [`Module::set_statistics`].
    Statistic,
}

/// A network or a part of one: something that owns parameters.
///
/// ```
/// use foveate::{Device, Rng, Tensor, nn::{Linear, Module}};
/// # fn main() -> foveate::Result<()> {
/// let mut layer = Linear::new("head", 3, 2, &Device::Cpu, &mut Rng::new(0))?;
/// assert_eq!(layer.size(), 3 * 2 + 2);
/// let mut state = layer.state(); // "head.weight" (2, 3) and "head.bias" (2)
/// state.insert("head.bias".into(), Tensor::full(0.5_f32, [2], &Device::Cpu)?);
/// layer.load(&state)?;
/// state.remove("head.bias");
/// assert!(layer.load(&state).is_err());
/// # Ok(()) }
/// ```
pub trait Module {
    /// Calls `f` with every parameter, in a fixed order.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter));

    /// Calls `f` with every parameter, to write, in the same order.
    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter));

    /// The trained parameters.
    fn parameters(&self) -> Vec<&Parameter> {
        let mut all = Vec::new();
        self.visit(&mut |role, parameter| {
            if role == Role::Trained {
                all.push(parameter);
            }
        });
        all
    }

    /// The trained parameters, for an optimiser.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = Vec::new();
        self.visit_mut(&mut |role, parameter| {
            if role == Role::Trained {
                all.push(parameter);
            }
        });
        all
    }

    /// Number of trained values.
    fn size(&self) -> usize {
        self.parameters().iter().map(|p| p.tensor().elements()).sum()
    }

    /// Every parameter and statistic by name, for a checkpoint.
    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        self.visit(&mut |_, parameter| {
            state.insert(parameter.name().to_owned(), parameter.tensor().clone());
        });
        state
    }

    /// Sets every parameter and statistic from a state. Names that this network does not have are errors, except
    /// `num_batches_tracked`, which PyTorch writes and nothing here uses; so are names that are missing, and tensors of
    /// another shape or type. On an error nothing has been changed.
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut wrong = Vec::new();
        self.visit(&mut |_, parameter| match state.get(parameter.name()) {
            None => wrong.push(format!("{} is missing", parameter.name())),
            Some(value) => {
                let (name, want) = (parameter.name(), parameter.tensor());
                if (value.dims(), value.dtype()) != (want.dims(), want.dtype()) {
                    let (dims, dtype) = (value.dims(), value.dtype());
                    wrong.push(format!("{name} is {dims} {dtype}, must be {} {}", want.dims(), want.dtype()));
                }
            }
        });
        let unknown = |name: &&String| {
            let mut found = name.ends_with("num_batches_tracked");
            self.visit(&mut |_, parameter| found |= parameter.name() == name.as_str());
            !found
        };
        wrong.extend(
            state.keys().filter(unknown).map(|name| format!("{name} is not a parameter of this network")),
        );
        if let [first, rest @ ..] = wrong.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            return Err(Error::shape(
                "load",
                format!("{first}{more}: the state is of another configuration"),
            ));
        }
        // All are on the device before the first is written.
        let mut failed = None;
        let mut moved = Vec::new();
        self.visit(&mut |_, parameter| {
            if let Some(value) = state.get(parameter.name()) {
                match value.to_device(&parameter.tensor().device()) {
                    Ok(value) => moved.push(value),
                    Err(error) => failed = failed.take().or(Some(error)),
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let mut moved = moved.into_iter();
        self.visit_mut(&mut |_, parameter| {
            let written = moved.next().map_or(Ok(()), |value| parameter.set(value));
            failed = failed.take().or(written.err());
        });
        failed.map_or(Ok(()), Err)
    }

    /// Writes the running statistics that a training pass computed.
    fn set_statistics(&mut self, statistics: Statistics) -> Result<()> {
        let mut failed = None;
        self.visit_mut(&mut |role, parameter| {
            if role == Role::Statistic
                && let Some(value) = statistics.of(parameter)
            {
                failed = failed.take().or(parameter.set(value.clone()).err());
            }
        });
        failed.map_or(Ok(()), Err)
    }
}

impl Module for Parameter {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        f(Role::Trained, self);
    }
    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        f(Role::Trained, self);
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        self.iter().for_each(|m| m.visit(f));
    }
    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        self.iter_mut().for_each(|m| m.visit_mut(f));
    }
}

impl<M: Module> Module for Option<M> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        self.iter().for_each(|m| m.visit(f));
    }
    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        self.iter_mut().for_each(|m| m.visit_mut(f));
    }
}
