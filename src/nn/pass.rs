//! One forward pass through a network: whether it trains, on which tape, with which random numbers.

use crate::{
    Parameter, Rng, Tape, Tensor,
    error::{Error, Result},
    ops,
};

/// The context of a forward pass.
///
/// A training pass uses batch statistics and dropout and records on a tape; an evaluation pass uses running statistics
/// and no dropout, and records only if it was given a tape.
pub struct Pass<'a> {
    tape: Option<&'a Tape>,
    rng: Option<&'a mut Rng>,
    recompute: bool,
    fuse_statistics: bool,
    watched: Vec<(u64, Tensor)>,
    statistics: Statistics,
}

/// Running statistics that a training pass computed, for [`Module::set_statistics`](crate::nn::Module::set_statistics).
#[derive(Debug, Default)]
pub struct Statistics {
    values: Vec<(u64, Tensor)>,
}

impl Statistics {
    /// The new value of a statistic, if the pass computed one.
    pub fn of(&self, statistic: &Parameter) -> Option<&Tensor> {
        self.values.iter().rev().find(|(id, _)| *id == statistic.id()).map(|(_, value)| value)
    }
}

impl<'a> Pass<'a> {
    /// A pass in evaluation mode that records nothing.
    pub fn evaluation() -> Pass<'static> {
        Pass::new(None, None)
    }

    /// A pass in evaluation mode whose gradients can be taken.
    pub fn evaluation_on(tape: &'a Tape) -> Pass<'a> {
        Pass::new(Some(tape), None)
    }

    /// A pass in training mode.
    pub fn training(tape: &'a Tape, rng: &'a mut Rng) -> Pass<'a> {
        Pass::new(Some(tape), Some(rng))
    }

    fn new(tape: Option<&'a Tape>, rng: Option<&'a mut Rng>) -> Self {
        let (watched, statistics) = (Vec::new(), Statistics::default());
        Pass { tape, rng, recompute: false, fuse_statistics: false, watched, statistics }
    }

    /// The same pass, with a fraction of the memory for a [`ResNet`](crate::nn::ResNet)'s activations and a third to a half
    /// more time: what its layers make of a block's input is computed again for the gradients instead of being kept. Results
    /// are the same bits; gradients of the stem are sums in another order. 1,600 patches of 50 by 50 in the truncated encoder
    /// then take 0.47 GB at the peak of a step (measured through wgpu, scratch included), of which 0.28 GB are kept.
    pub fn recomputing(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// The same pass, in which a convolution computes the statistics of the batch norm behind it
    /// ([`ops::conv2d_batch_norm`]): on CUDA in one pass over what it writes, with sums in another order; on the CPU and
    /// through wgpu the bits are the same. A pass that recomputes does not.
    pub fn fusing_statistics(mut self, fuse: bool) -> Self {
        self.fuse_statistics = fuse;
        self
    }

    /// Whether this is a training pass in which convolutions compute statistics.
    pub(super) fn fuses_statistics(&self) -> bool {
        self.fuse_statistics && self.is_training()
    }

    /// Whether this is a training pass that computes activations again.
    pub(super) fn recomputes(&self) -> bool {
        self.tape.is_some() && self.recompute && self.is_training()
    }

    /// Whether this pass uses batch statistics and dropout.
    pub fn is_training(&self) -> bool {
        self.rng.is_some()
    }

    /// A parameter's tensor for use in this pass: watched, once, if there is a tape.
    pub fn parameter(&mut self, parameter: &Parameter) -> Result<Tensor> {
        let Some(tape) = self.tape else { return Ok(parameter.tensor().clone()) };
        if let Some((_, tensor)) = self.watched.iter().find(|(id, _)| *id == parameter.id()) {
            return Ok(tensor.clone());
        }
        let tensor = tape.watch(parameter)?;
        self.watched.push((parameter.id(), tensor.clone()));
        Ok(tensor)
    }

    /// The present value of a running statistic: what an earlier layer of this pass made of it, or its stored value.
    pub fn statistic(&self, statistic: &Parameter) -> Tensor {
        self.statistics.of(statistic).unwrap_or(statistic.tensor()).clone()
    }

    /// Notes the new value of a running statistic.
    pub fn set_statistic(&mut self, statistic: &Parameter, value: Tensor) {
        self.statistics.values.push((statistic.id(), value.detach()));
    }

    /// Dropout with probability `p` in training, the identity in evaluation.
    pub fn dropout(&mut self, x: &Tensor, p: f32) -> Result<Tensor> {
        match self.rng.as_deref_mut() {
            Some(rng) if p > 0.0 => ops::dropout(x, p, rng),
            _ => Ok(x.clone()),
        }
    }

    /// The random stream of a training pass.
    pub fn rng(&mut self) -> Result<&mut Rng> {
        self.rng
            .as_deref_mut()
            .ok_or_else(|| Error::argument("pass", "an evaluation pass draws no random numbers"))
    }

    /// What the pass computed of running statistics; ends the pass.
    pub fn statistics(self) -> Statistics {
        self.statistics
    }
}
