//! Computing again for the gradients what a tape did not save.

use super::{Backward, Given, Gradients, Tape, record};
use crate::{
    device::Outputs,
    error::{Error, Result},
    tensor::Tensor,
};
use smallvec::SmallVec;
use std::fmt;

impl Tape {
    /// Runs `f` without saving what it computes, and runs it again when gradients are needed: memory for time. `f` gets
    /// the inputs and must use no other watched tensor. Random numbers must come from an [`crate::Rng`] that `f` clones,
    /// so that both runs draw the same; running statistics are whatever the first run returned.
    pub fn checkpoint<F>(&self, f: F, inputs: &[&Tensor]) -> Result<Outputs>
    where
        F: Fn(&[Tensor]) -> Result<Outputs> + Send + Sync + 'static,
    {
        let plain: Vec<Tensor> = inputs.iter().map(|t| t.detach()).collect();
        let outs = f(&plain)?;
        if outs.iter().any(Tensor::is_watched) {
            return Err(Error::tape(
                "the checkpointed function uses a watched tensor that is not among its inputs",
            ));
        }
        let backward = Recompute { f: Box::new(f), inputs: plain };
        record("checkpoint", inputs, outs, |_| backward)
    }
}

type Recomputed = Box<dyn Fn(&[Tensor]) -> Result<Outputs> + Send + Sync>;

/// The record of [`Tape::checkpoint`].
struct Recompute {
    f: Recomputed,
    inputs: Vec<Tensor>,
}

impl fmt::Debug for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Recompute({:?})", self.inputs)
    }
}

impl Backward for Recompute {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        let tape = Tape::new();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (at, input) in self.inputs.iter().enumerate() {
            inputs.push(if to.wants(at) { tape.watch(input)? } else { input.clone() });
        }
        // Of the results backward needs the places on the tape alone: their elements are freed before it begins.
        let outs = (self.f)(&inputs)?.into_iter().enumerate();
        let roots: Vec<Tensor> = outs
            .filter(|(_, out)| out.is_watched())
            .filter_map(|(at, out)| Some(Tensor { node: out.node, ..dy.get(at)?.clone() }))
            .collect();
        let grads = tape.backward_from(&roots.iter().map(|root| (root, root)).collect::<Vec<_>>())?;
        for (at, input) in inputs.iter().enumerate() {
            if let Some(gradient) = grads.of(input) {
                to.give(at, || Ok(gradient.clone()))?;
            }
        }
        Ok(())
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        self.inputs.iter().collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        self.inputs.iter_mut().collect()
    }
}
