//! Stochastic gradient descent with momentum: `g ← g + λ p`, `b ← μ b + g`, `p ← p − η b`. The first step has `b = g`.

use super::{Optimizer, by_part};
use crate::{
    DType, Grads, Parameter, Tensor, cpu,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::check_dtypes,
    spec::{In, Out, Real},
};
use rayon::prelude::*;
use smallvec::smallvec;
use std::collections::BTreeMap;

/// One step on one parameter. Operand: the gradient. Results, in place: parameter and momentum buffer.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate η.
    pub learning_rate: f64,
    /// Momentum μ.
    pub momentum: f64,
    /// Weight decay λ, part of the gradient.
    pub weight_decay: f64,
}

impl SgdStep {
    fn update<T: Real>(&self, g: T, parameter: &mut T, buffer: &mut T) {
        let g = g + T::of(self.weight_decay) * *parameter;
        *buffer = T::of(self.momentum) * *buffer + g;
        *parameter -= T::of(self.learning_rate) * *buffer;
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        const PART: usize = 16 * 1024;
        let gradient = ins[0].f32()?;
        let [parameter, buffer] = outs else {
            return Err(Error::argument(Self::NAME, "takes parameter and momentum buffer"));
        };
        let parts = parameter.f32()?.par_chunks_mut(PART).zip(buffer.f32()?.par_chunks_mut(PART));
        parts.zip(gradient.par_chunks(PART)).for_each(|((p, b), g)| {
            p.iter_mut().zip(b).zip(g).for_each(|((p, b), g)| self.update(*g, p, b));
        });
        Ok(())
    }
}

impl Op for SgdStep {
    const NAME: &'static str = "sgd_step";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        let rates = [self.learning_rate, self.momentum, self.weight_decay];
        if !rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0) {
            return Err(Error::argument(Self::NAME, format!("{self:?}: each must be finite and at least 0")));
        }
        Ok(smallvec![ins[0]; 2])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let [parameter, buffer] = outs else { return };
        for (i, &g) in ins[0].iter().enumerate() {
            self.update(g, &mut parameter[i], &mut buffer[i]);
        }
    }
}

/// Stochastic gradient descent.
///
/// ```
/// use foveate::{Device, Parameter, Tape, Tensor, ops, optim::{Optimizer, Sgd}};
/// # fn main() -> foveate::Result<()> {
/// let mut w = Parameter::new("w", Tensor::full(1.0_f32, [2], &Device::Cpu)?);
/// let tape = Tape::new();
/// let x = tape.watch(&w)?;
/// let grads = tape.backward(&ops::sum_all(&ops::square(&x)?)?)?;
/// Sgd::new(0.25, 0.9, 0.0).step(&mut [&mut w], &grads)?;
/// assert_eq!(w.tensor().to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Sgd {
    step: SgdStep,
    buffers: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// With momentum (0 for none) and weight decay.
    pub fn new(learning_rate: f64, momentum: f64, weight_decay: f64) -> Self {
        Sgd { step: SgdStep { learning_rate, momentum, weight_decay }, buffers: BTreeMap::new() }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, parameters: &mut [&mut Parameter], grads: &Grads) -> Result<()> {
        for parameter in parameters {
            let Some(gradient) = grads.parameter(parameter) else { continue };
            if !self.buffers.contains_key(parameter.name()) {
                let zeros = Tensor::zeros(gradient.dims(), &gradient.device())?;
                self.buffers.insert(parameter.name().to_owned(), zeros);
            }
            let Some(buffer) = self.buffers.get_mut(parameter.name()) else { continue };
            parameter.update(&self.step, &mut [buffer], &[gradient])?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.step.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.step.learning_rate = learning_rate;
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        self.buffers.iter().map(|(name, t)| (format!("momentum.{name}"), t.clone())).collect()
    }

    fn load_state(&mut self, parameters: &[&Parameter], state: BTreeMap<String, Tensor>) -> Result<()> {
        let sorted = by_part(parameters, state, &["momentum"])?;
        self.buffers =
            sorted.into_iter().filter_map(|(name, mut own)| Some((name, own.remove("momentum")?))).collect();
        Ok(())
    }
}
